"""What becomes of torch's random operations: each as a transform of standard noise, or left to torch's generator."""

from __future__ import annotations

__all__ = ["COMPOSITE", "NORMAL", "OPAQUE", "REWRITES", "UNIFORM"]

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch

NORMAL, UNIFORM = "normal", "uniform"


class BaseNoise(Protocol):
    """Where a rewritten operation takes its noise from; see :class:`~.draws.Draws`."""

    def draw(self, kind: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor: ...
    def like(self, kind: str, tensor: torch.Tensor, shape: tuple[int, ...] | None = None) -> torch.Tensor: ...
    def fill(self, out: torch.Tensor, value: torch.Tensor) -> torch.Tensor: ...


Arguments = tuple[Any, ...]
Options = dict[str, Any]
Rewrite = Callable[[BaseNoise, str, Arguments, Options], "torch.Tensor | None"]
"""``rewrite(noise, name, args, kwargs)`` is the operation's value, or None if torch is to compute it."""


def _factory(draws: BaseNoise, name: str, args: Arguments, kwargs: Options) -> torch.Tensor | None:
    if kwargs.get("dtype") is not None and kwargs["dtype"].is_complex:
        return None
    kind = NORMAL if name.startswith("randn") else UNIFORM
    if name.endswith("_like"):
        like = args[0]
        return draws.draw(kind, tuple(like.shape), kwargs.get("dtype") or like.dtype, _device(kwargs, like.device))
    sizes = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list, torch.Size)) else args
    return _of_size(draws, kind, kwargs.get("size", sizes), kwargs)


def _normal(draws: BaseNoise, name: str, args: Arguments, kwargs: Options) -> torch.Tensor:
    mean, std, size = _arguments(args, kwargs, mean=0.0, std=1.0, size=None)
    if size is not None:
        return mean + std * _of_size(draws, NORMAL, size, kwargs)
    like = mean if isinstance(mean, torch.Tensor) else std
    if isinstance(mean, torch.Tensor) and isinstance(std, torch.Tensor):
        like = mean + std
    return mean + std * draws.like(NORMAL, like)


def _of_size(draws: BaseNoise, kind: str, size: Any, kwargs: Options) -> torch.Tensor:
    dtype = kwargs.get("dtype") or torch.get_default_dtype()
    return draws.draw(kind, tuple(size), dtype, _device(kwargs, torch.get_default_device()))


def _device(kwargs: Options, default: torch.device) -> torch.device:
    return default if kwargs.get("device") is None else torch.device(kwargs["device"])


def _bernoulli(draws: BaseNoise, name: str, args: Arguments, kwargs: Options) -> torch.Tensor | None:
    p: Any = args[1] if len(args) > 1 else kwargs.get("p", args[0])
    return (draws.like(UNIFORM, args[0]) < p).to(args[0].dtype)


def _dropout(draws: BaseNoise, name: str, args: Arguments, kwargs: Options) -> torch.Tensor | None:
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


def _rrelu(draws: BaseNoise, name: str, args: Arguments, kwargs: Options) -> torch.Tensor | None:
    x, low, high, training = _arguments(args, kwargs, input=None, lower=1.0 / 8, upper=1.0 / 3, training=False)
    if not training:
        return None
    out = torch.where(x >= 0, x, x * (low + (high - low) * draws.like(UNIFORM, x)))
    return x.copy_(out) if name.endswith("_") else out


def _arguments(args: Arguments, kwargs: Options, **defaults: Any) -> list[Any]:
    given = dict(zip(defaults, args, strict=False)) | kwargs
    return [given.get(name, value) for name, value in defaults.items()]


def _in_place(kind: str, law: Callable[..., torch.Tensor], **defaults: Any) -> Rewrite:
    """The in-place draw whose value is ``law(noise, *parameters)``."""

    def rewrite(draws: BaseNoise, name: str, args: Arguments, kwargs: Options) -> torch.Tensor:
        value = law(draws.like(kind, args[0]), *_arguments(args[1:], kwargs, **defaults))
        return draws.fill(args[0], value)

    return rewrite


def _normal_law(noise: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    return noise if (mean, std) == (0.0, 1.0) else mean + std * noise


def _uniform_law(noise: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return noise if (low, high) == (0.0, 1.0) else low + (high - low) * noise


def _geometric_law(noise: torch.Tensor, p: float) -> torch.Tensor:
    return torch.floor(torch.log1p(-noise) / math.log1p(-p)) + 1.0 if p < 1.0 else torch.ones_like(noise)


_SELU = 1.7580993408473766  # alpha times scale of a self-normalising unit
REWRITES: dict[str, Rewrite] = {
    "normal_": _in_place(NORMAL, _normal_law, mean=0.0, std=1.0),
    "log_normal_": _in_place(NORMAL, lambda z, mean, std: torch.exp(mean + std * z), mean=1.0, std=2.0),
    "uniform_": _in_place(UNIFORM, _uniform_law, **{"from": 0.0, "to": 1.0}),
    "exponential_": _in_place(UNIFORM, lambda u, rate: -torch.log1p(-u) / rate, lambd=1.0),
    "cauchy_": _in_place(
        UNIFORM, lambda u, median, sigma: median + sigma * torch.tan(math.pi * (u - 0.5)), median=0.0, sigma=1.0
    ),
    "geometric_": _in_place(UNIFORM, _geometric_law, p=0.5),
    "bernoulli_": _in_place(UNIFORM, lambda u, p: (u < p).to(u.dtype), p=0.5),
    "bernoulli": _bernoulli,
    "normal": _normal,
    "rrelu": _rrelu,
    "rrelu_": _rrelu,
    **dict.fromkeys(("randn", "rand", "randn_like", "rand_like"), _factory),
    **{f"{kind}dropout{end}": _dropout for kind in ("", "feature_", "alpha_", "feature_alpha_") for end in ("", "_")},
}
OPAQUE = frozenset(
    {"_standard_gamma", "_sample_dirichlet", "poisson", "multinomial", "binomial"}
    | {"random_", "randint", "randint_like", "randperm"}
)
COMPOSITE = frozenset(
    {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "gumbel_softmax"}
    | {"rrelu", "multi_head_attention_forward"}
)
