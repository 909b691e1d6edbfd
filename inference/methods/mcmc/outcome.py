"""What chains leave behind: draws by latent, what is said of each, and whether they have mixed."""

from __future__ import annotations

__all__ = ["chain_parts"]

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...pair.density import LatentDensity
from ...pair.program import Program
from ...run.algorithm import FitParts
from .convergence import chains_verdict


def chain_parts(
    program: Program,
    density: LatentDensity,
    u: Tensor,
    stats: Mapping[str, Tensor] | None,
    info: Mapping[str, Any],
    starts: int | None = None,
) -> FitParts:
    """The parts of a fit by chains.

    Args:
        program: of the fit.
        density: whose latents `u` are.
        u: ``(C, n, D)``, on the device and in the number type of the density.
        stats: of each draw by ArviZ's names, ``(C, n)`` each; None where no draw was kept.
        info: what the fit says beside chains and divergences.
        starts: how many chains began apart; None for all.
    """
    chains, count = u.shape[:2]
    with torch.no_grad():
        values, _ = density.latents(u.reshape(-1, u.shape[-1]))
    divergences = 0 if stats is None else int(stats["diverging"].sum())
    shaped = {name: value.cpu().numpy().reshape(chains, count, *value.shape[1:]) for name, value in values.items()}
    dtype = torch.get_default_dtype()
    return FitParts(
        program,
        draws={name: value.to(dtype) for name, value in values.items()},
        sample_stats=None if stats is None else {name: value.reshape(-1) for name, value in stats.items()},
        verdict=chains_verdict(shaped, divergences, starts),
        info={"chains": chains, "divergences": divergences, **info},
    )
