"""A start that the caller gives: values of latents, or another fit's posterior; checked, and told by its content."""

from __future__ import annotations

__all__ = ["START_KINDS", "GivenStart", "as_start"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...errors import ConfigurationError, JensenError, nearest
from ...fit.posterior_normal import posterior_normal
from ...fit.record import FitRecord
from ...storage.atomic import fingerprint
from ...tensors import Tensors

START_KINDS = ("pathfinder", "prior", "laplace")

_SHOWN = 100  # numbers: more are told by their hash


@dataclass(frozen=True, eq=False, repr=False)
class GivenStart:
    """Where to start, by latent.

    Attributes:
        kind: ``"values"``, of some of the latents, or ``"fit"``, of all of them.
        values: in the latents' own supports, by site; float64, on the CPU.
        loc: of a fit, the unconstrained latents of `values` in their order, ``(D,)``.
        scale_tril: of a fit, the Cholesky factor of their covariance, ``(D, D)``; empty where there are too many.
    """

    kind: str
    values: Tensors
    loc: Tensor = field(default_factory=lambda: torch.empty(0))
    scale_tril: Tensor = field(default_factory=lambda: torch.empty(0))

    def plain(self) -> dict[str, Any]:
        """What a stored configuration says of it: few numbers as they are, many by their hash."""
        if self.kind == "fit" or sum(value.numel() for value in self.values.values()) > _SHOWN:
            parts = {f"values/{name}": value for name, value in self.values.items()}
            shapes = {name: list(value.shape) for name, value in self.values.items()}
            return {self.kind: shapes, "sha256": fingerprint(parts | {"loc": self.loc, "scale_tril": self.scale_tril})}
        return {self.kind: {name: value.tolist() for name, value in self.values.items()}}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GivenStart) and self.plain() == other.plain()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self.kind} of {', '.join(self.values)}>"


def as_start(start: Any) -> str | GivenStart:
    """The option `start` of `SVI`, checked as far as it can be without the model.

    Raises:
        ConfigurationError: for what is no start, values that are not finite numbers, or a fit that has no latents.
    """
    if isinstance(start, GivenStart) or (isinstance(start, str) and start in START_KINDS):
        return start
    if isinstance(start, FitRecord):
        return _of_fit(start)
    if isinstance(start, Mapping):
        return _of_values(start)
    hint = nearest(start, START_KINDS) if isinstance(start, str) else ""
    raise ConfigurationError(
        f"`start` must be one of {', '.join(START_KINDS)}, a dict of values by latent, or a Fit, got {start!r}.{hint}"
    )


def _of_values(start: Mapping[Any, Any]) -> GivenStart:
    if not start:
        raise ConfigurationError('`start` is an empty dict: give values by latent, or "prior".')
    values = {}
    for name, given in start.items():
        if not isinstance(name, str):
            raise ConfigurationError(f"`start` must have names of latents as keys, got {name!r}.")
        try:
            value = torch.as_tensor(given).detach().to("cpu", torch.float64).clone()
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigurationError(f"`start` of `{name}` must be numbers, got {given!r:.80} ({error}).") from error
        if not bool(torch.isfinite(value).all()):
            raise ConfigurationError(f"`start` of `{name}` must be finite, got {given!r:.80}.")
        values[name] = value
    return GivenStart("values", values)


def _of_fit(fit: FitRecord) -> GivenStart:
    try:
        values, loc, scale_tril = posterior_normal(fit)
    except JensenError as error:
        raise ConfigurationError(f"`start` is a fit whose latents cannot be drawn: {error}") from error
    if not values:
        raise ConfigurationError("`start` is a fit without continuous latents, so that it is no start for a guide.")
    if not bool(torch.isfinite(loc).all()):
        raise ConfigurationError("`start` is a fit whose latents are not finite: start at another.")
    return GivenStart("fit", values, loc, scale_tril)
