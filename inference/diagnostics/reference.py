"""A fit whose chains stand for the posterior itself: it must have converged, and be of the same model and data."""

from __future__ import annotations

__all__ = ["check_reference", "data_of", "is_chains", "reference_draws"]

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..data.base import MemoryData
from ..data.data import as_data
from ..devices import exact_dtype
from ..errors import ConfigurationError, DataError
from ..fit.draws import pick
from ..fit.record import FitRecord
from ..pair.signature import refuse_class
from ..run.convergence import CONVERGED


def is_chains(fit: Any) -> bool:
    """Whether a fit holds the draws of Markov chains."""
    return isinstance(fit, FitRecord) and fit.has_chains


def data_of(fit: Any, data: Any, device: torch.device) -> dict[str, Tensor]:
    """The data of a model or a fit (those that it holds, if None), as one batch in float64 or as they are held."""
    if isinstance(fit, FitRecord):
        return fit.batch(data)
    refuse_class(fit)
    if data is None:
        raise DataError("`data` must be given with a model.")
    found = as_data(fit, data, dtype=exact_dtype(device), device=device)
    if not isinstance(found, MemoryData):
        raise DataError("`data` must be in memory, got a stream. Pass its tensors.")
    return found.batch()


def check_reference(reference: Any, model: Any, batch: Mapping[str, Tensor], count: int) -> None:
    """Raise a `ConfigurationError` unless a reference stands for the posterior of these data under this model.

    Args:
        reference: what was given.
        model: whose posterior it should be of.
        batch: the data.
        count: how many draws are needed.
    """
    if not is_chains(reference):
        kind = f"a fit by {reference.method}" if isinstance(reference, FitRecord) else f"{reference!r:.60}"
        raise ConfigurationError(
            f"`reference` must be a fit with chains, such as `NUTS().fit(model, data)`, got {kind}: other draws are no "
            f"draws of the posterior itself."
        )
    if reference.status != CONVERGED:
        test = reference.info.get("convergence") or {}
        raise ConfigurationError(
            f"`reference` must have converged, and its status is {reference.status!r}"
            f"{': ' + test['reason'] if test.get('reason') else ''}. {test.get('advice') or 'Take more steps.'}"
        )
    held = len(next(iter(reference.draws.values())))
    if held < count:
        raise ConfigurationError(
            f"`reference` holds {held:,} draws, and {count:,} particles begin at them. Ask for fewer `num_particles`, "
            f"or take more steps."
        )
    if reference.data is not None and not _same(reference.data, batch):
        raise ConfigurationError("`reference` must be a fit of the same data, and was fitted to others.")
    if isinstance(model, torch.nn.Module) and isinstance(reference.model, torch.nn.Module):
        if not _same(reference.model.state_dict(), model.state_dict()):
            raise ConfigurationError("`reference` must be a fit of the same model, and its parameters are others.")


def reference_draws(reference: FitRecord, count: int) -> dict[str, Tensor]:
    """`count` of its draws by latent, evenly spaced over all chains."""
    assert reference.draws is not None
    return pick(reference.draws, count)


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Equal up to the rounding of float32."""
    if one.keys() != other.keys():
        return False
    pairs = [(one[name].detach().cpu().double(), other[name].detach().cpu().double()) for name in one]
    return all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True) for a, b in pairs)
