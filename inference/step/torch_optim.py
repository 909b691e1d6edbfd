"""Make and step torch's optimisers without the imports of torch's compiler.

Each of torch's optimisers imports that compiler, as it is made and at its first step, only to tell it what not to
compile; that takes longer than a small fit.
"""

from __future__ import annotations

__all__ = ["bare_optimizer", "take_step"]

import inspect
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch.optim import Optimizer


def bare_optimizer(factory: Callable[..., Optimizer], parameters: list[torch.Tensor], lr: Any) -> Optimizer:
    """``factory(parameters, lr=lr)``."""
    name = "add_param_group"
    with mock.patch.object(Optimizer, name, inspect.unwrap(getattr(Optimizer, name))):
        return factory(parameters, lr=lr)


def take_step(optimizer: Optimizer, parameters: list[torch.Tensor]) -> None:
    """One step by the parameters' gradients, which are forgotten."""
    kind = type(optimizer)
    stock = getattr(torch.optim, kind.__name__, None) is kind and not optimizer.defaults.get("differentiable")
    if stock:
        with torch.no_grad():
            inspect.unwrap(kind.step)(optimizer)
    else:
        optimizer.step()
    for parameter in parameters:
        parameter.grad = None
