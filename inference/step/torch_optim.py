"""Make and step torch's optimisers without the imports of torch's compiler.

Each of torch's optimisers imports that compiler, as it is made and at its first step, only to tell it what not to
compile; that takes longer than a small fit.
"""

from __future__ import annotations

__all__ = ["bare_optimizer", "has_hooks", "take_step", "without_hooks"]

import inspect
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks


def bare_optimizer(factory: Callable[..., Optimizer], parameters: list[torch.Tensor], lr: Any) -> Optimizer:
    """``factory(parameters, lr=lr)``."""
    name = "add_param_group"
    with mock.patch.object(Optimizer, name, inspect.unwrap(getattr(Optimizer, name))):
        return factory(parameters, lr=lr)


def has_hooks(optimizer: Optimizer) -> bool:
    """Whether code of a user's runs at its steps: hooks of its own, those of all optimisers, or a `step` set on it."""
    own = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
    common = (_global_optimizer_pre_hooks, _global_optimizer_post_hooks)
    return any(len(hooks) > 0 for hooks in (*own, *common)) or "step" in vars(optimizer)


def without_hooks(optimizer: Optimizer) -> Optimizer:
    """The same, a throwaway, without hooks of its own."""
    optimizer._optimizer_step_pre_hooks.clear()
    optimizer._optimizer_step_post_hooks.clear()
    vars(optimizer).pop("step", None)
    return optimizer


def take_step(optimizer: Optimizer, parameters: list[torch.Tensor]) -> None:
    """One step by the parameters' gradients, which are forgotten."""
    kind = type(optimizer)
    stock = getattr(torch.optim, kind.__name__, None) is kind and not optimizer.defaults.get("differentiable")
    if stock and not has_hooks(optimizer):
        with torch.no_grad():
            inspect.unwrap(kind.step)(optimizer)
    else:
        optimizer.step()
    for parameter in parameters:
        parameter.grad = None
