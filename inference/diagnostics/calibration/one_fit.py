"""Calibration of an amortised guide: one fit, asked about data that are drawn from the fitted model."""

from __future__ import annotations

__all__ = ["one_fit_records"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...fit.pointwise import data_plate, pointwise
from ...pair.eval_mode import evaluation_mode
from ...seeding import derive_seed
from ...tensors import Tensors, num_rows, number_names
from .generative import GenerativeModel, Simulated
from .ranks import LOG_LIKELIHOOD, places_among
from .simulation import Record

_MOST_ROWS = 1_000  # encoded together


def one_fit_records(fit: Any, num_simulations: int, num_draws: int, latents: Sequence[str], seed: int) -> list[Record]:
    r"""A record for each datum :math:`(z_i, x_i) \sim p_\theta`: where :math:`z_i` ranks in :math:`q(z \mid x_i)`.

    Raises:
        DataError, ConfigurationError: if the fit has draws for its training data alone.
    """
    batch = fit.batch()
    rows = min(num_rows(batch), num_simulations, _MOST_ROWS)
    model = GenerativeModel(fit.model, {name: value[:rows] for name, value in batch.items()}, prepare=False)
    reliable = (fit.info.get("reliability") or {}).get("reliable")
    records: list[Record] = []
    for part in range(-(-num_simulations // rows)):
        own = derive_seed(seed, "calibration", part)
        simulated = model.draw(derive_seed(own, "data"))
        draws = fit.posterior(num_draws, dict(simulated.data), derive_seed(own, "posterior"))
        values = _by_row(model, simulated, draws, latents, derive_seed(own, "likelihood"))
        generator = np.random.default_rng(derive_seed(own, "ties"))
        places = {label: places_among(true, among, generator) for label, (true, among) in values.items()}
        for row in range(min(rows, num_simulations - part * rows)):
            here = {label: float(place[row]) for label, place in places.items()}
            records.append(Record(part * rows + row, here, num_draws, fit.status, reliable))
    return records


def _by_row(
    model: GenerativeModel, simulated: Simulated, draws: Tensors, latents: Sequence[str], seed: int
) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """By number of a datum's `latents`, and of the log likelihood, true values ``(N,)`` and draws ``(L, N)``."""
    data = simulated.data
    count, rows = len(next(iter(draws.values()))), num_rows(data)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    both = {}
    for name, true in simulated.latents.items():
        both[name] = torch.cat([true.unsqueeze(0), draws[name].detach().reshape(count, *true.shape).to(true)])
    for name in latents:
        moved = _rows_first(model, name, both[name], rows)
        labels = number_names(name, moved.shape[2:])
        flat = moved.reshape(count + 1, rows, -1).double().cpu().numpy()
        found |= {label: (flat[0, :, i], flat[1:, :, i]) for i, label in enumerate(labels)}
    frames = [frame for node in model.sites.nodes.values() for frame in node["cond_indep_stack"]]
    nesting = max((-frame.dim for frame in frames if frame.vectorized), default=0)
    with evaluation_mode(model.program, seed), model.program.environment():
        plate = data_plate(model.program, data, model.sites)
        by_site = pointwise(model.program, data, both, count + 1, model.sites, plate, nesting)
    local = [value.double().cpu().numpy() for value in by_site.values() if value.dim() == 2]
    if local:
        total = np.sum(local, axis=0)
        found[LOG_LIKELIHOOD] = (total[0], total[1:])
    return found


def _rows_first(model: GenerativeModel, name: str, values: Tensor, rows: int) -> Tensor:
    """Values ``(count, …)`` of a latent with the axis of the data after the first."""
    node = model.sites.nodes[name]
    dim = next(frame.dim for frame in node["cond_indep_stack"] if frame.vectorized and frame.name == "data")
    return values.movedim(dim - node["fn"].event_dim, 1)
