"""torch.nn.LSTM, GRU and RNN, eager: on the CPU (oneDNN and ATen), or on a GPU (cuDNN).

PyTorch is no JAX function, so this file is a runner of its own (see measuring/runners.py for the protocol), and
may be run in a process of its own.
"""

import contextlib
import time

import numpy as np

from benchmarks.contestants.protocol import LeftOut, need

MATRICES = {"weight_ih_l0": "U", "weight_hh_l0": "W"}


class TorchRunner:
    """A torch.nn layer that holds `problem`'s weights; `device` is "cpu" or "cuda", `tf32` what cuDNN may use."""

    note = "two biases [G·H], both with gradients; eager"

    def __init__(self, problem, device: str = "cpu", tf32: bool = False):
        need("torch")
        import torch

        self.torch, self.device, self.sizes = torch, device, problem.sizes
        if device == "cuda" and not torch.cuda.is_available():
            raise LeftOut("torch sees no CUDA device")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        dtype = getattr(torch, np.dtype(problem.xs.dtype).name)

        def tensor(array, requires_grad=True):
            tensor = torch.tensor(np.asarray(array, np.float32), dtype=dtype, device=device)
            return tensor.requires_grad_(requires_grad)

        maker = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[problem.cell]
        self.layer = maker(problem.sizes.I, problem.sizes.H, device=device, dtype=dtype)
        weights = problem.weights
        recurrent_bias = np.zeros(weights["b"].shape, np.float32)
        if "bn" in weights:
            recurrent_bias[-problem.sizes.H :] = weights["bn"]
        theirs = {name: np.asarray(weights[ours], np.float32).T for name, ours in MATRICES.items()}
        theirs |= {"bias_ih_l0": weights["b"], "bias_hh_l0": recurrent_bias}
        with torch.no_grad():
            for name, array in theirs.items():
                getattr(self.layer, name).copy_(tensor(array, False))
        self.xs = tensor(problem.xs)
        self.state = tuple(tensor(field) for field in problem.state)
        dstate, dhs = problem.cotangents
        self.cotangents = [tensor(dhs, False), *[tensor(field, False) for field in dstate]]
        self.has_bn = "bn" in weights

    def facts(self, mode: str) -> dict:
        """What is known beside the time. Eager: nothing is compiled."""
        facts = {"threads_set": self.torch.get_num_threads()}
        if self.device == "cuda":
            self.torch.cuda.reset_peak_memory_stats()
            before = self.torch.cuda.memory_allocated()
            self._run(mode)
            self._synchronize()
            facts["temp_bytes"] = self.torch.cuda.max_memory_allocated() - before
        return facts

    def results(self) -> dict[str, np.ndarray]:
        """Outputs and gradients, canonical (see measuring/agreement.py)."""
        outputs, gradients = self._run("gradients")
        forward_hs = self._run("forward")[0][0]
        hs, *state = [self._array(output) for output in outputs]
        dxs, *dstate = [self._array(g) for g in gradients[: 1 + len(state)]]
        dparams = dict(zip(self._names(), (self._array(g) for g in gradients[1 + len(state) :]), strict=True))
        found = {"forward hs": self._array(forward_hs), "hs": hs, "dxs": dxs, "db": dparams["bias_ih_l0"]}
        found |= {f"d{ours}": dparams[name].T for name, ours in MATRICES.items()}
        found |= {name: field for name, field in zip("hc", state, strict=False)}
        found |= {f"d{name}": field for name, field in zip("hc", dstate, strict=False)}
        return found | ({"dbn": dparams["bias_hh_l0"][-self.sizes.H :]} if self.has_bn else {})

    def measure(self, mode: str, calls: int) -> tuple[float, float]:
        """(wall seconds, processor seconds) of one call, the mean of `calls` calls."""
        self._synchronize()
        start, start_cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            self._run(mode)
        self._synchronize()
        return (time.perf_counter() - start) / calls, (time.process_time() - start_cpu) / calls

    def peak_gflops(self, n: int, repeats: int) -> float:
        """Measured product of two [n, n] matrices of this runner's dtype, the best of `repeats`."""
        a = self.torch.randn(n, n, dtype=self.xs.dtype, device=self.device)
        best = np.inf
        for _ in range(repeats + 1):
            self._synchronize()
            start = time.perf_counter()
            a @ a
            self._synchronize()
            best = min(best, time.perf_counter() - start)
        return 2 * n**3 / best / 1e9

    def _run(self, mode):
        torch = self.torch
        with torch.no_grad() if mode == "forward" else contextlib.nullcontext():
            hs, state = self.layer(
                self.xs, tuple(f[None] for f in self.state) if self._is_lstm() else self.state[0][None]
            )
            outputs = [hs, *[field[0] for field in (state if self._is_lstm() else (state,))]]
        if mode == "forward":
            return outputs, None
        params = [getattr(self.layer, name) for name in self._names()]
        return outputs, torch.autograd.grad(outputs, [self.xs, *self.state, *params], self.cotangents)

    def _is_lstm(self):
        return len(self.state) == 2

    def _names(self):
        return [*MATRICES, "bias_ih_l0", "bias_hh_l0"]

    def _array(self, tensor):
        return tensor.detach().float().cpu().numpy()

    def _synchronize(self):
        if self.device == "cuda":
            self.torch.cuda.synchronize()
