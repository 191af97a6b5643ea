"""Contestants in PyTorch, each in a process of its own: the same models of nn.LSTM, and of nn.GRU and nn.GRUCell; and
nn.LSTM on embeddings of H features, which is what people write, and another model."""

import time
from typing import Any

import numpy as np

from benchmarks.contestants.protocol import need
from benchmarks.steps.problem import DatesProblem, StepProblem


class TorchStepRunner:
    """Adam's steps; a subclass makes modules, `_modules`, and says what the loss is.

    - `threads`: of PyTorch's; None for as many as there are cores.
    """

    note = ""

    def __init__(self, problem: StepProblem | DatesProblem, threads: int | None):
        need("torch")
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        self._torch, self._problem, self._number = torch, problem, 0
        self._begin()

    def facts(self, mode: str) -> dict[str, Any]:
        return {"threads_set": self._torch.get_num_threads()}

    def losses(self, steps: int) -> np.ndarray:
        self._begin()
        found = np.array([float(self._step(number)) for number in range(steps)])
        self._begin()
        return found

    def measure(self, mode: str, calls: int) -> tuple[float, float]:
        start, start_cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            self._step(self._number)
            self._number += 1
        return (time.perf_counter() - start) / calls, (time.process_time() - start_cpu) / calls

    def _adam(self, *modules):
        """A step function of loss -> None for the parameters of these modules."""
        torch, settings = self._torch, self._problem.settings
        params = [p for module in modules for p in module.parameters() if p.requires_grad]
        adam = torch.optim.Adam(params, lr=settings.learning_rate)

        def descend(loss):
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(params, settings.clip)
            adam.step()

        return descend


class TorchChars(TorchStepRunner):
    """The character model. `embedded`: on embeddings."""

    def __init__(self, problem: StepProblem, threads: int | None, embedded: bool):
        self._embedded = embedded
        self.note = "embeddings of H features: another model" if embedded else ""
        super().__init__(problem, threads)

    def weights(self) -> dict[str, Any]:
        """Those that `measure` has come to; where characters are embedded their rows, multiplied, are U's."""

        def array(name, layer):
            return getattr(self._layers, f"{name}_l{layer}").detach().numpy().T

        names = {"U": "weight_ih", "W": "weight_hh", "b": "bias_ih"}
        layers = [{of: array(name, n) for of, name in names.items()} for n in range(self._problem.sizes.L)]
        if self._embedded:
            layers[0]["U"] = self._embedding.weight.detach().numpy() @ layers[0]["U"]
        w, b = (p.detach().numpy() for p in (self._output.weight, self._output.bias))
        return {"layers": layers, "output": {"w": w.T, "b": b}}

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
        embedding = [self._embedding] if self._embedded else []
        self._descend, self._state = self._adam(self._layers, self._output, *embedding), None

    def _step(self, number):
        F, K = self._torch.nn.functional, self._problem.sizes.K
        inputs, targets = (self._torch.from_numpy(part).long() for part in self._problem.chunk(number))
        xs = self._embedding(inputs) if self._embedded else F.one_hot(inputs, K).float()
        hs, state = self._layers(xs, self._state)
        self._state = tuple(field.detach() for field in state)
        loss = F.cross_entropy(self._output(hs).flatten(0, 1), targets.flatten())
        self._descend(loss)
        return loss.detach()


class TorchDates(TorchStepRunner):
    """The dates model of `settings`' defaults, a GRU's: with Bahdanau's attention, and without any, each on its own."""

    def _begin(self):
        torch = self._torch
        self._models = {name: self._model(of) for name, of in self._problem.weights.items()}
        self._descents = {name: self._adam(torch.nn.ModuleDict(of)) for name, of in self._models.items()}

    def _model(self, weights):
        """Modules that hold these weights."""
        torch, nn = self._torch, self._torch.nn
        (encoder,), (decoder,), (bridge,) = weights["encoder"], weights["decoder"], weights["bridges"]
        H = self._problem.settings.hidden

        def hold(parameter, array):
            with torch.no_grad():
                parameter.copy_(torch.tensor(np.ascontiguousarray(array)))

        def dense(w, b=None):
            layer = nn.Linear(*w.shape, bias=b is not None)
            hold(layer.weight, w.T)
            if b is not None:
                hold(layer.bias, b)
            return layer

        def embedding(rows):
            layer = nn.Embedding(*rows.shape)
            hold(layer.weight, rows)
            return layer

        def gru(layer, suffix, of, U):
            hold(getattr(layer, f"weight_ih{suffix}"), U.T)
            hold(getattr(layer, f"weight_hh{suffix}"), of["W"].T)
            hold(getattr(layer, f"bias_ih{suffix}"), of["b"])
            bias, ours = getattr(layer, f"bias_hh{suffix}"), torch.arange(3 * H) >= 2 * H  # two of three blocks: none
            hold(bias, np.concatenate([np.zeros(2 * H, np.float32), of["bn"]]))
            bias.register_hook(lambda gradient: gradient * ours)

        made = {"source": embedding(weights["source"]), "target": embedding(weights["target"])}
        made |= {"encoder": nn.GRU(H, H, bidirectional=True), "bridge": dense(bridge["h"]["w"], bridge["h"]["b"])}
        for suffix, of in zip(("_l0", "_l0_reverse"), encoder, strict=True):
            gru(made["encoder"], suffix, of, of["U"])
        if "Uc" in decoder:
            made |= {"decoder": nn.GRUCell(3 * H, H), "v": dense(decoder["v"][:, None])}
            made |= {"query": dense(decoder["Wq"]), "key": dense(decoder["Wk"])}
            gru(made["decoder"], "", decoder, np.concatenate([decoder["U"], decoder["Uc"]]))
        else:
            made["decoder"] = nn.GRU(H, H)
            gru(made["decoder"], "_l0", decoder, decoder["U"])
        return made | {"output": dense(weights["output"]["w"], weights["output"]["b"])}

    def _step(self, number):
        """The loss of the first model."""
        (batch,) = self._problem.chunk(number)
        losses = []
        for name, model in self._models.items():
            loss = self._loss(model, batch)
            self._descents[name](loss)
            losses.append(loss.detach())
        return losses[0]

    def _loss(self, model, batch):
        torch, nn = self._torch, self._torch.nn
        F, rnn = nn.functional, nn.utils.rnn
        source, target, following = (
            torch.from_numpy(part).long() for part in (batch.source, batch.target, batch.following)
        )
        packed = rnn.pack_padded_sequence(
            model["source"](source), torch.from_numpy(batch.source_lengths).long(), enforce_sorted=False
        )
        hs, ends = model["encoder"](packed)
        h, xs = torch.tanh(model["bridge"](torch.cat([*ends], 1))), model["target"](target)
        if "query" in model:
            memory, _ = rnn.pad_packed_sequence(hs, batch_first=True)  # [B, S, 2·H]
            keys = model["key"](memory)
            outside = torch.arange(memory.shape[1]) >= torch.from_numpy(batch.source_lengths)[:, None]
            written = []
            for x in xs:
                energies = model["v"](torch.tanh(keys + model["query"](h)[:, None]))[..., 0]
                alpha = energies.masked_fill(outside, -torch.inf).softmax(1)
                h = model["decoder"](torch.cat([x, torch.bmm(alpha[:, None], memory)[:, 0]], 1), h)
                written.append(h)
            hs = torch.stack(written)
        else:
            hs, _ = model["decoder"](xs, h[None])
        within = torch.arange(len(xs))[:, None] < torch.from_numpy(batch.target_lengths)
        return F.cross_entropy(model["output"](hs)[within], following[within])
