"""equinox's LSTMCell and GRUCell, mapped over the batch, in `lax.scan`. Equinox has no simple recurrent cell."""

import equinox as eqx
import jax
from jax import lax

from benchmarks.contestants import Contestant


def _convert(cell, params):
    own = {"weight_ih": params["U"].T, "weight_hh": params["W"].T, "bias": params["b"]}
    return own | ({"bias_n": params["bn"]} if cell == "gru" else {})


def _run(cell, own, xs, state):
    make = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}[cell]
    blank = eqx.filter_eval_shape(make, xs.shape[-1], state[0].shape[-1], key=jax.random.key(0))
    names = list(own)
    module = eqx.tree_at(lambda m: [getattr(m, name) for name in names], blank, [own[name] for name in names])

    def step(state, x):
        state = jax.vmap(module)(x, state if cell == "lstm" else state[0])
        state = state if cell == "lstm" else (state,)
        return state, state[0]

    return lax.scan(step, state, xs)


contestant = Contestant("equinox + scan", _convert, _run, cells=("lstm", "gru"))
