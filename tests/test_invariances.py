"""What must come out the same whichever way a sequence is run."""

import jax
import jax.numpy as jnp
import pytest
from helpers import ROWS_BY_NAME, SIZES, assert_close, assert_gradients_match, twins

import jbptt

LONG = SIZES._replace(T=7)


def in_chunks(unroll, *ends):
    """`unroll` over xs cut at `ends`, the state carried over each cut."""

    def run(params, xs, state):
        hs = []
        for chunk in jnp.split(xs, ends):
            state, h = unroll(params, chunk, state)
            hs.append(h)
        return state, jnp.concatenate(hs)

    return run


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("ends", [(3,), (1, 6), (0, 2, 2, 7)], ids=str)
def test_chunks_with_carried_state_are_the_whole(name, ends):
    """Values and every gradient; the last cuts leave chunks of no steps at the start, within and at the end."""
    manual, _, args = twins(ROWS_BY_NAME[name], LONG)
    assert_gradients_match(in_chunks(manual, *ends), manual, args)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_examples_do_not_meet(name):
    """Each example of a batch alone gives what it gives in the batch; a shared weight's gradient is their sum."""
    manual, _, args = twins(ROWS_BY_NAME[name])

    def one_by_one(params, xs, state):
        runs = [manual(params, xs[:, i], jax.tree.map(lambda leaf, i=i: leaf[i], state)) for i in range(SIZES.B)]
        states, hs = zip(*runs, strict=True)
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), jnp.stack(hs, axis=1)

    assert_gradients_match(one_by_one, manual, args)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_the_last_h_is_the_state(name):
    manual, _, args = twins(ROWS_BY_NAME[name])
    state, hs = manual(*args)
    assert_close(hs[-1], state.h, tolerance=0)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_no_output_sees_a_later_input(name):
    manual, _, (params, xs, state) = twins(ROWS_BY_NAME[name])
    gradient = jax.grad(lambda xs: jnp.sum(manual(params, xs, state)[1][2]))(xs)
    assert jnp.all(gradient[3:] == 0)
    assert jnp.all(jnp.any(gradient[:3] != 0, axis=(1, 2)))


@pytest.mark.parametrize("cell", [jbptt.rnn, jbptt.lstm], ids=lambda cell: cell.name)
def test_networks_are_one_another_where_they_meet(cell):
    """SISO is SIMO's last output; MISO is MIMO's; SIMO is MIMO with inputs of zero after the first."""
    params = jbptt.network_init(jax.random.key(0), cell, SIZES.I, SIZES.H, SIZES.O, dtype=jnp.float64)
    params["cell"]["U"] += 1
    params = params | {"cell": params["cell"] | {"b": jnp.linspace(-1.0, 1.0, params["cell"]["b"].size)}}
    x = jax.random.normal(jax.random.key(1), (SIZES.B, SIZES.I))
    xs = jnp.concatenate([x[None], jnp.zeros((SIZES.T - 1, *x.shape))])
    state, ys = jbptt.simo(cell, params, x, SIZES.T)
    assert_close((state, ys), jbptt.mimo(cell, params, xs))
    assert_close((state, ys[-1]), jbptt.siso(cell, params, x, SIZES.T))
    assert_close((state, ys[-1]), jbptt.miso(cell, params, xs))
