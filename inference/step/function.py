"""One SVI step as a pure function: parameters, batch and noise in; gradients and bounds out."""

from __future__ import annotations

__all__ = ["Gradients", "StepFunction", "StepInputs", "StepNoise"]

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from ..objectives.base import Bound, Objective
from ..pair.messengers.minibatch import minibatch
from ..pair.program import Program
from ..pair.randomness.noise import Noise, NoiseLayout, record_noise, replay_noise
from ..tensors import Batch, TensorList

_FLAT_LIMIT = 1 << 16  # parameters up to which one vector is cheaper than many tensors


@dataclass(frozen=True)
class Gradients:
    """What one evaluation returns: gradients of the loss, the two bounds ``(2,)`` and the buffers' new values."""

    gradients: TensorList
    bounds: torch.Tensor
    buffers: TensorList


@dataclass(frozen=True)
class StepNoise:
    """Base noise of one step: per particle for the program ``(K, M)``, ``(K, U)``, once for the batch transform."""

    normal: torch.Tensor
    uniform: torch.Tensor
    transform_normal: torch.Tensor
    transform_uniform: torch.Tensor

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.normal, self.uniform, self.transform_normal, self.transform_uniform)


@dataclass(frozen=True)
class StepInputs:
    """What a step is given beside parameters and buffers: batch, noise and annealing weight."""

    batch: Batch
    noise: StepNoise
    weight: torch.Tensor | float


class StepFunction:
    """The gradient of an objective on a program, as a function of explicit tensors.

    Args:
        program: the pair; its trainable parameters are listed in `names`, its buffers in `buffer_names`.
        objective: the objective.
        transform: applied to the batch at every step (such as dynamic binarisation), or None.
        precision: ``"bf16"`` runs the program under autocast.
        flat: present all parameters as one vector, if they are few, so that an elementwise optimiser updates them in
            one sweep.
        processes: how many processes share each batch in equal parts.
    """

    def __init__(
        self,
        program: Program,
        objective: Objective,
        *,
        data_size: int,
        transform: Callable[[Batch, None], Batch] | None = None,
        precision: str | None = None,
        flat: bool = False,
        processes: int = 1,
    ) -> None:
        self.program, self.objective, self.transform = program, objective, transform
        self.data_size, self.precision, self.processes = data_size, precision, processes
        trainable = [(name, p) for name, p in program.named_parameters() if p.requires_grad]
        self.parameters: dict[str, torch.Tensor] = dict(trainable)
        self.buffers = dict(program.named_buffers())
        numbers = sum(p.numel() for p in self.parameters.values())
        self.flat = flat and numbers <= _FLAT_LIMIT and len({p.dtype for p in self.parameters.values()}) == 1
        self._parameter_slots = _slots(program, self.parameters, "_parameters")
        self._buffer_slots = _slots(program, self.buffers, "_buffers")
        self.sizes = [p.numel() for p in self.parameters.values()]

    @property
    def names(self) -> list[str]:
        return list(self.parameters)

    def pack(self, tensors: Sequence[torch.Tensor]) -> TensorList:
        """Per-parameter tensors as the list that is optimised: one vector if `flat`."""
        return [torch.cat([t.reshape(-1) for t in tensors])] if self.flat else list(tensors)

    def unpack(self, tensors: Sequence[torch.Tensor]) -> TensorList:
        """The inverse of :meth:`pack`."""
        if not self.flat:
            return list(tensors)
        parts = tensors[0].split(self.sizes)
        return [part.view(p.shape) for part, p in zip(parts, self.parameters.values(), strict=True)]

    def initial(self) -> TensorList:
        """The parameters as they are in the modules, copied."""
        return self.pack([p.detach().clone() for p in self.parameters.values()])

    def materialise(self, tensors: Sequence[torch.Tensor], buffers: Sequence[torch.Tensor]) -> None:
        """Write values back into the modules."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters.values(), self.unpack(tensors), strict=True):
                parameter.copy_(value)
            for buffer, value in zip(self.buffers.values(), buffers, strict=True):
                buffer.copy_(value)

    def held(self) -> dict[str, torch.Tensor]:
        """Copies of the parameters and buffers that are in the modules."""
        return {name: tensor.detach().clone() for name, tensor in {**self.parameters, **self.buffers}.items()}

    def changed_since(self, before: dict[str, torch.Tensor]) -> list[str]:
        """Which of them are not as `before`. A tensor that was put in another's place gives it its values."""
        slots = {**self._parameter_slots, **self._buffer_slots}
        names = []
        with torch.no_grad():
            for name, tensor in {**self.parameters, **self.buffers}.items():
                for table, key in slots[name]:
                    if table[key] is not tensor:
                        tensor.copy_(table[key])
                        table[key] = tensor
                if not torch.equal(tensor, before[name]):
                    names.append(name)
        return names

    @contextmanager
    def holding(self, tensors: Sequence[torch.Tensor], buffers: Sequence[torch.Tensor]) -> Iterator[None]:
        """Inside, the modules hold these parameters (unpacked) and buffers."""
        pairs = list(zip(self._parameter_slots.values(), self.parameters.values(), tensors, strict=True))
        pairs += list(zip(self._buffer_slots.values(), self.buffers.values(), buffers, strict=True))
        try:
            for slots, _, value in pairs:
                for table, key in slots:
                    table[key] = value
            yield
        finally:
            for slots, original, _ in pairs:
                for table, key in slots:
                    table[key] = original

    def _autocast(self, device: torch.device) -> AbstractContextManager[object]:
        if self.precision == "bf16":
            return torch.autocast(device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _bound(self, batch: Batch, noise: Noise | NoiseLayout, weight: torch.Tensor | float) -> Bound:
        first = next(iter(batch.values()))
        whole = len(first) * self.processes if self.processes > 1 else None
        with minibatch(self.data_size, whole), self._autocast(first.device):
            return self.objective.bound(self.program, batch, noise=noise, weight=weight, share=1.0 / self.processes)

    def _bound_of(self, given: StepInputs) -> Bound:
        noise = Noise(given.noise.normal, given.noise.uniform)
        return self._bound(self.transformed(given.batch, given.noise), noise, given.weight)

    def __call__(self, packed: Sequence[torch.Tensor], buffers: Sequence[torch.Tensor], given: StepInputs) -> Gradients:
        """Gradients of ``-objective`` at `packed`; missing gradients are zeros."""
        leaves = [tensor.detach().requires_grad_() for tensor in packed]
        own = [buffer.clone() for buffer in buffers]
        with torch.enable_grad(), self.holding(self.unpack(leaves), own):
            bound = self._bound_of(given)
            if bound.surrogate.requires_grad:
                gradients = torch.autograd.grad(-bound.surrogate, leaves, allow_unused=True, materialize_grads=True)
            else:  # no parameter reaches it: the first step's check says so
                gradients = tuple(torch.zeros_like(leaf) for leaf in leaves)
        return Gradients(list(gradients), torch.stack([bound.objective, bound.bound]).detach(), own)

    def bounds(
        self, packed: Sequence[torch.Tensor], buffers: Sequence[torch.Tensor], given: StepInputs
    ) -> torch.Tensor:
        """``(2,)``: objective and bound alone."""
        with torch.no_grad(), self.holding(self.unpack(packed), [buffer.clone() for buffer in buffers]):
            bound = self._bound_of(given)
            return torch.stack([bound.objective, bound.bound])

    def unreached(self, packed: Sequence[torch.Tensor], buffers: Sequence[torch.Tensor], given: StepInputs) -> set[str]:
        """Names of the parameters that the objective does not depend on; a gradient that is zero still counts."""
        leaves = [tensor.detach().requires_grad_() for tensor in self.unpack(packed)]
        with torch.enable_grad(), self.holding(leaves, [buffer.clone() for buffer in buffers]):
            surrogate = self._bound_of(given).surrogate
            if not surrogate.requires_grad:
                return set(self.names)
            gradients = torch.autograd.grad(surrogate, leaves, allow_unused=True)
        return {name for name, gradient in zip(self.names, gradients, strict=True) if gradient is None}

    def strangers(
        self, packed: Sequence[torch.Tensor], buffers: Sequence[torch.Tensor], given: StepInputs
    ) -> list[torch.Tensor]:
        """Tensors that require a gradient and reach the objective, but are none of the parameters."""
        leaves = [tensor.detach().requires_grad_() for tensor in packed]
        with torch.enable_grad(), self.holding(self.unpack(leaves), [buffer.clone() for buffer in buffers]):
            surrogate = self._bound_of(given).surrogate
        known, found = {id(leaf) for leaf in leaves}, {}
        pending, seen = [surrogate.grad_fn], set()
        while pending:
            node = pending.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            variable = getattr(node, "variable", None)
            if variable is not None and id(variable) not in known:
                found[id(variable)] = variable
            pending += [following for following, _ in node.next_functions]
        return list(found.values())

    def transformed(self, batch: Batch, noise: StepNoise | None) -> Batch:
        """The batch as the program sees it at a step with this noise (None draws it)."""
        if self.transform is None:
            return batch
        with nullcontext() if noise is None else replay_noise(noise.transform_normal[0], noise.transform_uniform[0]):
            return self.transform(batch, None)

    def layouts(self, batch: Batch) -> tuple[NoiseLayout, NoiseLayout]:
        """What noise the program (per particle) and the transform need, from one eager run."""
        program, transform = NoiseLayout(), NoiseLayout()
        with (
            torch.no_grad(),
            self.holding([p.detach() for p in self.parameters.values()], [b.clone() for b in self.buffers.values()]),
        ):
            if self.transform is not None:
                with record_noise(transform):
                    batch = self.transform(batch, None)
            self._bound(batch, program, self.objective.schedule(0.0))
        return program, transform


def _slots(
    program: nn.Module, tensors: dict[str, torch.Tensor], table: str
) -> dict[str, list[tuple[dict[str, torch.Tensor], str]]]:
    """Every place in the module tree that holds each tensor (tied parameters have several)."""
    names = {id(tensor): name for name, tensor in tensors.items()}
    slots: dict[str, list[tuple[dict[str, torch.Tensor], str]]] = {name: [] for name in tensors}
    for module in program.modules():
        entries = getattr(module, table)
        for key, value in entries.items():
            if value is not None and id(value) in names:
                slots[names[id(value)]].append((entries, key))
    return slots
