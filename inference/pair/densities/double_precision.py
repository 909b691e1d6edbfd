r"""Densities whose terms cancel, evaluated in float64: differences of large log-gamma functions.

.. math:: \log \mathrm{NB}(x) = \ln\Gamma(\alpha + x) - \ln\Gamma(\alpha) - \ln\Gamma(x + 1) + \dots

With :math:`\alpha = 10^6` each of the first two is :math:`10^7`, where neighbouring float32 numbers are one apart.
"""

from __future__ import annotations

__all__ = ["cancels", "in_double", "is_large"]

import copy
from typing import Any

import torch
from pyro.distributions import (
    BetaBinomial,
    DirichletMultinomial,
    GammaPoisson,
    InverseGamma,
    Multinomial,
    ZeroInflatedDistribution,
)
from torch import Tensor
from torch.distributions import (
    Beta,
    Binomial,
    Chi2,
    Dirichlet,
    Distribution,
    Gamma,
    NegativeBinomial,
    Poisson,
    StudentT,
    VonMises,
)
from torch.distributions import Multinomial as TorchMultinomial

from ..supports.support_sets import base_of

_CANCEL = (
    Beta,
    BetaBinomial,
    Binomial,
    Chi2,
    Dirichlet,
    DirichletMultinomial,
    Gamma,
    GammaPoisson,
    InverseGamma,
    Multinomial,
    NegativeBinomial,
    Poisson,
    StudentT,
    TorchMultinomial,
    VonMises,
    ZeroInflatedDistribution,
)
_FEW = 4096  # numbers, below which float64 costs nothing that could be felt
_LARGE = 1e3  # counts and concentrations from which float32 is off by 1e-3 nats


def cancels(fn: Any) -> bool:
    """Whether a density in less than float64 is a small difference of numbers that may be large."""
    fn = base_of(fn)
    while type(fn).__name__ == "MixtureSameFamily":
        fn = base_of(fn.component_distribution)
    if not isinstance(fn, _CANCEL):
        return False
    kinds = [tensor.dtype for tensor in _tensors(fn) if tensor.is_floating_point()]
    return bool(kinds) and torch.float64 not in kinds


def is_large(fn: Any, value: Tensor) -> bool:
    """Whether there are so few numbers that float64 is free, or so large ones that it is needed (reads the device)."""
    if value.numel() <= _FEW:
        return True
    return any(bool((tensor.abs() > _LARGE).any()) for tensor in (value, *_tensors(base_of(fn))) if tensor.numel())


def in_double(fn: Any) -> Any:
    """The same distribution with every number of it in float64; gradients flow to the original."""
    other = copy.copy(fn)
    for name, held in vars(fn).items():
        if isinstance(held, Tensor) and held.is_floating_point():
            vars(other)[name] = held.double()
        elif isinstance(held, Distribution):
            vars(other)[name] = in_double(held)
    vars(other)["_validate_args"] = False
    return other


def _tensors(fn: Any) -> list[Tensor]:
    found = []
    for held in vars(fn).values():
        if isinstance(held, Tensor):
            found.append(held)
        elif isinstance(held, Distribution):
            found += _tensors(held)
    return found
