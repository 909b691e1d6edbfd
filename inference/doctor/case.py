"""The patient: a pair, a batch, what its runs recorded, and the findings so far."""

from __future__ import annotations

__all__ = ["LACKING", "Examination", "Side"]

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..pair.eager_run import EagerRun, run_pair
from ..pair.findings import Finding, Moving, PairSites, in_data_plate
from ..pair.findings.finding import Severity
from ..pair.findings.pair_sites import plate_cure, still_points
from ..pair.moving_supports import find_moving
from ..pair.program import Program
from ..pair.recorded_run import Run
from ..pair.sites import Structure
from ..tensors import Tensors, num_rows


@dataclass
class Side:
    """One of the two programs: its name (``"model"`` or ``"guide"``), and its runs on all the data and on fewer."""

    name: str
    function: Callable[..., Any]
    run: Run = field(default_factory=Run)
    small: Run = field(default_factory=Run)


LACKING = ("missing-site", "extra-site")  # of one program, where the other has the site


@dataclass
class Examination:
    """One examination in progress.

    Attributes:
        program: a copy of the pair.
        built: the guide object, asked for `local_latents`; None if it could not be built.
        automatic: whether jensen built the guide.
        guide_option: the guide as `SVI(guide=…)` takes it.
        batch: the data; `size` rows.
        few: fewer rows of the same data (more, if there is one datum).
        again: a further run of the guide, with other draws.
        structure: as a fit would see it, or None if the pair is at fault.
        changing: the sites that are there in some runs only.
    """

    program: Program
    built: Any
    automatic: bool
    guide_option: Any
    batch: Tensors
    few: Tensors
    findings: list[Finding] = field(default_factory=list)
    again: Run = field(default_factory=Run)
    structure: Structure | None = None
    changing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.model, self.guide = Side("model", self.program.model), Side("guide", self.program.guide)
        self.size, self.few_size = num_rows(self.batch), num_rows(self.few)

    @property
    def complete(self) -> bool:
        """Whether both programs ran to their end."""
        return self.model.run.complete and self.guide.run.complete

    @property
    def first(self) -> str:
        """The name of the argument whose length a plate should ask for."""
        return next(iter(self.batch))

    @property
    def plate_cure(self) -> str:
        """How the data plate is written."""
        return plate_cure(self.sites)

    @cached_property
    def sites(self) -> PairSites:
        """The two runs of all the data, once they are made, as the checks that fits make take them."""
        moving, elsewhere = self._moving()
        return PairSites(
            self.model.run.sites,
            self.guide.run.sites,
            self.batch,
            moving=moving,
            elsewhere=elsewhere,
            model_complete=self.model.run.complete,
            guide_complete=self.guide.run.complete,
            has_guide=self.built is not None,
            still=still_points(self.guide.run.sites, self.again.sites),
        )

    def _moving(self) -> tuple[dict[str, Moving], tuple[EagerRun, ...]]:
        if not self.complete:
            return {}, ()
        try:
            return find_moving(self.program, run_pair(self.program, self.batch), self.batch)
        except Exception:  # what the program raises under Pyro's checks was reported by its own run
            return {}, ()

    def local(self, name: str) -> bool:
        """Whether a site is in the data plate."""
        return in_data_plate(self.model.run.sites.get(name) or self.guide.run.sites[name])

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity, in the order in which they were made."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def faults(self) -> tuple[Finding, ...]:
        return self.of("fault")

    def has(self, *codes: str, where: str | None = None) -> bool:
        """Whether a fault of one of these kinds (about `where`) is known."""
        return any(f.code in codes and where in (None, f.where) for f in self.faults)

    def add(self, finding: Finding) -> None:
        """Keep a finding, once; a site that comes and goes is not also said to be lacking."""
        if finding not in self.findings and not (finding.code in LACKING and finding.where in self.changing):
            self.findings.append(finding)

    def forget(self, code: str, where: Collection[str]) -> None:
        """Drop the findings of a kind that another one explains."""
        self.findings = [f for f in self.findings if not (f.code == code and f.where in where)]

    def fault(self, code: str, where: str, message: str, cure: str) -> None:
        self.add(Finding(code, where, message, cure))

    def warn(self, code: str, where: str, message: str, cure: str) -> None:
        self.add(Finding(code, where, message, cure, severity="warning"))

    def note(self, code: str, where: str, message: str, cure: str) -> None:
        self.add(Finding(code, where, message, cure, severity="note"))
