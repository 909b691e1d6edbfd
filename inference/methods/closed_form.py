"""Methods that raise a bound by whole updates in closed form: their options, and when they have converged."""

from __future__ import annotations

__all__ = ["ClosedFormMethod", "UpdateRule"]

import abc
import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ..devices import exact_dtype
from ..errors import NonFiniteError
from ..objectives import Trace_ELBO
from ..options import check_positive
from ..pair.program import Program
from ..run.algorithm import Algorithm, FitParts, Snapshot
from ..run.checkpoint_check import check_tensors
from ..run.convergence import CONVERGED, NOT_CONVERGED, Verdict
from ..run.early_stopping import bound_on
from ..warn import warn_user
from .base import Method

_ROUNDING = 4  # units of rounding by which bounds of the same parameters may differ
_LONGEST = 50  # updates over which a rise is averaged, at most


@dataclass(frozen=True)
class ClosedFormMethod(Method):
    """Update until the bound per datum rises by less than `tolerance`. Abstract; see `EM` and `CAVI`.

    Closed forms take differences of large numbers, so they compute in float64, and the fit is in float64, unless
    `dtype` says otherwise.

    Args:
        steps: the most updates.
        tolerance: the fit has converged when an update raises the bound per datum by less than this, in nats. Where
            the bound's rounding is larger (in float32), the mean rise over so many updates that it is not.
        restarts: independent starts; the one with the best final bound is kept.
        device: ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, ….
        dtype: floating-point type of parameters and data; None for float64 (float32 on a device without float64).
        checkpoint_every: updates between checkpoints.
        progress: show a progress bar; None shows it on terminals.

    Raises:
        ConfigurationError: for any value that cannot work, at construction.
    """

    steps: int = 500
    tolerance: float = 1e-7
    restarts: int = 1
    device: str | torch.device = "auto"
    dtype: torch.dtype | None = None
    checkpoint_every: int = 20
    progress: bool | None = None

    _GRADIENTS: ClassVar = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("tolerance", self.tolerance)

    def _number_type(self, device: torch.device) -> torch.dtype:
        return self.dtype or exact_dtype(device)


class UpdateRule(Algorithm):
    """What a closed-form method does to a pair, one update after another. Abstract: extend it by :meth:`update`.

    Args:
        method: whose name and tolerance count.
        program, guide: the pair; the program's ``state_dict`` is the whole state.
        data_size: what the bound per datum divides by.
        validation: data whose bound is logged.
        monotone: whether every update must raise the bound.
    """

    def __init__(
        self,
        method: ClosedFormMethod,
        program: Program,
        guide: Any,
        data_size: float,
        validation: dict[str, torch.Tensor] | None,
        monotone: bool = True,
    ) -> None:
        self.name, self.tolerance, self.monotone = type(method).__name__, method.tolerance, monotone
        self.program, self.guide, self.data_size, self.validation = program, guide, data_size, validation
        self._bound: torch.Tensor | None = None
        self._latest: float | None = None  # bound in the newest row
        self._best: list[float] = []  # up to each of the newest rows
        self._fell = False
        self._had_converged = False  # before this sitting

    def bound(self) -> torch.Tensor | None:
        """Prepare the next update at the present state; the bound there, ``()``, where it is known."""
        return None

    @abc.abstractmethod
    def update(self, step: int) -> torch.Tensor:
        """Make update number `step` (from 0), in place; the bound after it, ``()``, a total over the data in nats."""

    def leave(self) -> None:
        """Leave the pair as the fit should hold it."""

    def start(self) -> dict[str, Any] | None:
        self._had_converged = False
        self._bound = self.bound()
        return None if self._bound is None or self._latest is not None else self.row(0)

    def advance(self, step: int, most: int) -> int:
        self._bound = self.update(step)
        return 1

    def row(self, step: int) -> dict[str, Any]:
        assert self._bound is not None
        bound = float(self._bound)
        if not math.isfinite(bound):
            raise NonFiniteError(
                f"{self.name}: the bound is {bound} after update {step}. Look for constant columns or outliers in the "
                f"data, or standardise them."
            )
        if self._latest is not None:
            self._check_rise(self._latest, bound, step)
        self._remember([bound])
        row = {"bound": bound, "bound_per_datum": bound / self.data_size, "loss": -bound}
        if self.validation is not None:
            value, stderr = bound_on(self.program, Trace_ELBO(), self.validation, seed=0)
            row |= {"validation_bound": value, "validation_stderr": stderr}
        return row

    def converged(self) -> bool:
        r"""Whether the best bound rises by less than the tolerance, per datum and update, in nats.

        Rises below the bound's own rounding cannot be seen from one update to the next: with a rounding of
        :math:`\rho` nats a datum they are averaged over :math:`\rho / \text{tolerance}` updates.
        """
        bound = self._latest
        if not self.monotone or self._bound is None or bound is None:
            return False
        rounding = _ROUNDING * torch.finfo(self._bound.dtype).eps * abs(bound) / self.data_size
        window = max(1, min(_LONGEST, math.ceil(rounding / self.tolerance)))
        if len(self._best) <= window:
            return False
        least = max(self.tolerance * window, rounding) * self.data_size
        fall = self._best[-1] - bound  # one beyond rounding is a fault, and no end
        return self._best[-1] - self._best[-1 - window] < least and fall <= self._slack(bound)

    def state(self) -> Snapshot:
        return Snapshot(self.program.state_dict(), {"converged": self.converged()})

    def check(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        check_tensors(snapshot.tensors, self.program.state_dict())
        bool(snapshot.values["converged"])
        for row in rows:
            float(row["bound"])

    def load(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        self.program.load_state_dict(dict(snapshot.tensors))
        self._remember([float(row["bound"]) for row in rows])
        self._had_converged = bool(snapshot.values["converged"])

    def finish(self, status: str) -> FitParts:
        self.leave()
        converged = self._had_converged or self.converged()
        info = {"converged": converged}
        return FitParts(self.program, self.guide, self._latest, verdict=self._verdict(converged), info=info)

    def _verdict(self, converged: bool) -> Verdict | None:
        if not self.monotone:
            return None  # by the history
        if converged:
            return Verdict(CONVERGED, f"an update raised the bound per datum by less than {self.tolerance:g} nats")
        return Verdict(
            NOT_CONVERGED,
            f"the last update still raised the bound per datum by {self.tolerance:g} nats or more",
            "Take more steps.",
        )

    def _remember(self, bounds: list[float]) -> None:
        self._latest = bounds[-1] if bounds else None
        self._best = list(itertools.accumulate([*self._best[-_LONGEST - 1 :], *bounds], max))

    def _slack(self, bound: float) -> float:
        """What a bound near this one may fall by rounding, with room for that of the parameters, or without notice."""
        rounding = 1_000 * torch.finfo(torch.get_default_dtype()).eps * max(abs(bound), self.data_size)
        return max(rounding, self.tolerance * self.data_size)

    def _check_rise(self, before: float, bound: float, step: int) -> None:
        if self.monotone and not self._fell and bound < before - self._slack(before):
            self._fell = True  # once is enough
            wide = torch.get_default_dtype() == torch.float64
            warn_user(
                f"{self.name}: the bound fell from {before:.8g} to {bound:.8g} at update {step}. Each update of "
                f"`{type(self.program.model_owner).__name__}` must raise it. Its closed forms do not "
                f"agree{'' if wide else ', or these data need `dtype=torch.float64`'}.",
                RuntimeWarning,
            )
