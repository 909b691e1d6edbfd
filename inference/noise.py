"""Random draws as an input of the program: recorded once, then replayed from a tensor.

A fit draws the standard noise of many steps in one call, as a pure function of (seed, step), and every way of running a
step (eager, traced, compiled, captured) reads the same numbers. The same interception makes Pyro's in-place draws safe
under :func:`torch.vmap`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["Noise", "NoiseLayout", "record_noise", "replay_noise", "vmap_safe_noise"]

NORMAL, UNIFORM = "normal", "uniform"


@dataclass(frozen=True)
class Draw:
    """One call of a random generator: which base noise it needs and in what shape."""

    kind: str
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass
class NoiseLayout:
    """Every draw of one run of a program, in order: how much base noise one particle needs.

    Attributes:
        draws: the draws in program order.
        opaque: draws whose distribution depends on parameters (Gamma, Poisson, …) and that cannot be lifted out of the
            program. A program with opaque draws takes them from the generator in its step.
    """

    draws: list[Draw] = field(default_factory=list)
    opaque: list[str] = field(default_factory=list)

    def size(self, kind: str) -> int:
        return sum(draw.numel for draw in self.draws if draw.kind == kind)

    @property
    def normals(self) -> int:
        return self.size(NORMAL)

    @property
    def uniforms(self) -> int:
        return self.size(UNIFORM)


@dataclass(frozen=True)
class Noise:
    """Base noise for `K` particles: ``normal (K, M)`` and ``uniform (K, U)``; either may have no columns."""

    normal: torch.Tensor
    uniform: torch.Tensor


class _Interceptor(TorchFunctionMode):
    """Rewrite each standard draw as a transform of base noise that `supply(kind, shape, like)` returns."""

    def __init__(
        self,
        supply: Callable[[str, tuple[int, ...], torch.dtype, torch.device], torch.Tensor],
        opaque: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.supply = supply
        self.opaque = opaque

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == _READ_DATA:  # Pyro's enumeration reads `value.data.shape`, and vmap forbids `.data`
            return args[0].detach()
        name = getattr(func, "__name__", "")
        in_place = _IN_PLACE.get(name)
        if in_place is not None and isinstance(args[0], torch.Tensor) and kwargs.get("generator") is None:
            return in_place(self, *args, **kwargs)
        if name in _FACTORIES and kwargs.get("generator") is None and kwargs.get("out") is None:
            return self._factory(func, name, args, kwargs)
        if name == "normal" and func is torch.normal and kwargs.get("generator") is None and kwargs.get("out") is None:
            return self._normal(*args, **kwargs)
        if name == "bernoulli" and kwargs.get("generator") is None and len(args) == 1:
            return (self.draw(UNIFORM, args[0]) < args[0]).to(args[0].dtype)
        if name in _OPAQUE:
            self.opaque(name)
        return func(*args, **kwargs)

    def draw(self, kind: str, like: torch.Tensor) -> torch.Tensor:
        return self.supply(kind, tuple(like.shape), like.dtype, like.device)

    def _factory(self, func: Any, name: str, args: Any, kwargs: Any) -> torch.Tensor:
        kind = NORMAL if name.startswith("randn") else UNIFORM
        if name.endswith("_like"):
            like = args[0]
            shape, dtype, device = tuple(like.shape), kwargs.get("dtype") or like.dtype, kwargs.get("device")
            device = device or like.device
        else:
            sizes = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list, torch.Size)) else args
            sizes = kwargs.get("size", sizes)
            shape, dtype, device = tuple(sizes), kwargs.get("dtype"), kwargs.get("device")
        dtype = dtype or torch.get_default_dtype()
        device = torch.device(device) if device is not None else torch.get_default_device()
        return self.supply(kind, shape, dtype, device)

    def _normal(self, mean: Any, std: Any = 1.0, size: Any = None, **kwargs: Any) -> torch.Tensor:
        if size is not None:
            dtype = kwargs.get("dtype") or torch.get_default_dtype()
            return mean + std * self.supply(NORMAL, tuple(size), dtype, torch.get_default_device())
        like = mean if isinstance(mean, torch.Tensor) else std
        if isinstance(mean, torch.Tensor) and isinstance(std, torch.Tensor):
            like = mean + std
        return mean + std * self.draw(NORMAL, like)

    def _normal_(self, out: torch.Tensor, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
        noise = self.draw(NORMAL, out)
        return noise if (mean, std) == (0.0, 1.0) else mean + std * noise

    def _uniform_(self, out: torch.Tensor, low: float = 0.0, high: float = 1.0, **bounds: float) -> torch.Tensor:
        low, high = bounds.get("from", low), bounds.get("to", high)
        return low + (high - low) * self.draw(UNIFORM, out)

    def _exponential_(self, out: torch.Tensor, rate: float = 1.0) -> torch.Tensor:
        return -torch.log1p(-self.draw(UNIFORM, out)) / rate

    def _cauchy_(self, out: torch.Tensor, median: float = 0.0, sigma: float = 1.0) -> torch.Tensor:
        return median + sigma * torch.tan(math.pi * (self.draw(UNIFORM, out) - 0.5))


_READ_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]
_IN_PLACE: dict[str, Any] = {
    "normal_": _Interceptor._normal_,
    "uniform_": _Interceptor._uniform_,
    "exponential_": _Interceptor._exponential_,
    "cauchy_": _Interceptor._cauchy_,
}
_FACTORIES = frozenset({"randn", "rand", "randn_like", "rand_like"})
_OPAQUE = frozenset(
    {"_standard_gamma", "_sample_dirichlet", "poisson", "multinomial", "binomial", "bernoulli_", "random_", "randint"}
    | {"geometric_", "log_normal_", "randperm", "dropout", "alpha_dropout", "feature_dropout", "bernoulli"}
)


def _native(kind: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    with torch._C.DisableTorchFunction():
        if kind == NORMAL:
            return torch.randn(shape, dtype=dtype, device=device)
        return torch.rand(shape, dtype=dtype, device=device)


def _ignore(name: str) -> None:
    return None


@contextmanager
def vmap_safe_noise() -> Iterator[None]:
    """Draw from the generator, out of place, so that ``vmap(randomness="different")`` gives each particle its own."""
    with _Interceptor(_native, _ignore):
        yield


@contextmanager
def record_noise(layout: NoiseLayout) -> Iterator[None]:
    """Draw from the generator and append every draw of the block to `layout`."""

    def supply(kind: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        layout.draws.append(Draw(kind, shape))
        return _native(kind, shape, dtype, device)

    with _Interceptor(supply, layout.opaque.append):
        yield


@contextmanager
def replay_noise(normal: torch.Tensor, uniform: torch.Tensor) -> Iterator[None]:
    """Read the block's draws from the flat ``normal (M,)`` and ``uniform (U,)``, in order.

    Raises:
        IndexError: if the block draws more than was supplied (a program whose shapes change from run to run).
    """
    position = {NORMAL: 0, UNIFORM: 0}
    source = {NORMAL: normal, UNIFORM: uniform}

    def supply(kind: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        start, count = position[kind], math.prod(shape)
        if start + count > source[kind].shape[-1]:
            raise IndexError(f"The program drew more {kind} noise than the {source[kind].shape[-1]} numbers recorded.")
        position[kind] = start + count
        return source[kind].narrow(-1, start, count).reshape(shape).to(dtype)

    with _Interceptor(supply, _ignore):
        yield
