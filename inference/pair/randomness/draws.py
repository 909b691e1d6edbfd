"""The mode in which random operations of torch take their standard noise from outside."""

from __future__ import annotations

__all__ = ["Draws", "native", "present_draws"]

import math
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, Protocol

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from .rewrites import COMPOSITE, NORMAL, OPAQUE, REWRITES, UNIFORM

Supply = Callable[[str, tuple[int, ...], torch.dtype, torch.device], torch.Tensor]

_READ_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]

_present: list[Draws] = []


class _Tape(Protocol):
    """Keeps draws, or gives those of an earlier run back; see :class:`~.tape.Tape`."""

    @property
    def gives(self) -> bool: ...
    def next(self) -> torch.Tensor: ...
    def keep(self, value: torch.Tensor) -> None: ...


def present_draws() -> Draws:
    """The innermost mode that rewrites draws; a program is always run inside one."""
    return _present[-1]


class Draws(TorchFunctionMode):
    """Inside, every draw that is a transform of standard normals or uniforms takes them from `supply`.

    ``supply(kind, shape, dtype, device)`` returns base noise. In-place draws write into their tensor; under
    :func:`torch.vmap`, where a tensor that all particles share cannot take a value for each, its later uses see the
    draws instead. What torch makes of other distributions (Gamma, Poisson, …) it goes on drawing from its generator.

    Attributes:
        used: how many numbers of each kind were supplied.
        count: how many draws were made.
        tape: keeps (or gives back) the draws made outside of sample sites, or None.
    """

    def __init__(self, supply: Supply) -> None:
        super().__init__()
        self.supply = supply
        self.used = {NORMAL: 0, UNIFORM: 0}
        self.count = 0
        self.tape: _Tape | None = None
        self._filled: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by id: a shared tensor, and what fills it

    def __enter__(self) -> Any:
        _present.append(self)
        return super().__enter__()

    def __exit__(self, *exception: Any) -> Any:
        _present.pop()
        return super().__exit__(*exception)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == _READ_DATA:  # Pyro's enumeration reads `value.data.shape`, and vmap forbids `.data`
            return args[0].detach()
        if self._filled:
            args, kwargs = self._see(args), self._see(kwargs)
        name = getattr(func, "__name__", "")
        if isinstance(func, FunctionType):
            if name in COMPOSITE and func.__module__ == nn.functional.__name__:
                with self:  # its own draws are then seen
                    return _body(func)(*args, **kwargs)
            if name in REWRITES and func.__module__ == nn.init.__name__ and kwargs.get("generator") is None:
                kwargs.pop("generator", None)
                with self, torch.no_grad():
                    given = (*args, *kwargs.values())
                    return getattr(given[0], name)(*given[1:])
            return func(*args, **kwargs)
        if kwargs.get("generator") is None and kwargs.get("out") is None:
            rewrite = REWRITES.get(name)
            if rewrite is not None:
                kwargs.pop("generator", None)
                found = rewrite(self, name, args, kwargs)
                if found is not None:
                    return found
            if name in OPAQUE:
                return self._opaque(func, name, args, kwargs)
        return func(*args, **kwargs)

    def draw(self, kind: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """Base noise, from the tape where that gives draws back."""
        self.count += 1
        if self.tape is not None and self.tape.gives:
            return self.tape.next()
        self.used[kind] += math.prod(shape)
        noise = self.supply(kind, shape, dtype, device)
        if self.tape is not None:
            self.tape.keep(noise)
        return noise

    def like(self, kind: str, tensor: torch.Tensor, shape: tuple[int, ...] | None = None) -> torch.Tensor:
        """Base noise of a tensor's shape (or another), type (the default one for whole numbers) and device."""
        dtype = tensor.dtype if tensor.dtype.is_floating_point else torch.get_default_dtype()
        return self.draw(kind, tuple(tensor.shape) if shape is None else shape, dtype, tensor.device)

    def _opaque(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """A draw of torch's own, on the tape as it is."""
        self.count += 1
        tape = self.tape
        if tape is not None and tape.gives:
            value = tape.next()
            return self.fill(args[0], value) if name.endswith("_") else value
        value = func(*args, **kwargs)
        if tape is not None:
            tape.keep(value.detach().clone() if name.endswith("_") else value.detach())
        return value

    def fill(self, out: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Write a draw into `out`, as the operation that was rewritten does."""
        functorch = torch._C._functorch  # type: ignore[attr-defined]
        if not functorch.is_batchedtensor(value) or functorch.is_batchedtensor(out):
            return out.copy_(value)
        if out._base is not None:
            raise RuntimeError(
                "vmap: a draw is written into a part of a tensor that all particles share. Build the tensor from its "
                "parts (`torch.cat`, `torch.where`), and the particles can be vectorised."
            )
        value = value.to(out.dtype)
        self._filled[id(out)] = (out, value)
        return value

    def _see(self, value: Any) -> Any:
        """Arguments with shared tensors replaced by what each particle drew into them."""
        if isinstance(value, torch.Tensor):
            found = self._filled.get(id(value))
            return value if found is None else found[1]
        if type(value) in (tuple, list):
            return type(value)(self._see(item) for item in value)
        if type(value) is dict:
            return {key: self._see(item) for key, item in value.items()}
        return value


@cache
def _body(function: Any) -> Callable[..., Any]:
    """A function of ``torch.nn.functional`` that runs its own code where a mode would take it for one operation."""
    no = dict.fromkeys(
        ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"), lambda *args: False
    )
    names = {**function.__globals__, **no}
    own = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    own.__kwdefaults__ = function.__kwdefaults__
    return own


def native(kind: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Base noise from torch's generator."""
    with torch._C.DisableTorchFunction():
        if kind == NORMAL:
            return torch.randn(shape, dtype=dtype, device=device)
        return torch.rand(shape, dtype=dtype, device=device)
