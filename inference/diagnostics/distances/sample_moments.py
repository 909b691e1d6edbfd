r"""Means, standard deviations and quantiles of draws, each with its Monte Carlo standard error.

With effective sample sizes S of the averages that they are functions of (of x, of :math:`(x - m)^2`, of
:math:`1[x \le q_p]`; the number of draws where these are independent, and no more of the last two),

.. math:: \mathrm{se}(m) = \frac{s}{\sqrt{S}}, \qquad
   \mathrm{se}(s) = \frac{\mathrm{sd}\,(x - m)^2}{2 s \sqrt{S}}, \qquad
   \mathrm{se}(q_p) = \tfrac12 \bigl(q_{p + \delta} - q_{p - \delta}\bigr), \quad \delta = \sqrt{p (1 - p) / S}.

Reference: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), Rank-normalization, folding, and localization: an
improved R-hat for assessing convergence of MCMC, https://arxiv.org/abs/1903.08008
"""

from __future__ import annotations

__all__ = ["SampleMoments", "sample_moments"]

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .rows import Rows


@dataclass(frozen=True)
class SampleMoments:
    """``(D,)`` each, quantiles ``(P, D)``; and the effective sample sizes of the means."""

    mean: Tensor
    mean_stderr: Tensor
    sd: Tensor
    sd_stderr: Tensor
    quantiles: Tensor
    quantiles_stderr: Tensor
    effective: Tensor


def sample_moments(rows: Rows, probabilities: Sequence[float]) -> SampleMoments:
    """The moments of draws, quantiles at `probabilities`."""
    flat = rows.flat
    p = torch.tensor(probabilities, dtype=torch.float64)
    mean, sd = flat.mean(0), flat.std(0)
    square = (flat - mean).square()
    ordered = flat.sort(0).values
    quantiles = _at(ordered, p[:, None].expand(-1, flat.shape[1]))
    sizes = _effective(rows, [flat, square, *((flat <= q).double() for q in quantiles)])
    delta = (p * (1.0 - p))[:, None].div(sizes[2:]).sqrt()
    spread = _at(ordered, p[:, None] + delta) - _at(ordered, p[:, None] - delta)
    return SampleMoments(
        mean,
        sd / sizes[0].sqrt(),
        sd,
        torch.where(sd > 0, square.std(0) / (2.0 * sd), 0.0) / sizes[1].sqrt(),
        quantiles,
        0.5 * spread,
        sizes[0],
    )


def _at(ordered: Tensor, p: Tensor) -> Tensor:
    """The quantiles ``(P, D)`` at `p` ``(P, D)``, between the ordered draws."""
    place = p.clamp(0.0, 1.0) * (len(ordered) - 1)
    low = place.floor().long().clamp(max=max(len(ordered) - 2, 0))
    high = (low + 1).clamp(max=len(ordered) - 1)
    return torch.lerp(ordered.gather(0, low), ordered.gather(0, high), place - low)


def _effective(rows: Rows, series: list[Tensor]) -> Tensor:
    """Effective sample sizes ``(len(series), D)`` of the averages of series ``(C n, D)``."""
    chains, count, dim = rows.values.shape
    if rows.independent or count < 4:
        return torch.full((len(series), dim), float(chains * count), dtype=torch.float64)
    import arviz

    stacked = torch.stack(series, -1).reshape(chains, count, dim * len(series)).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ess = arviz.ess(arviz.dict_to_dataset({"x": stacked}), method="mean")["x"].values
    sizes = np.where(np.isfinite(ess), ess, chains * count)  # of what does not vary
    found = torch.from_numpy(np.array(sizes, dtype=float)).reshape(dim, len(series)).mT.clone()
    # chains that swing from side to side are worth more than their draws for a mean, and seldom so for what is even
    found[1:] = found[1:].clamp(max=chains * count)
    return found
