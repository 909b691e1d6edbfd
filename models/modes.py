"""Where PyroModules keep their parameters: in themselves (local) or in Pyro's global store."""

from __future__ import annotations

__all__ = ["local_parameters", "make_local"]

from contextlib import AbstractContextManager
from typing import TypeVar

import pyro
from pyro.nn import PyroModule
from torch import nn

M = TypeVar("M", bound=nn.Module)


def local_parameters() -> AbstractContextManager[None]:
    """Settings under which PyroModules keep their parameters to themselves and Pyro's global store stays empty."""
    return pyro.settings.context(module_local_params=True)


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
