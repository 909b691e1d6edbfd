"""Whether a fit of a default guide has come to rest, in posterior standard deviations, and the average from there."""

from __future__ import annotations

__all__ = ["TOLERANCE", "Rest"]

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...run.convergence import CONVERGED, NOT_CONVERGED, Verdict, judge, too_short

TOLERANCE = 0.3  # posterior standard deviations, and log scales

_LOCATION, _LOG, _SOFTPLUS = "loc", "log_scale", "scale_unconstrained"
_KINDS = (_LOCATION, _LOG, _SOFTPLUS)
_MOST_NUMBERS = 2_000  # of parameters: the average of more is not kept


class Rest:
    """The parameters of a whitened guide, a row a logging interval.

    Args:
        names: of the fit's parameters.
        parameters: their values at the start.
    """

    def __init__(self, names: Sequence[str], parameters: Sequence[Tensor]) -> None:
        last = [name.rpartition(".")[2] for name in names]
        self.kinds = [next((kind for kind in _KINDS if name.startswith(kind)), "") for name in last]
        self.shapes = [value.shape for value in parameters]
        self.averages = sum(value.numel() for value in parameters) <= _MOST_NUMBERS
        self.rows = torch.empty(0)

    def add(self, parameters: Sequence[Tensor]) -> None:
        """Take in the parameters after an interval."""
        parts = [
            v.detach().reshape(-1) for v, kind in zip(parameters, self.kinds, strict=True) if kind or self.averages
        ]
        row = torch.cat(parts).cpu().unsqueeze(0)
        self.rows = torch.cat([self.rows, row]) if len(self.rows) else row

    def series(self) -> np.ndarray:
        """``(n, P)``: locations in units of their final scales, and log scales."""
        held = [(kind, shape.numel()) for kind, shape in zip(self.kinds, self.shapes, strict=True)]
        held = [(kind, width) for kind, width in held if kind or self.averages]
        locations, log_scales = [], []
        parts = self.rows.double().split([width for _, width in held], -1)
        for (kind, _), part in zip(held, parts, strict=True):
            if kind == _LOCATION:
                locations.append(part)
            elif kind:
                log_scales.append(part if kind == _LOG else torch.nn.functional.softplus(part).log())
        place, log_scale = torch.cat(locations, -1), torch.cat(log_scales, -1)
        if place.shape == log_scale.shape:
            place = place / log_scale[-1].exp()
        return torch.cat([place, log_scale], -1).numpy()

    def verdict(self) -> Verdict:
        """By the largest movement of a location or a log scale over the last half of the run."""
        if (short := too_short(len(self.rows))) is not None:
            return short
        status, _, rise, error = judge(self.series(), TOLERANCE)
        reason = (
            f"over the last half of the run, the guide moved by up to {abs(rise):.2g} +- {error:.2g} posterior sds "
            f"(tolerance {TOLERANCE})"
        )
        advice = {CONVERGED: "", NOT_CONVERGED: "Take more steps, or another guide: this one does not come to rest."}
        return Verdict(status, reason, advice.get(status, "Take more steps, or more particles: noise hides the rest."))

    def average(self) -> list[Tensor] | None:
        """The mean of the parameters over the last half of the run; None of a short run, or where it is not kept."""
        if not self.averages or too_short(len(self.rows)) is not None:
            return None
        mean = self.rows[len(self.rows) // 2 :].mean(0)
        parts = mean.split([shape.numel() for shape in self.shapes])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]
