"""PyTorch's nn.LSTM, nn.GRU and nn.RNN: on the CPU by oneDNN, on a GPU by cuDNN. Not JAX: programs of its own."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import torch


def convert(cell: str, params: dict) -> dict:
    """jbptt's parameters by the names of torch.nn's layers, JAX arrays still (an affine JAX function)."""
    own = {"weight_ih_l0": params["U"].T, "weight_hh_l0": params["W"].T, "bias_ih_l0": params["b"]}
    units = params["W"].shape[0]
    recurrent = jnp.zeros_like(params["b"])
    return own | {"bias_hh_l0": recurrent.at[2 * units :].set(params["bn"]) if cell == "gru" else recurrent}


def program(cell: str, own: dict, xs, state: tuple, cotangents, device: str) -> tuple[Callable, Callable]:
    """(step, forward): step() -> {"output", "gradient"} with a value and every gradient, forward() -> output."""
    make = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    layer = make(xs.shape[-1], state[0].shape[-1]).to(device)

    def tensor(array):
        return torch.tensor(np.asarray(array), device=device)

    with torch.no_grad():
        for name, value in own.items():
            getattr(layer, name).copy_(tensor(value))
    names = list(own)
    weights = [getattr(layer, name) for name in names]
    inputs = [tensor(xs), *(tensor(part)[None] for part in state)]
    for each in inputs:
        each.requires_grad_()
    ct_state, ct_hs = cotangents
    ct = [tensor(ct_hs), *(tensor(part)[None] for part in ct_state)]

    def call():
        hs, final = layer(inputs[0], tuple(inputs[1:]) if cell == "lstm" else inputs[1])
        return [hs, *(final if cell == "lstm" else [final])]

    def synchronised(result):
        if device != "cpu":
            torch.cuda.synchronize()
        return result

    def step():
        outputs = call()
        gradients = torch.autograd.grad(outputs, [*weights, *inputs], ct)
        return synchronised((outputs, gradients))

    def forward():
        with torch.no_grad():
            return synchronised(call())

    def result():
        (hs, *final), gradients = step()
        array = [g.detach().cpu().numpy() for g in gradients]
        own_gradient = dict(zip(names, array, strict=False))
        d_xs, *d_state = array[len(names) :]
        output = (tuple(part[0].detach().cpu().numpy() for part in final), hs.detach().cpu().numpy())
        return {"output": output, "gradient": (own_gradient, d_xs, tuple(part[0] for part in d_state))}

    step.result = result
    return step, forward
