"""Component labels made comparable: between posterior draws, between fits, and with known classes."""

from __future__ import annotations

__all__ = ["align_labels"]

from collections.abc import Mapping, Sequence
from typing import Any, overload

import torch
from torch import Tensor

from ..errors import ConfigurationError

_SWEEPS = 20


@overload
def align_labels(draws: Tensor, reference: Tensor) -> Tensor: ...
@overload
def align_labels(
    draws: Mapping[str, Tensor],
    reference: Mapping[str, Tensor] | Tensor | None = None,
    *,
    on: str = "means",
    shared: Sequence[str] = (),
) -> dict[str, Tensor]: ...


def align_labels(draws: Any, reference: Any = None, *, on: str = "means", shared: Sequence[str] = ()) -> Any:
    r"""Relabel components so that they match a reference as well as a permutation allows (Hungarian assignment).

    .. math:: \hat\tau_s = \arg\min_\tau \sum_k \lVert \mu^s_{\tau(k)} - \mu^\mathrm{ref}_k \rVert^2

    Args:
        draws: one of

            - posterior draws by site, each ``(S, C, …)`` with components first in each draw, as `Fit.posterior` returns
              them: every draw gets the permutation that brings its site `on` closest to the reference, each feature
              in units of its standard deviation over draws and components;
            - labels, ``(N,)`` whole numbers from 0: relabelled for the most agreements with the reference;
            - responsibilities, ``(N, C)``: columns in the order that shares most with the reference's.
        reference: for draws, values of the site `on`, ``(C, …)``, alone or in a dict; if None, the draws' own mean,
            which is found by turns with the permutations, from the last draw. For labels, known classes ``(N,)``; for
            responsibilities, others ``(N, C)``.
        on: the site that is compared.
        shared: sites without a component axis (the precision of tied components), which are returned as they are.

    Returns:
        What was given, with the reference's labels: always a permutation, also of labels that the reference lacks.

    Raises:
        ConfigurationError: shapes that do not fit, a site that is missing, labels that are not whole numbers.

    References: H. Kuhn, *The Hungarian method for the assignment problem*, 1955,
    https://doi.org/10.1002/nav.3800020109; M. Stephens, *Dealing with label switching in mixture models*, 2000,
    https://doi.org/10.1111/1467-9868.00265

    Example:
        >>> align_labels(torch.tensor([1, 1, 0, 0, 2]), torch.tensor([0, 0, 1, 1, 1]))
        tensor([0, 0, 1, 1, 2])
    """
    if isinstance(draws, Mapping):
        return _align_draws(draws, reference, on, shared)
    if not isinstance(draws, Tensor) or not isinstance(reference, Tensor) or draws.ndim not in (1, 2):
        raise ConfigurationError(
            "`draws` must be a dict of posterior draws, or labels (N,) or responsibilities (N, C) with a `reference` "
            f"of the same kind, got {_kind(draws)} and {_kind(reference)}."
        )
    if draws.ndim != reference.ndim or len(draws) != len(reference):
        raise ConfigurationError(
            f"`reference` must have as many rows as `draws`, {_kind(draws)}, got {_kind(reference)}."
        )
    if draws.ndim == 2:
        if draws.shape != reference.shape:
            raise ConfigurationError(f"`reference` must have shape {tuple(draws.shape)}, got {tuple(reference.shape)}.")
        return draws[:, _best(-(reference.mT @ draws.to(reference.dtype)))]
    return _align_vector(draws, reference)


def _align_vector(labels: Tensor, reference: Tensor) -> Tensor:
    for name, value in (("draws", labels), ("reference", reference)):
        if value.numel() and ((value != value.round()).any() or (value < 0).any()):
            raise ConfigurationError(f"`{name}` must hold labels, whole numbers from 0, got {value.min().item():g}.")
    ours, theirs = labels.long(), reference.long()
    size = int(torch.cat([ours, theirs, ours.new_zeros(1)]).max()) + 1
    shared = torch.zeros(size, size, dtype=torch.float64)
    shared.index_put_((theirs.cpu(), ours.cpu()), torch.ones((), dtype=torch.float64), accumulate=True)
    new = torch.empty(size, dtype=torch.long)
    new[_best(-shared)] = torch.arange(size)
    return new.to(labels.device)[ours].to(labels.dtype)


def _align_draws(
    draws: Mapping[str, Tensor], reference: Mapping[str, Tensor] | Tensor | None, on: str, shared: Sequence[str]
) -> dict[str, Tensor]:
    if missing := [name for name in (on, *shared) if name not in draws]:
        raise ConfigurationError(f"`draws` must hold the site {missing[0]!r}, got {sorted(draws)}.")
    places = draws[on]
    if places.ndim < 2:
        raise ConfigurationError(f"`draws[{on!r}]` must have shape (S, C, ...), got {tuple(places.shape)}.")
    count = places.shape[1]
    for name, value in draws.items():
        if name not in shared and (value.ndim < 2 or value.shape[:2] != places.shape[:2]):
            raise ConfigurationError(
                f"`draws[{name!r}]` must have shape {(*places.shape[:2], '...')}, got {tuple(value.shape)}. If it has "
                "no component axis, name it in `shared`."
            )
    flat = places.detach().double().cpu().flatten(2) if places.ndim > 2 else places.detach().double().cpu().unsqueeze(2)
    scale = flat.flatten(0, 1).std(0, correction=0).clamp_min(torch.finfo(flat.dtype).tiny)
    flat = flat / scale
    if reference is None:
        orders = _orders_to_own_mean(flat)
    else:
        value, shape = reference[on] if isinstance(reference, Mapping) else reference, tuple(places.shape[1:])
        if value.shape != shape:
            raise ConfigurationError(
                f"`reference` must have shape {shape}, as one draw of {on!r}, got {tuple(value.shape)}."
            )
        orders = _orders(flat, value.detach().double().cpu().reshape(count, -1) / scale)
    draw = torch.arange(len(places))[:, None]
    moved = {}
    for name, value in draws.items():
        moved[name] = value if name in shared else value[draw.to(value.device), orders.to(value.device)]
    return moved


def _orders_to_own_mean(flat: Tensor) -> Tensor:
    orders, draw = _orders(flat, flat[-1]), torch.arange(len(flat))[:, None]
    for _ in range(_SWEEPS):
        better = _orders(flat, flat[draw, orders].mean(0))
        if torch.equal(better, orders):
            break
        orders = better
    return orders


def _orders(flat: Tensor, target: Tensor) -> Tensor:
    """The permutation of each draw, ``(S, C)``: which of its components each of the target's is."""
    return torch.stack([_best(cost) for cost in torch.cdist(target.expand(len(flat), -1, -1), flat).square()])


def _best(cost: Tensor) -> Tensor:
    """The column assigned to each row of a square matrix of costs."""
    from scipy.optimize import linear_sum_assignment

    return torch.as_tensor(linear_sum_assignment(cost.detach().cpu().numpy())[1])


def _kind(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
