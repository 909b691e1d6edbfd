"""What a study found: one row per arm, and the fits."""

from __future__ import annotations

__all__ = ["Fits", "StudyRecord"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arm import FINISHED, Arm, ArmRecord
from .verdict import Doubts, doubts

if TYPE_CHECKING:
    import pandas

_TEXTS = ("model", "method", "seed", "status", "error", "convergence", "convergence_reason", "unreliable")
_INFO = ("steps", "steps_per_second", "seconds")


class Fits(Mapping[tuple[str, str, int], Any]):
    """The fits of the finished arms, ``fits[model, method, seed]``; each is read from disk when it is asked for."""

    def __init__(self, records: Sequence[ArmRecord], arms: Sequence[Arm], root: Path) -> None:
        done = [arm for arm, record in zip(arms, records, strict=True) if record.status == FINISHED]
        self._arms = {(arm.model_label, arm.method_label, arm.seed): arm for arm in done}
        self._root = root

    def __getitem__(self, key: tuple[str, str, int]) -> Any:
        return self._arms[key].load(self._root)

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        return iter(self._arms)

    def __len__(self) -> int:
        return len(self._arms)

    def __repr__(self) -> str:
        return f"Fits({list(self._arms)})"


@dataclass(frozen=True, repr=False)
class StudyRecord:
    """What a study found; see :class:`~jensen.studies.StudyResult`, which also shows and reports it."""

    name: str
    records: Sequence[ArmRecord]
    arms: Sequence[Arm]
    root: Path
    interrupted: bool = False

    @property
    def frame(self) -> pandas.DataFrame:
        """Return one row per arm.

        Columns: ``model, method, seed, status, error``; ``convergence`` of a finished fit (``"converged"``, ``"not
        converged"``, ``"unknown"`` or ``"stopped early"``) and ``convergence_reason`` (the test, its number and what to
        do); ``unreliable`` (what is known against its numbers, such as a k-hat); ``bound_per_datum`` (the method's own
        objective at the last logging interval, on its training data); for a metric that is a total over data
        ``<metric>_per_datum`` and ``<metric>_stderr`` (of the value per datum), for any other ``<metric>`` and
        ``<metric>_stderr``; ``steps``, ``steps_per_second``, ``seconds`` (of the fit), ``folder``. Log quantities are
        in nats; what an arm lacks is NaN, or empty where it is text.
        """
        import pandas

        fixed = [*_TEXTS, "bound_per_datum"]
        rows = [_row(record) for record in self.records]
        scores = [name for row in rows for name in row if name not in (*fixed, *_INFO, "folder")]
        frame = pandas.DataFrame(rows, columns=[*fixed, *dict.fromkeys(scores), *_INFO, "folder"])
        numbers = [name for name in frame if name not in (*_TEXTS, "folder")]
        return frame.astype(dict.fromkeys(numbers, float))

    @property
    def fits(self) -> Fits:
        """Return the finished fits, ``fits[model, method, seed]``."""
        return Fits(self.records, self.arms, self.root)

    @property
    def failed(self) -> list[ArmRecord]:
        """Return the records of the arms that did not finish."""
        return [record for record in self.records if record.status != FINISHED]

    def summary(self) -> pandas.DataFrame:
        """Return one row per (model, method): means over the seeds, and ``<column>_sd`` the spread between seeds.

        ``arms``, ``finished`` and ``converged`` are counts.
        """
        frame = self.frame
        numbers = [name for name in frame.select_dtypes("number") if name != "seed"]
        groups = frame.groupby(["model", "method"], sort=False)
        spread = groups[numbers].std().add_suffix("_sd")
        finished = groups["status"].agg(lambda status: int((status == FINISHED).sum())).rename("finished")
        arms = groups["status"].count().rename("arms")
        converged = groups["convergence"].agg(lambda status: int((status == "converged").sum())).rename("converged")
        return groups[numbers].mean().join([spread, finished, arms, converged]).reset_index()

    def doubts(self) -> dict[tuple[str, str, int], Doubts]:
        """Return what the finished fits say of themselves, by (model, method, seed)."""
        done = [record for record in self.records if record.status == FINISHED]
        return {(record.model, record.method, record.seed): _doubts(record) for record in done}


def _doubts(record: ArmRecord) -> Doubts:
    return doubts(record.info, record.scores.get("scores", {}))


def _row(record: ArmRecord) -> dict[str, Any]:
    """Return the columns of one arm."""
    row: dict[str, Any] = {name: getattr(record, name) for name in ("model", "method", "seed", "status")}
    errors = [record.error] if record.error else []
    for label, entry in record.scores.get("scores", {}).items():
        if "error" in entry:
            errors.append(f"{label}: {entry['error']}")
            continue
        count = entry["n"]
        row[f"{label}_per_datum" if count > 1 else label] = float(entry["value"]) / count
        row[f"{label}_stderr"] = float(entry["stderr"]) / count
    row["error"] = "; ".join(errors)
    said = _doubts(record) if record.status == FINISHED else Doubts("", "", "")
    row |= {"convergence": said.convergence, "convergence_reason": said.reason, "unreliable": said.unreliable}
    for name in ("bound_per_datum", *_INFO):
        if record.info.get(name) is not None:
            row[name] = float(record.info[name])
    return row | {"folder": str(record.folder)}
