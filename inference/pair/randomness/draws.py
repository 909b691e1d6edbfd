"""Random operations of torch, rewritten as transforms of standard noise that is supplied from outside."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, Protocol

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["NORMAL", "UNIFORM", "Draws", "native", "present_draws"]

NORMAL, UNIFORM = "normal", "uniform"

Supply = Callable[[str, tuple[int, ...], torch.dtype, torch.device], torch.Tensor]

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
            if name in _COMPOSITE and func.__module__ == nn.functional.__name__:
                with self:  # its own draws are then seen
                    return _body(func)(*args, **kwargs)
            if name in _REWRITES and func.__module__ == nn.init.__name__ and kwargs.get("generator") is None:
                kwargs.pop("generator", None)
                with self, torch.no_grad():
                    given = (*args, *kwargs.values())
                    return getattr(given[0], name)(*given[1:])
            return func(*args, **kwargs)
        if kwargs.get("generator") is None and kwargs.get("out") is None:
            rewrite = _REWRITES.get(name)
            if rewrite is not None:
                kwargs.pop("generator", None)
                found = rewrite(self, name, args, kwargs)
                if found is not None:
                    return found
            if name in _OPAQUE:
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


Arguments = tuple[Any, ...]


def _factory(draws: Draws, name: str, args: Arguments, kwargs: dict[str, Any]) -> torch.Tensor | None:
    if kwargs.get("dtype") is not None and kwargs["dtype"].is_complex:
        return None
    kind = NORMAL if name.startswith("randn") else UNIFORM
    if name.endswith("_like"):
        like = args[0]
        device = kwargs.get("device")
        return draws.draw(
            kind, tuple(like.shape), kwargs.get("dtype") or like.dtype, torch.device(device) if device else like.device
        )
    sizes = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list, torch.Size)) else args
    dtype, device = kwargs.get("dtype") or torch.get_default_dtype(), kwargs.get("device")
    place = torch.device(device) if device is not None else torch.get_default_device()
    return draws.draw(kind, tuple(kwargs.get("size", sizes)), dtype, place)


def _normal(draws: Draws, name: str, args: Arguments, kwargs: dict[str, Any]) -> torch.Tensor:
    mean, std, size = _arguments(args, kwargs, mean=0.0, std=1.0, size=None)
    if size is not None:
        dtype = kwargs.get("dtype") or torch.get_default_dtype()
        device = kwargs.get("device")
        place = torch.device(device) if device is not None else torch.get_default_device()
        return mean + std * draws.draw(NORMAL, tuple(size), dtype, place)
    like = mean if isinstance(mean, torch.Tensor) else std
    if isinstance(mean, torch.Tensor) and isinstance(std, torch.Tensor):
        like = mean + std
    return mean + std * draws.like(NORMAL, like)


def _bernoulli(draws: Draws, name: str, args: Arguments, kwargs: dict[str, Any]) -> torch.Tensor | None:
    p: Any = args[1] if len(args) > 1 else kwargs.get("p", args[0])
    return (draws.like(UNIFORM, args[0]) < p).to(args[0].dtype)


def _dropout(draws: Draws, name: str, args: Arguments, kwargs: dict[str, Any]) -> torch.Tensor | None:
    """``x m / (1 - p)``; a feature's variant has one `m` per channel, an alpha variant keeps mean and variance."""
    x, p, train = _arguments(args, kwargs, input=None, p=0.5, train=True)
    if not train or p == 0.0 or x.numel() == 0:
        return None
    shape = (*x.shape[:2], *(1,) * (x.dim() - 2)) if "feature" in name else tuple(x.shape)
    kept = (draws.like(UNIFORM, x, shape) >= p).to(x.dtype)
    if "alpha" not in name:
        out = x * (kept / (1.0 - p)) if p < 1.0 else x * kept
    else:
        low = -_SELU  # what a dropped unit is set to
        scale = 1.0 / math.sqrt((low * low * p + 1.0) * (1.0 - p)) if p < 1.0 else 0.0
        out = (x * kept + low * (1.0 - kept)) * scale - scale * low * p
    return x.copy_(out) if name.endswith("_") else out


def _rrelu(draws: Draws, name: str, args: Arguments, kwargs: dict[str, Any]) -> torch.Tensor | None:
    x, low, high, training = _arguments(args, kwargs, input=None, lower=1.0 / 8, upper=1.0 / 3, training=False)
    if not training:
        return None
    out = torch.where(x >= 0, x, x * (low + (high - low) * draws.like(UNIFORM, x)))
    return x.copy_(out) if name.endswith("_") else out


def _arguments(args: Arguments, kwargs: dict[str, Any], **defaults: Any) -> list[Any]:
    given = dict(zip(defaults, args, strict=False)) | kwargs
    return [given.get(name, value) for name, value in defaults.items()]


def _in_place(law: Callable[..., torch.Tensor], **defaults: Any) -> Callable[..., torch.Tensor]:
    """The in-place draw whose value is ``law(noise, *parameters)``."""
    kind = NORMAL if "normal" in law.__name__ else UNIFORM

    def rewrite(draws: Draws, name: str, args: Arguments, kwargs: dict[str, Any]) -> torch.Tensor:
        value = law(draws.like(kind, args[0]), *_arguments(args[1:], kwargs, **defaults))
        return draws.fill(args[0], value)

    return rewrite


def _normal_from_noise(noise: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    return noise if (mean, std) == (0.0, 1.0) else mean + std * noise


def _log_normal_from_noise(noise: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    return torch.exp(mean + std * noise)


def _uniform_from_noise(noise: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return noise if (low, high) == (0.0, 1.0) else low + (high - low) * noise


def _exponential_from_noise(noise: torch.Tensor, rate: float) -> torch.Tensor:
    return -torch.log1p(-noise) / rate


def _cauchy_from_noise(noise: torch.Tensor, median: float, sigma: float) -> torch.Tensor:
    return median + sigma * torch.tan(math.pi * (noise - 0.5))


def _geometric_from_noise(noise: torch.Tensor, p: float) -> torch.Tensor:
    return torch.floor(torch.log1p(-noise) / math.log1p(-p)) + 1.0 if p < 1.0 else torch.ones_like(noise)


def _bernoulli_from_noise(noise: torch.Tensor, p: Any) -> torch.Tensor:
    return (noise < p).to(noise.dtype)


_SELU = 1.7580993408473766  # alpha times scale of a self-normalising unit
_READ_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]
_REWRITES: dict[str, Callable[..., torch.Tensor | None]] = {
    "normal_": _in_place(_normal_from_noise, mean=0.0, std=1.0),
    "log_normal_": _in_place(_log_normal_from_noise, mean=1.0, std=2.0),
    "uniform_": _in_place(_uniform_from_noise, **{"from": 0.0, "to": 1.0}),
    "exponential_": _in_place(_exponential_from_noise, lambd=1.0),
    "cauchy_": _in_place(_cauchy_from_noise, median=0.0, sigma=1.0),
    "geometric_": _in_place(_geometric_from_noise, p=0.5),
    "bernoulli_": _in_place(_bernoulli_from_noise, p=0.5),
    "bernoulli": _bernoulli,
    "normal": _normal,
    "rrelu": _rrelu,
    "rrelu_": _rrelu,
    **dict.fromkeys(("randn", "rand", "randn_like", "rand_like"), _factory),
    **{f"{kind}dropout{end}": _dropout for kind in ("", "feature_", "alpha_", "feature_alpha_") for end in ("", "_")},
}
_OPAQUE = frozenset(
    {"_standard_gamma", "_sample_dirichlet", "poisson", "multinomial", "binomial"}
    | {"random_", "randint", "randint_like", "randperm"}
)
_COMPOSITE = frozenset(
    {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "gumbel_softmax"}
    | {"rrelu", "multi_head_attention_forward"}
)


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
