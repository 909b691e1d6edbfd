"""Densities of a fit's draws under the model and under the guide: what weighs them by importance."""

from __future__ import annotations

__all__ = ["draw_densities", "has_densities"]

import torch
from torch import Tensor

from ..pair.program import Program
from ..pair.terms import evaluate
from ..tensors import Batch, Tensors
from .record import FitRecord


def has_densities(fit: FitRecord) -> bool:
    """Whether the guide has a density that its draws can be weighed by.

    Not so for stored draws, for point masses, and where a finding says that scores of the pair are wrong.
    """
    structure = fit.structure
    drawn = [site for site in structure.sites.values() if site.kind != "observed" and site.enumerated != "model"]
    wrong = any(f.code == "point-mass" or (f.severity == "fault" and "score" in f.stops) for f in structure.findings)
    return fit.draws is None and bool(drawn) and not wrong


def draw_densities(program: Program, batch: Batch, draws: Tensors, count: int) -> tuple[Tensor, Tensor]:
    r""":math:`\log p(x, z)` and :math:`\log q(z)` of each draw, ``(count,)`` in float64, over all data.

    Latents that only the model has are summed out, whatever was drawn for them; each row counts once.

    Args:
        draws: of the guide's sites, auxiliary ones among them, ``(count, *site shape)``.
    """
    drawn = program.sample_enumerated()  # a density of draws, not an average over values
    sites = drawn.structure(batch).sites
    given = {
        name: value
        for name, value in draws.items()
        if name in sites and sites[name].enumerated != "model" and sites[name].guide_distribution not in (None, "Delta")
    }
    terms = evaluate(drawn, batch, num_particles=count, seed=0, values=given)  # images of other draws are made anew
    log_p, log_q = torch.zeros(2, count, dtype=torch.float64, device=next(iter(batch.values())).device)
    for site in terms.sites.values():
        for total, part in ((log_p, site.log_p), (log_q, site.log_q)):
            if part is not None:
                total += part.double().reshape(count, -1).sum(-1)
    return log_p, log_q
