"""Records of an examination: rows about sites, parameters and objectives, and the findings."""

from __future__ import annotations

__all__ = ["ObjectiveRow", "ParameterRow", "ReportRecord", "SiteRow"]

from dataclasses import dataclass

from ..pair.findings import Finding


@dataclass(frozen=True)
class SiteRow:
    """What is known of one sample site.

    Attributes:
        name: of the site.
        kind: ``"observed"``, ``"latent"``, ``"auxiliary"`` or ``"guide only"``.
        scope: ``"local"`` (inside the plate ``"data"``) or ``"global"``.
        plates: names and sizes of the plates around it, outermost first.
        batch_shape, event_shape: in the model (in the guide for sites that only it has).
        support: of the model's distribution, in words.
        model, guide: names of the distributions, ``""`` where the site is absent.
        kl: how its KL is taken: ``"analytic"``, ``"Monte Carlo"``, ``"summed out"``, ``"exact average"``,
            ``"not finite"`` or ``""``.
        gradient: ``"pathwise"``, ``"score function"``, ``"enumerated in model"``, ``"enumerated in guide"`` or ``""``.
        note: why the KL is not analytic, where it is not.
    """

    name: str
    kind: str
    scope: str
    plates: tuple[tuple[str, int], ...]
    batch_shape: tuple[int, ...]
    event_shape: tuple[int, ...]
    support: str
    model: str
    guide: str
    kl: str
    gradient: str
    note: str = ""


@dataclass(frozen=True)
class ParameterRow:
    """A parameter; `gradient` is ``"yes"``, ``"none"``, ``"zero"``, ``"not finite"``, ``"frozen"`` or ``"unknown"``."""

    name: str
    owner: str
    shape: tuple[int, ...]
    gradient: str


@dataclass(frozen=True)
class ObjectiveRow:
    """Whether an objective suits the pair, on all data and on mini-batches; None until faults are mended."""

    name: str
    full_batch: bool | None
    mini_batch: bool | None
    note: str = ""


@dataclass(frozen=True, repr=False)
class ReportRecord:
    """The content of a :class:`~jensen.inference.doctor.Report`, which also shows it."""

    model: str
    guide: str
    data: str
    sites: tuple[SiteRow, ...]
    parameters: tuple[ParameterRow, ...]
    objectives: tuple[ObjectiveRow, ...]
    recommended: str | None
    faults: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    vectorized: bool | None
    traced: bool | None
    notes: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no fault was found."""
        return not self.faults

    @property
    def exit_code(self) -> int:
        """0 if no fault was found, else 1."""
        return 0 if self.ok else 1
