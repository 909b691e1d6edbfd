"""The patient: a pair, a batch, what its runs recorded, and the findings so far."""

from __future__ import annotations

__all__ = ["Examination"]

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch

from ..pair.eager_run import EagerRun, run_pair
from ..pair.findings import Finding, Moving, PairSites, in_data_plate
from ..pair.findings.pair_sites import still_points
from ..pair.messengers.minibatch import DATA_PLATE
from ..pair.moving_supports import find_moving
from ..pair.program import Program
from ..pair.recorded_run import Run
from ..pair.sites import Structure

Batch = dict[str, torch.Tensor]


@dataclass
class Examination:
    """One examination in progress.

    Attributes:
        program: a copy of the pair.
        guide: the guide object, asked for `local_latents`; None if it could not be built.
        automatic: whether jensen built the guide.
        guide_option: the guide as `SVI(guide=…)` takes it.
        batch: the data; `size` rows.
        small: fewer rows of the same data (more, if there is one datum).
        model_run, guide_run: of `batch`; `model_small`, `guide_small`: of `small`; `guide_again`: with other draws.
        structure: as a fit would see it, or None if the pair is at fault.
    """

    program: Program
    guide: Any
    automatic: bool
    guide_option: Any
    batch: Batch
    small: Batch
    model_run: Run = field(default_factory=Run)
    guide_run: Run = field(default_factory=Run)
    model_small: Run = field(default_factory=Run)
    guide_small: Run = field(default_factory=Run)
    guide_again: Run = field(default_factory=Run)
    structure: Structure | None = None
    faults: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(next(iter(self.batch.values())))

    @property
    def small_size(self) -> int:
        return len(next(iter(self.small.values())))

    @property
    def first(self) -> str:
        """The name of the argument whose length a plate should ask for."""
        return next(iter(self.batch))

    @property
    def plate_cure(self) -> str:
        """How the data plate is written."""
        return f'`with pyro.plate("{DATA_PLATE}", len({self.first})):`'

    @property
    def latents(self) -> dict[str, Any]:
        """The model's latent sites."""
        return {name: site for name, site in self.model_run.sites.items() if not site["is_observed"]}

    @property
    def sites(self) -> PairSites:
        """The two runs of all the data, as the checks that fits make take them."""
        moving, elsewhere = self._moving()
        return PairSites(
            self.model_run.sites,
            self.guide_run.sites,
            self.batch,
            moving=moving,
            elsewhere=elsewhere,
            model_complete=self.model_run.complete,
            guide_complete=self.guide_run.complete,
            has_guide=self.guide is not None,
            still=still_points(self.guide_run.sites, self.guide_again.sites),
        )

    def _moving(self) -> tuple[dict[str, Moving], tuple[EagerRun, ...]]:
        if not (self.model_run.complete and self.guide_run.complete):
            return {}, ()
        try:
            return find_moving(self.program, run_pair(self.program, self.batch), self.batch)
        except Exception:  # what the program raises under Pyro's checks was reported by its own run
            return {}, ()

    @property
    def shared(self) -> dict[str, tuple[Any, Any]]:
        """Sites that both sample: name -> (model's, guide's)."""
        guide = self.guide_run.sites
        return {name: (site, guide[name]) for name, site in self.latents.items() if name in guide}

    def local(self, name: str) -> bool:
        site = self.model_run.sites.get(name) or self.guide_run.sites.get(name)
        return site is not None and in_data_plate(site)

    def has(self, *codes: str, where: str | None = None) -> bool:
        """Whether a fault of one of these kinds (about `where`) is known."""
        return any(f.code in codes and where in (None, f.where) for f in self.faults)

    def add(self, finding: Finding) -> None:
        """Keep a finding, once."""
        kept = {"fault": self.faults, "warning": self.warnings, "note": self.notes}[finding.severity]
        if finding not in kept:
            kept.append(finding)

    def forget(self, code: str, where: Collection[str]) -> None:
        """Drop the faults of a kind that another one explains."""
        self.faults = [f for f in self.faults if not (f.code == code and f.where in where)]

    def fault(self, code: str, where: str, message: str, cure: str) -> None:
        self.add(Finding(code, where, message, cure))

    def warn(self, code: str, where: str, message: str, cure: str) -> None:
        self.add(Finding(code, where, message, cure, severity="warning"))

    def note(self, code: str, where: str, message: str, cure: str) -> None:
        self.add(Finding(code, where, message, cure, severity="note"))
