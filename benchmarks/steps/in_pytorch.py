"""Contestants in PyTorch, each in a process of its own: nn.LSTM on one-hot rows, the same model; and on embeddings of H
features, which is what people write, and another model."""

import time
from typing import Any

import numpy as np

from benchmarks.contestants.protocol import need
from benchmarks.steps.problem import StepProblem, settings_of


class TorchStepRunner:
    """- `embedded`: on embeddings.
    - `threads`: of PyTorch's; None for as many as there are cores.
    """

    def __init__(self, problem: StepProblem, embedded: bool, threads: int | None):
        need("torch")
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        self._torch, self._problem, self._embedded = torch, problem, embedded
        self.note = "embeddings of H features: another model" if embedded else ""
        self._begin()
        self._number = 0

    def facts(self, mode: str) -> dict[str, Any]:
        return {"threads_set": self._torch.get_num_threads()}

    def losses(self, steps: int) -> np.ndarray:
        self._begin()
        return np.array([float(self._step(number)) for number in range(steps)])

    def measure(self, mode: str, calls: int) -> tuple[float, float]:
        start, start_cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            self._step(self._number)
            self._number += 1
        return (time.perf_counter() - start) / calls, (time.process_time() - start_cpu) / calls

    def _begin(self):
        torch, (_, _, H, L, K) = self._torch, self._problem.sizes
        nn, weights = torch.nn, self._problem.weights
        self._embedding = nn.Embedding(K, H) if self._embedded else None
        self._layers = nn.LSTM(H if self._embedded else K, H, L)
        self._output = nn.Linear(H, K)
        with torch.no_grad():
            for layer, of_layer in enumerate(weights["layers"]):
                if layer > 0 or not self._embedded:
                    getattr(self._layers, f"weight_ih_l{layer}").copy_(torch.tensor(of_layer["U"].T))
                getattr(self._layers, f"weight_hh_l{layer}").copy_(torch.tensor(of_layer["W"].T))
                getattr(self._layers, f"bias_ih_l{layer}").copy_(torch.tensor(of_layer["b"]))
                getattr(self._layers, f"bias_hh_l{layer}").zero_().requires_grad_(False)  # one bias, as we have
            self._output.weight.copy_(torch.tensor(weights["output"]["w"].T))
            self._output.bias.copy_(torch.tensor(weights["output"]["b"]))
        modules = [self._layers, self._output, *([self._embedding] if self._embedded else [])]
        self._params = [p for module in modules for p in module.parameters() if p.requires_grad]
        self._adam = torch.optim.Adam(self._params, lr=settings_of(self._problem.sizes).learning_rate)
        self._state = None

    def _step(self, number):
        torch, F, K = self._torch, self._torch.nn.functional, self._problem.sizes.K
        inputs, targets = (torch.from_numpy(part).long() for part in self._problem.chunk(number))
        xs = self._embedding(inputs) if self._embedded else F.one_hot(inputs, K).float()
        hs, state = self._layers(xs, self._state)
        self._state = tuple(field.detach() for field in state)
        loss = F.cross_entropy(self._output(hs).flatten(0, 1), targets.flatten())
        self._adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._params, settings_of(self._problem.sizes).clip)
        self._adam.step()
        return loss.detach()
