"""PyTorch in float64: forward, and every gradient, inputs' and initial states' among them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ROWS_BY_NAME, SIZES, assert_close, to_numpy, twins

from jbptt.comparison.pair import random_cotangents, value_and_gradients

torch = pytest.importorskip("torch", reason="the oracle is PyTorch: pip install -e '.[test,oracle]'")

MODULES = {
    "rnn": lambda: torch.nn.RNN(SIZES.I, SIZES.H, nonlinearity="tanh", dtype=torch.float64),
    "rnn_relu": lambda: torch.nn.RNN(SIZES.I, SIZES.H, nonlinearity="relu", dtype=torch.float64),
    "rnn_nobias": lambda: torch.nn.RNN(SIZES.I, SIZES.H, bias=False, dtype=torch.float64),
    "lstm": lambda: torch.nn.LSTM(SIZES.I, SIZES.H, dtype=torch.float64),
    "lstm_nobias": lambda: torch.nn.LSTM(SIZES.I, SIZES.H, bias=False, dtype=torch.float64),
    "lstm_projected": lambda: torch.nn.LSTM(SIZES.I, SIZES.H, proj_size=SIZES.H // 2, dtype=torch.float64),
    "gru": lambda: torch.nn.GRU(SIZES.I, SIZES.H, dtype=torch.float64),
    "gru_nobias": lambda: torch.nn.GRU(SIZES.I, SIZES.H, bias=False, dtype=torch.float64),
}
"""PyTorch's gate order is ours: i, f, g, o and r, u (its z), n."""


@pytest.mark.parametrize("name", MODULES)
def test_forward_and_every_gradient(name):
    manual, _, args = twins(ROWS_BY_NAME[name])
    cotangents = random_cotangents(manual, args)
    ours = jax.jit(value_and_gradients(manual))(args, cotangents)
    theirs = torch_value_and_gradients(name, to_numpy(args), to_numpy(cotangents))
    assert_close(ours, jax.tree.map(jnp.asarray, theirs))


def torch_value_and_gradients(name, args, cotangents):
    """As `value_and_gradients` of ours gives them, computed by PyTorch and its autograd."""
    params, xs, state = args
    module = MODULES[name]()
    load(module, params)
    xs = torch.tensor(xs, requires_grad=True)
    start = [torch.tensor(field[None], requires_grad=True) for field in state]  # [layers, B, H]
    hs, final = module(xs, tuple(start) if len(start) > 1 else start[0])
    final = final if isinstance(final, tuple) else (final,)
    dstate, dhs = cotangents
    outputs = [hs, *(field[0] for field in final)]
    torch.autograd.backward(outputs, [torch.tensor(d) for d in (dhs, *dstate)])
    return {
        "output": (type(state)(*[field[0].detach().numpy() for field in final]), hs.detach().numpy()),
        "gradient": (
            parameter_gradients(module, params),
            xs.grad.numpy(),
            type(state)(*[field.grad[0].numpy() for field in start]),
        ),
    }


def load(module, params):
    """Ours into PyTorch's: U and W are the transposes of weight_ih and weight_hh; its two biases add up to our one.

    GRU's candidate keeps the recurrent one apart, inside the reset: b = b_ih + (b_hr, b_hu, 0), bn = b_hn.
    """
    module.weight_ih_l0.data = torch.tensor(params["U"].T.copy())
    module.weight_hh_l0.data = torch.tensor(params["W"].T.copy())
    if "R" in params:
        module.weight_hr_l0.data = torch.tensor(params["R"].T.copy())
    if "b" in params:
        recurrent = np.linspace(-1, 1, params["b"].size)  # any split of b into the two has the same sum
        if "bn" in params:
            recurrent[-params["bn"].size :] = 0
        module.bias_ih_l0.data = torch.tensor(params["b"] - recurrent)
        if "bn" in params:
            recurrent[-params["bn"].size :] = params["bn"]
        module.bias_hh_l0.data = torch.tensor(recurrent)


def parameter_gradients(module, params):
    gradients = {"U": module.weight_ih_l0.grad.numpy().T, "W": module.weight_hh_l0.grad.numpy().T}
    if "R" in params:
        gradients["R"] = module.weight_hr_l0.grad.numpy().T
    if "b" in params:
        gradients["b"] = module.bias_ih_l0.grad.numpy()
    if "bn" in params:
        gradients["bn"] = module.bias_hh_l0.grad.numpy()[-params["bn"].size :]
    return gradients
