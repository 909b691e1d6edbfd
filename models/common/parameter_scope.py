"""Modes of modules: parameters of their own or in Pyro's global store, and evaluation."""

from __future__ import annotations

__all__ = ["evaluating", "local_parameters", "make_local", "module_parameters"]

import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import pyro
from pyro.nn import PyroModule
from torch import nn

M = TypeVar("M", bound=nn.Module)


def local_parameters() -> AbstractContextManager[None]:
    """Settings under which PyroModules keep their parameters to themselves and Pyro's global store stays empty."""
    return pyro.settings.context(module_local_params=True)


@contextmanager
def module_parameters(module: PyroModule) -> Iterator[None]:
    """Inside, this module's programs use its own parameters, whatever mode the caller is in.

    A plain `pyro.infer.SVI`, which runs in Pyro's global mode, still finds and optimises them.
    """
    if module._pyro_context.active or pyro.settings.get("module_local_params"):
        yield
        return
    for parameter in module.parameters():
        parameter.unconstrained = weakref.ref(parameter)  # type: ignore[attr-defined]  # pyro.infer.SVI asks for it
    # In this order Pyro does not swap its global store, where a guide may keep parameters that it is still using.
    with module._pyro_context, local_parameters():
        yield


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Inside, the module and its parts are in evaluation mode: batch norms stay as they are, nothing is dropped."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def make_local(module: M) -> M:
    """Let PyroModules that were built in Pyro's global mode also run in the local one (Pyro decides when it builds).

    Args:
        module: any module; the PyroModules in it are changed in place.

    Returns:
        The same module.
    """
    for part in module.modules():
        if isinstance(part, PyroModule) and not hasattr(part._pyro_context, "param_state"):
            part._pyro_context.param_state = {"params": {}, "constraints": {}}
    return module
