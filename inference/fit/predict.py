"""Predictions of a fit: draws of what the model observes, for the training data or for new rows."""

from __future__ import annotations

__all__ = ["predictive_draws"]

from typing import Any

import pyro
import torch
from pyro import poutine

from ..errors import ModelError
from ..options import check_count
from ..pair.densities.site_densities import log_prob_of
from ..pair.eval_mode import evaluation_mode
from ..seeding import derive_seed
from ..tensors import Tensors
from .draws import pick, pieces, refuse_too_many, run_model
from .latent_draws import LatentDraws
from .model_outline import Outline, other_value, outline
from .record import FitRecord
from .row_dependence import generator_aside, is_training_data


def predictive_draws(fit: FitRecord, data: Any, num: int, seed: int) -> Tensors:
    """See :meth:`Fit.predict`."""
    num = check_count("num", num)
    stored = None if fit.draws is None else pick(fit.draws, num)
    refuse_too_many(num, lambda: predictive_draws(fit, data, 1, seed))
    with evaluation_mode(fit.program, derive_seed(seed, "predict")), fit.program.environment():
        batch = fit.batch(data, observed=False)
        own = data is None or is_training_data(fit, batch)
        latents, seen = _latents(fit, batch, own, stored)
        names = _predicted(fit, seen)
        kept = {observed for observed, _ in seen.filled.values()}
        redrawn = frozenset(seen.observed) - kept
        numbers = max(latents.num_numbers(), sum(value.numel() for value in batch.values()))
        parts = []
        for start, count in pieces(num, numbers):
            drawn = latents.draw(start, count)
            parts.append(run_model(fit.program, batch, drawn, count, names, redrawn))
    return {name: torch.cat([part[name] for part in parts]) for name in names}


def _predicted(fit: FitRecord, seen: Outline) -> list[str]:
    """What the model observes, under the program's own names, and what it computes."""
    observed = [site.name for site in fit.structure.select("observed") if site.distribution != "Unit"]
    names = [seen.own_name(name) for name in observed]
    return list(dict.fromkeys([*(name for name in names if name in seen.nodes), *seen.computed]))


def _latents(fit: FitRecord, batch: Tensors, own: bool, stored: Tensors | None) -> tuple[LatentDraws, Outline]:
    r"""Where the latents of these rows are drawn.

    Rows of which nothing is observed have local latents from their prior, :math:`p(z \mid \theta)`: then only the
    global ones are drawn here. So do sites of unobserved values that nothing observed depends on.
    """
    shared = LatentDraws(fit, None, own, stored=stored)
    with generator_aside(batch):
        given = {name: value[0] for name, value in shared.draw(0, 1).items()}
        seen = outline(fit.program, batch, given)
        if not own:
            unstripped = poutine.block(hide_fn=lambda msg: msg["type"] == "sample")
            with pyro.validation_enabled(True), unstripped:  # as written: a distribution may be made not to be checked
                outline(fit.program, batch, given).check_values(batch)
        if not own and not any(seen.has_data(name) for name in [*seen.observed, *seen.factors]):
            return shared, seen
        parts = [unobserved for _, unobserved in seen.filled.values()]
        alone = [name for name in parts if not _influenced(fit, batch, seen, name)]
        summed = _missing(fit, batch, seen, parts)
    return LatentDraws(fit, batch, own, without=alone, summed=summed, stored=stored), seen


def _missing(fit: FitRecord, batch: Tensors, seen: Outline, parts: list[str]) -> list[str]:
    """What is not given though something given depends on it: discrete values, which can be summed out here too."""
    known = {site.name for site in fit.structure.select("latent")}
    found = []
    for name in seen.latents:
        influenced = [] if name in known or name in parts else _influenced(fit, batch, seen, name)
        if influenced and not seen.nodes[name]["fn"].has_enumerate_support:
            raise ModelError(
                f"`{name}` is not given, and `{influenced[0]}` depends on it: what is missing then has a posterior "
                f"that this fit does not know. Give `{name}` too, or nothing that is observed."
            )
        found += [name] if influenced else []
    return found


def _influenced(fit: FitRecord, batch: Tensors, seen: Outline, name: str) -> list[str]:
    """The observed sites, factors and latents of the posterior whose density changes with the value of `name`."""
    values = {other: seen.nodes[other]["value"] for other in seen.latents}
    changed = outline(fit.program, batch, {**values, name: other_value(seen.nodes[name])})
    latents = {site.name for site in fit.structure.select("latent")}
    others = [n for n in seen.nodes if n != name and (n in latents or n in seen.observed or n in seen.factors)]
    return [n for n in others if not torch.equal(log_prob_of(seen.nodes[n]), log_prob_of(changed.nodes[n]))]
