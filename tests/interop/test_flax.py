"""Parameters from and to flax, nnx and linen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparing import FORMS, XS, H, I, assert_outputs, assert_same_bits, random_params

import jbptt

nnx = pytest.importorskip("flax.nnx", reason="the oracle is among the benchmarks' extras")
linen = pytest.importorskip("flax.linen")

CELLS = {
    "lstm": jbptt.lstm,
    "gru": jbptt.gru,
    "rnn": jbptt.rnn,
    "rnn_relu": jbptt.rnn_cell(jbptt.relu),
    "rnn_sigmoid": jbptt.rnn_cell(jbptt.sigmoid),
}


def states_of(carry, is_bidirectional):
    """As (h,) or (h, c), of each direction."""
    carries = carry if is_bidirectional else (carry,)
    return [one[::-1] if isinstance(one, tuple) else (one,) for one in carries]


def run_all(layers, runs):
    states, hs = [], jnp.asarray(XS)
    for layer, run in zip(layers, runs, strict=True):
        carry, hs = run(hs)
        states += states_of(carry, isinstance(layer, jbptt.Bidirectional))
    return states, hs


def run_linen(layers, modules, variables):
    runs = [lambda xs, m=m, v=v: m.apply(v, xs) for m, v in zip(modules, variables, strict=True)]
    return run_all(layers, runs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CELLS)
def test_nnx(name, form):
    layers = FORMS[form](CELLS[name])
    params = random_params(layers)
    theirs = jbptt.interop.to_flax(layers, params)
    assert_outputs(layers, params, *run_all(layers, theirs))
    back_layers, back = jbptt.interop.from_flax(theirs)
    assert back_layers == layers
    assert_same_bits(back, params)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CELLS)
def test_linen(name, form):
    layers = FORMS[form](CELLS[name])
    params = random_params(layers)
    modules, variables = jbptt.interop.to_flax(layers, params, linen=True)
    assert_outputs(layers, params, *run_linen(layers, modules, variables))
    back_layers, back = jbptt.interop.from_flax(modules, variables)
    assert back_layers == layers
    assert_same_bits(back, params)


OPTIONS = {"dtype": jnp.float64, "param_dtype": jnp.float64}
THEIR_CELLS = ["LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell"]


@pytest.mark.parametrize("name", THEIR_CELLS)
def test_their_own_nnx(name):
    """Their biases, which begin as 0, random."""
    options = OPTIONS | {"bias_init": nnx.initializers.normal(), "rngs": nnx.Rngs(0)}
    rnn = nnx.RNN(getattr(nnx, name)(I, H, **options), time_major=True, return_carry=True)
    layers, params = jbptt.interop.from_flax(rnn)
    assert_outputs(layers, params, *run_all(layers, [rnn]))
    (back,) = jbptt.interop.to_flax(layers, params)
    if name != "LSTMCell":  # which comes back as an OptimizedLSTMCell
        assert_same_bits(nnx.to_pure_dict(nnx.state(back, nnx.Param)), nnx.to_pure_dict(nnx.state(rnn, nnx.Param)))


@pytest.mark.parametrize("name", THEIR_CELLS)
def test_their_own_linen(name):
    module = getattr(linen, name)(H, **OPTIONS, bias_init=linen.initializers.normal())
    rnn = linen.RNN(module, time_major=True, return_carry=True)
    variables = rnn.init(jax.random.key(0), jnp.asarray(XS))
    layers, params = jbptt.interop.from_flax(rnn, variables)
    assert_outputs(layers, params, *run_linen(layers, [rnn], [variables]))
    _, (back,) = jbptt.interop.to_flax(layers, params, linen=True)
    assert_same_bits(back, variables)
    assert_same_bits(jbptt.interop.from_flax(module, variables["params"]["cell"])[1], params)


@pytest.mark.parametrize("linen", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_dtype_stays(dtype, linen):
    layers = [jbptt.lstm, jbptt.gru]
    params = random_params(layers, dtype)
    theirs = jbptt.interop.to_flax(layers, params, linen=linen)
    assert_same_bits(jbptt.interop.from_flax(*theirs if linen else [theirs])[1], params)


def test_without_biases_theirs_are_zero():
    layers = [jbptt.lstm_cell(bias=False)]
    params = random_params(layers)
    back = jbptt.interop.from_flax(jbptt.interop.to_flax(layers, params))
    assert back[0] == [jbptt.lstm]
    assert_same_bits(back[1], [params[0] | {"b": np.zeros(4 * H)}])


def test_what_is_refused():
    rngs = nnx.Rngs(0)
    refused = {
        "gate_fn must be sigmoid": nnx.LSTMCell(I, H, gate_fn=nnx.tanh, rngs=rngs),
        "activation_fn must be tanh, got": nnx.GRUCell(I, H, activation_fn=nnx.relu, rngs=rngs),
        "tanh, relu or sigmoid, got": nnx.SimpleCell(I, H, activation_fn=nnx.gelu, rngs=rngs),
        "residual must be False": nnx.SimpleCell(I, H, residual=True, rngs=rngs),
        "reverse must be False": nnx.RNN(nnx.SimpleCell(I, H, rngs=rngs), reverse=True),
        "ours have no Linear": nnx.Linear(I, H, rngs=rngs),
        "ours have no MGUCell": linen.MGUCell(H),
        "merge_fn": nnx.Bidirectional(*[nnx.RNN(nnx.SimpleCell(I, H, rngs=rngs))] * 2, merge_fn=jnp.add),
    }
    for message, module in refused.items():
        with pytest.raises((TypeError, ValueError), match=message):
            jbptt.interop.from_flax(module, {} if isinstance(module, linen.Module) else None)
    with pytest.raises(ValueError, match="at least one layer"):
        jbptt.interop.from_flax([])
    with pytest.raises(ValueError, match="variables must be what init gives"):
        jbptt.interop.from_flax(linen.GRUCell(H))
    with pytest.raises(ValueError, match=r"variables must be a GRUCell's, ir, iz, in, hr, hz, hn, got \['hi'\]"):
        jbptt.interop.from_flax(linen.GRUCell(H), {"hi": {}})
    with pytest.raises(ValueError, match="a kernel for each of a SimpleCell's parts, h have none"):
        jbptt.interop.from_flax(linen.SimpleCell(H), {"i": {"kernel": jnp.ones((I, H))}, "h": {}})
    both = linen.Bidirectional(*[linen.RNN(linen.SimpleCell(H)) for _ in range(2)])
    with pytest.raises(ValueError, match=r"variables must be a Bidirectional's, forward_rnn, .* got \['cell'\]"):
        jbptt.interop.from_flax(both, {"params": {"cell": {}}})
    with pytest.raises(ValueError, match="lstm_projected, which flax has not"):
        jbptt.interop.to_flax([jbptt.lstm_projected], random_params([jbptt.lstm_projected]))
