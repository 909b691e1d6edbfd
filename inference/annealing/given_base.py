"""A fit as where a path begins: the normal of its posterior over the unconstrained latents."""

from __future__ import annotations

__all__ = ["as_base"]

from typing import Any

import torch

from ..errors import ConfigurationError, JensenError
from ..fit.posterior_normal import posterior_normal
from ..fit.record import FitRecord
from .bridge import NormalBase


def as_base(base: Any) -> NormalBase | None:
    """The option `base`, checked as far as it can be without the model.

    Exact for guides that are normals, otherwise by the mean and covariance of draws: any normal may begin a path, and a
    near one makes it short.

    Raises:
        ConfigurationError: for what is no fit, or a fit without a finite normal over continuous latents.
    """
    if base is None or isinstance(base, NormalBase):
        return base
    if not isinstance(base, FitRecord):
        raise ConfigurationError(f"`base` must be a Fit, or None for the prior, got {base!r:.80}.")
    try:
        values, loc, scale_tril = posterior_normal(base)
    except JensenError as error:
        raise ConfigurationError(f"`base` is a fit whose latents cannot be drawn: {error}") from error
    if not scale_tril.numel() or not bool(torch.isfinite(loc).all() and torch.isfinite(scale_tril).all()):
        raise ConfigurationError("`base` must be a fit of 1 to 1,000 continuous numbers, all of them finite.")
    if not bool((scale_tril.diagonal() > 0.0).all()):
        raise ConfigurationError(
            "`base` is a fit of points, which have no density. Use a fit with a guide that spreads."
        )
    return NormalBase(tuple(values), loc, scale_tril)
