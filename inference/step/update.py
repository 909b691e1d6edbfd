"""The optimiser's update as a function: traced from `torch.optim`, with clipping and parameter averaging."""

from __future__ import annotations

__all__ = ["OptimizerState", "Update", "clip_by_global_norm", "debiased", "is_elementwise"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import fx
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from ..tensors import TensorList
from .torch_optim import bare_optimizer, take_step, without_hooks

_ELEMENTWISE = frozenset(
    {"Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adadelta", "ASGD", "Rprop", "SGD", "Adagrad"}
)


def is_elementwise(optimizer: object) -> bool:
    """Whether it is one of torch's that treat every number alike, so that all parameters may be one vector."""
    name = getattr(optimizer, "__name__", "")
    return name in _ELEMENTWISE and optimizer is getattr(torch.optim, name)


class _TensorScalars(TorchFunctionMode):
    """Let a learning rate that is a tensor stand where an operation takes a number, as in ``add_(x, alpha=lr)``."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        factor = kwargs.get("alpha" if name == "add_" else "value")
        if isinstance(factor, torch.Tensor):
            if name == "add_":
                return args[0].add_(args[1] * factor)
            if name == "addcdiv_":
                return args[0].add_(args[1] / args[2] * factor)
            if name == "addcmul_":
                return args[0].add_(args[1] * args[2] * factor)
        return func(*args, **kwargs)


@dataclass(frozen=True)
class OptimizerState:
    """The state of an optimiser as named tensors: ``keys[i]`` is (parameter index, entry name) of ``tensors[i]``."""

    keys: tuple[tuple[int, str], ...]
    tensors: TensorList


def clip_by_global_norm(gradients: Sequence[torch.Tensor], max_norm: float) -> TensorList:
    r"""``g * min(1, max_norm / ||g||)`` with the norm taken over all parameters together."""
    squared = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
    factor = (max_norm / (squared.sqrt() + 1e-6)).clamp(max=1.0)
    return [gradient * factor for gradient in gradients]


def debiased(average: Sequence[torch.Tensor], decay: float, steps: int) -> TensorList:
    r"""The mean of the parameters of `steps` steps, from a moving average that began at zero.

    .. math:: \bar\theta_t = \frac{1}{1 - d^t} \sum_{s=1}^t (1 - d) \, d^{t - s} \, \theta_s

    The start has no weight. Reference: Kingma & Ba, Adam, 2015, section 3, https://arxiv.org/abs/1412.6980.
    """
    return [mean / (1.0 - decay**steps) for mean in average]


class Update:
    """Build optimisers and apply them to explicit tensors.

    Args:
        factory: ``factory(parameters, lr=…) -> Optimizer``, usually a `torch.optim` class or a `functools.partial` of
        it. lr: the learning rate.
        max_norm: clip the global gradient norm to this, or None.
        average: decay of an exponential moving average of the parameters, or None. It begins at zero: see `debiased`.
    """

    def __init__(self, factory: Callable[..., Optimizer], lr: float, max_norm: float | None, average: float | None):
        self.factory, self.lr, self.max_norm, self.average = factory, lr, max_norm, average

    def optimizer(
        self, parameters: Sequence[torch.Tensor], lr: float | torch.Tensor, *, traced: bool = False
    ) -> Optimizer:
        optimizer = bare_optimizer(self.factory, list(parameters), lr)
        for group in optimizer.param_groups:
            if traced or (parameters and parameters[0].is_cuda):
                if "capturable" in group:
                    group["capturable"] = True
            if traced:
                group["foreach"] = False
                if "fused" in group:
                    group["fused"] = None
        return optimizer

    def step(self, optimizer: Optimizer, parameters: TensorList, gradients: TensorList, average: TensorList) -> None:
        """One step in place, with the real optimiser (also the run's first step, which creates its state)."""
        if self.max_norm is not None:
            gradients = clip_by_global_norm(gradients, self.max_norm)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        take_step(optimizer, parameters)
        if self.average is not None:
            with torch.no_grad():
                for mean, parameter in zip(average, parameters, strict=True):
                    mean.lerp_(parameter, 1.0 - self.average)

    @staticmethod
    def state_of(optimizer: Optimizer, parameters: Sequence[torch.Tensor]) -> OptimizerState | None:
        """The optimiser's state, or None if it holds anything but tensors (then it cannot be traced)."""
        keys: list[tuple[int, str]] = []
        tensors: TensorList = []
        for index, parameter in enumerate(parameters):
            for name, value in optimizer.state.get(parameter, {}).items():
                if value is None:
                    continue
                if not isinstance(value, torch.Tensor):
                    return None
                keys.append((index, name))
                tensors.append(value.detach())
        return OptimizerState(tuple(keys), tensors)

    def layout(self, parameters: Sequence[torch.Tensor]) -> OptimizerState | None:
        """What the optimiser keeps after a step, in names, shapes and types; None as for :meth:`state_of`."""
        own = [torch.zeros_like(parameter) for parameter in parameters]
        optimizer = without_hooks(self.optimizer(own, self.lr))
        for parameter in own:
            parameter.grad = torch.zeros_like(parameter)
        take_step(optimizer, own)
        return self.state_of(optimizer, own)

    @staticmethod
    def restore(optimizer: Optimizer, parameters: Sequence[torch.Tensor], state: OptimizerState) -> None:
        """Give the optimiser back the state that :meth:`state_of` returned."""
        for (index, name), tensor in zip(state.keys, state.tensors, strict=True):
            optimizer.state[parameters[index]][name] = tensor

    def functional(
        self, keys: tuple[tuple[int, str], ...], scheduled: bool
    ) -> Callable[
        [TensorList, TensorList, TensorList, TensorList, torch.Tensor], tuple[TensorList, TensorList, TensorList]
    ]:
        """``(parameters, gradients, state, average, lr) -> (parameters, state, average)``, safe to trace."""

        def apply(
            parameters: TensorList, gradients: TensorList, state: TensorList, average: TensorList, lr: torch.Tensor
        ) -> tuple[TensorList, TensorList, TensorList]:
            own = [p.clone() for p in parameters]
            optimizer = self.optimizer(own, self.lr, traced=True)
            if scheduled:  # set afterwards: constructors compare the rate with zero
                for group in optimizer.param_groups:
                    group["lr"] = lr
            if self.max_norm is not None:
                gradients = clip_by_global_norm(gradients, self.max_norm)
            for parameter, gradient in zip(own, gradients, strict=True):
                parameter.grad = gradient
            for (index, name), tensor in zip(keys, state, strict=True):
                optimizer.state[own[index]][name] = tensor.clone()
            with mock.patch("torch.compiler.is_compiling", return_value=True), torch.no_grad(), _TensorScalars():
                take_step(optimizer, own)
            new_state = [optimizer.state[own[index]][name] for index, name in keys]
            new_average = average
            if self.average is not None:
                new_average = [m.lerp(p, 1.0 - self.average) for m, p in zip(average, own, strict=True)]
            return own, new_state, new_average

        return apply

    def traced(
        self, parameters: TensorList, state: OptimizerState, average: TensorList, scheduled: bool, device: torch.device
    ) -> fx.GraphModule:
        """The update as a graph over ``(*parameters, *gradients, *state, *average, lr)``."""
        from .compile.graph import trace

        p, s, a = len(parameters), len(state.tensors), len(average)
        apply = self.functional(state.keys, scheduled)

        def flat(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            split = [
                list(tensors[i:j]) for i, j in ((0, p), (p, 2 * p), (2 * p, 2 * p + s), (2 * p + s, 2 * p + s + a))
            ]
            new = apply(split[0], split[1], split[2], split[3], tensors[-1])
            return (*new[0], *new[1], *new[2])

        gradients = [torch.ones_like(parameter) for parameter in parameters]
        lr = torch.tensor(self.lr, device=device, dtype=parameters[0].dtype if parameters else None)
        inputs = [*parameters, *gradients, *state.tensors, *average, lr]
        return trace(flat, inputs)
