"""Where the true value of each quantity ranks among the draws of a posterior."""

from __future__ import annotations

__all__ = ["LOG_LIKELIHOOD", "TestQuantity", "independent_draws", "places_among", "values_of"]

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import ConfigurationError, ModelError
from ...fit.pointwise import pointwise
from ...pair.eval_mode import evaluation_mode
from ...tensors import Tensors, number_names
from .generative import GenerativeModel, Simulated

LOG_LIKELIHOOD = "log p(x | z)"
"""The name of the log likelihood among the quantities."""

TestQuantity = Callable[[Tensors, Tensors], Any]
"""A number computed from the latents and the data."""

_MOST = 100  # numbers of one latent


def values_of(
    model: GenerativeModel,
    simulated: Simulated,
    draws: Tensors,
    latents: Sequence[str],
    quantities: Mapping[str, TestQuantity],
    seed: int,
) -> dict[str, tuple[float, np.ndarray]]:
    """By quantity, its true value and its draws ``(L,)``: every number of these latents, at most 100 of each, evenly
    spaced; the log likelihood of the data; and the `quantities` that were asked for.

    Raises:
        ModelError: if the draws lack a latent, or hold one of another shape, or are not finite.
        ConfigurationError: if one of `quantities` is no number.
    """
    count = len(next(iter(draws.values())))
    drawn = {name: _like(name, draws, truth) for name, truth in simulated.latents.items()}
    found: dict[str, tuple[float, np.ndarray]] = {}
    for name in latents:
        truth = simulated.latents[name]
        index = _used(truth, simulated.masks[name])
        labels = number_names(name, truth.shape)
        true, among = _numbers(truth.reshape(-1)), _numbers(drawn[name].reshape(count, -1))
        found |= {labels[i]: (float(true[i]), among[:, i]) for i in index}
    both = {name: torch.cat([truth.unsqueeze(0), drawn[name]]) for name, truth in simulated.latents.items()}
    likelihood = _log_likelihood(model, simulated.data, both, count + 1, seed)
    found[LOG_LIKELIHOOD] = (float(likelihood[0]), likelihood[1:])
    for label, function in quantities.items():
        one_by_one = ({name: value[i] for name, value in both.items()} for i in range(count + 1))
        numbers = [_number(label, function(values, simulated.data)) for values in one_by_one]
        found[label] = (numbers[0], np.asarray(numbers[1:]))
    for label, (true_value, among) in found.items():
        if (bad := int(np.isnan(among).sum())) or math.isnan(true_value):
            where = f"{bad} of the {count} draws" if bad else "the simulation"
            raise ModelError(f"`{label}` is not a number in {where}.")
    return found


def places_among(truth: Any, draws: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Where each true value ``(…)`` lies among its draws ``(L, …)``: numbers in (0, 1), uniform if it is one.

    A rank `r` in ``0 … L`` becomes a number drawn between ``r / (L + 1)`` and ``(r + 1) / (L + 1)``, so that ranks
    among different numbers of draws are alike; of a true value that equals draws, its rank among these is drawn too.
    """
    less, equal = (draws < truth).sum(0), (draws == truth).sum(0)
    rank = less + np.floor(generator.random(less.shape) * (equal + 1))
    place: np.ndarray = (rank + generator.random(less.shape)) / (len(draws) + 1)
    return place


def independent_draws(fit: Any) -> int | None:
    """How many draws a fit's chains are worth, by the smallest bulk effective sample size; None without chains."""
    if fit.draws is None or "chains" not in fit.info:
        return None
    import arviz

    chains = int(fit.info["chains"])
    parts = [_numbers(value.reshape(len(value), -1)) for value in fit.draws.values()]
    flat = np.concatenate(parts, axis=-1)
    flat = flat[:, np.ptp(flat, axis=0) > 0].reshape(chains, len(flat) // chains, -1)
    sizes: Any = (
        np.asarray(arviz.ess(arviz.dict_to_dataset({"x": flat}), method="bulk")["x"].values) if flat.size else []
    )
    least = min((float(size) for size in sizes if not np.isnan(size)), default=1.0)
    return max(1, min(math.floor(least), chains * flat.shape[1]))


def _log_likelihood(model: GenerativeModel, data: Tensors, latents: Tensors, count: int, seed: int) -> np.ndarray:
    frames = [frame for node in model.sites.nodes.values() for frame in node["cond_indep_stack"]]
    nesting = max((-frame.dim for frame in frames if frame.vectorized), default=0)
    with evaluation_mode(model.program, seed), model.program.environment():
        by_site = pointwise(model.program, data, latents, count, model.sites, None, nesting)
    total: np.ndarray = np.sum([_numbers(value) for value in by_site.values()], axis=0)
    return total


def _like(name: str, draws: Tensors, truth: Tensor) -> Tensor:
    """The draws of a latent in the shape, number type and place of its true value."""
    if name not in draws:
        raise ModelError(f"the fit has no draws of `{name}`, which the model draws. Rank another method or model.")
    values = draws[name]
    if values[0].numel() != truth.numel():
        raise ModelError(f"draws of `{name}` are {tuple(values.shape[1:])}, and the model's own {tuple(truth.shape)}.")
    return values.detach().reshape(len(values), *truth.shape).to(truth)


def _used(truth: Tensor, mask: Tensor | None) -> list[int]:
    """Which numbers of a latent are ranked: those that no mask hides, at most so many, evenly spaced."""
    index = torch.arange(truth.numel())
    if mask is not None:
        wide = mask.reshape(*mask.shape, *(1,) * (truth.dim() - mask.dim())).expand(truth.shape)
        index = index[wide.reshape(-1).cpu()]
    if len(index) > _MOST:
        index = index[torch.linspace(0, len(index) - 1, _MOST, dtype=torch.float64).round().long()]
    return [int(i) for i in index]


def _numbers(value: Tensor) -> np.ndarray:
    numbers: np.ndarray = value.detach().double().cpu().numpy()
    return numbers


def _number(label: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        kind = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ConfigurationError(f"`quantities`: `{label}` must return one number, got {kind}.") from None
