"""One arm of a study: a model, its data, a method and a seed; fitted, saved and scored in a folder of its own."""

from __future__ import annotations

__all__ = ["FINISHED", "Arm", "ArmRecord", "score", "split"]

import copy
import dataclasses
import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jensen.datasets.dataset import SPLITS
from jensen.inference.errors import ConfigurationError

from .fingerprint import fingerprint, outline
from .seeded import seeded
from .store import clear, read_json, slug, swap_folder, write_json

FINISHED, FAILED, INTERRUPTED, NOT_RUN = "finished", "failed", "interrupted", "not run"


@dataclass(frozen=True)
class ArmRecord:
    """What is known of an arm after (or instead of) its run: the content of its ``arm.json`` and ``scores.json``."""

    model: str
    method: str
    seed: int
    folder: Path
    status: str = NOT_RUN
    error: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Arm:
    """The whole configuration of one arm. ``run`` does the work, ``finished`` says whether it is done already.

    ``data`` has the dicts ``train`` and, where they exist, ``validation`` and ``test``. Metrics see the split
    ``score_on``. A model that is a zero-argument factory is built under `seeded` ``(seed)``.
    """

    study: str
    model_label: str
    method_label: str
    seed: int
    model: Any
    data: Any
    method: Any
    metrics: Mapping[str, Callable[..., Any]]
    score_on: str = "train"
    checkpoint: bool = True

    @property
    def label(self) -> str:
        return f"{self.model_label}, {self.method_label}, seed {self.seed}"

    def folder(self, root: Path) -> Path:
        """Return ``root/<study>/<model>/<method>/seed-<s>``."""
        return root / slug(self.study) / slug(self.model_label) / slug(self.method_label) / f"seed-{self.seed}"

    def fingerprints(self) -> tuple[str, str]:
        """Return the hashes of all that decides the fit, and of all that decides the scores given the fit."""
        splits = {name: part for name in SPLITS if (part := split(self.data, name)) is not None}
        fit = fingerprint(self.model, splits, _silent(self.method), self.seed)
        return fit, fingerprint(fit, dict(self.metrics), self.score_on)

    def stored(self, root: Path) -> ArmRecord:
        """Return the record that is on disk for this very configuration; ``"not run"`` if there is none.

        An arm is finished when its fit and its scores are there, under the fingerprints that it has now.
        """
        folder = self.folder(root)
        fit_print, score_print = self.fingerprints()
        entry, scores = read_json(folder / "arm.json") or {}, read_json(folder / "scores.json") or {}
        if entry.get("fingerprint") != fit_print:
            return self._record(root, NOT_RUN)
        if entry.get("status") == FINISHED:
            if scores.get("fingerprint") != score_print or not (folder / "fit").is_dir():
                return self._record(root, NOT_RUN)
            return self._record(root, FINISHED, info=entry.get("info", {}), scores=scores)
        if entry.get("status") == FAILED:
            return self._record(root, FAILED, error=entry.get("error", ""))
        return self._record(root, INTERRUPTED)

    def run(self, root: Path, callbacks: Sequence[Any] = ()) -> ArmRecord:
        """Fit, save and score. An error becomes a record that says why; Ctrl-C leaves what is whole, and is raised.

        A fit that is stored under the same fingerprint is not repeated: only its scores are computed.
        """
        folder = self.folder(root)
        fit_print, score_print = self.fingerprints()
        stored = read_json(folder / "arm.json") or {}
        if stored.get("fingerprint") != fit_print:
            clear(*(folder / name for name in ("arm.json", "scores.json", "fit", "checkpoint", "error.txt")))
            stored = {}
        entry = {"study": self.study, "model": self.model_label, "method": self.method_label, "seed": self.seed}
        entry |= {"fingerprint": fit_print, "config": self._config()}
        try:
            if stored.get("status") == FINISHED and (folder / "fit").is_dir():
                fit, info = self.load(root), stored.get("info", {})
            else:
                write_json(folder / "arm.json", entry | {"status": "running"})
                fit, info = self._fit(folder, callbacks)
                if fit.status == INTERRUPTED:
                    raise KeyboardInterrupt
                _save(fit, folder)
            scores = score(fit, split(self.data, self.score_on), self.metrics, seed=self.seed)
            write_json(folder / "scores.json", {"fingerprint": score_print, "score_on": self.score_on, **scores})
            write_json(folder / "arm.json", entry | {"status": FINISHED, "info": info})
            clear(folder / "checkpoint", folder / "error.txt")
            return self._record(root, FINISHED, info=info, scores=scores)
        except KeyboardInterrupt:
            write_json(folder / "arm.json", entry | {"status": INTERRUPTED})
            raise
        except (Exception, SystemExit) as error:
            message = f"{type(error).__name__}: {error}"
            write_json(folder / "arm.json", entry | {"status": FAILED, "error": message})
            (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
            return self._record(root, FAILED, error=message)

    def build_model(self) -> Any:
        """Return the model: the one given, or the factory's, built under this arm's seed."""
        if isinstance(self.model, torch.nn.Module):
            return copy.deepcopy(self.model)
        with seeded(self.seed):
            return self.model()

    def load(self, root: Path) -> Any:
        """Return the stored fit, with this arm's model, and its guide where the method was given one that is code."""
        from jensen.inference import load

        guide = getattr(self.method, "guide", None)
        return load(self.folder(root) / "fit", self.build_model(), None if isinstance(guide, str) else guide)

    def _fit(self, folder: Path, callbacks: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
        data, validation = split(self.data, "train"), split(self.data, "validation")
        options: dict[str, Any] = {"checkpoint": folder / "checkpoint"} if self.checkpoint else {}
        if validation is not None and getattr(self.method, "patience", None) is not None:
            options["validation"] = validation
        if callbacks:
            options["callbacks"] = tuple(callbacks)
        started = time.perf_counter()
        fit = _silent(self.method).fit(self.build_model(), data, seed=self.seed, **options)
        info = {"seconds": time.perf_counter() - started, **fit.info, "fit_status": fit.status}
        info["data_size"] = fit.data_size
        if len(fit.history) and "bound_per_datum" in fit.history:
            info["bound_per_datum"] = float(fit.history["bound_per_datum"].iloc[-1])
        return fit, info

    def _config(self) -> dict[str, Any]:
        """Return the configuration for a reader (the fingerprints are what decides)."""
        parts = {"model": self.model, "method": self.method, "metrics": self.metrics, "data": split(self.data, "train")}
        return {name: outline(part) for name, part in parts.items()}

    def _record(self, root: Path, status: str, **content: Any) -> ArmRecord:
        return ArmRecord(self.model_label, self.method_label, self.seed, self.folder(root), status, **content)


def split(data: Any, name: str) -> Any:
    """Return the split ``name`` of a Dataset-like object, a plain dict of tensors (all of it is "train"), or None."""
    if isinstance(data, Mapping) or not hasattr(data, "train"):
        return data if name == "train" else None
    return getattr(data, name, None)


def score(fit: Any, data: Any, metrics: Mapping[str, Callable[..., Any]], *, seed: int) -> dict[str, Any]:
    """Return ``{metric: {value, stderr, n, seconds, unreliable?} | {error}}``: the one code that scores every arm."""
    if data is None:
        raise ConfigurationError("`score_on`: expected a split that the data has, got none of that name.")
    scores: dict[str, Any] = {}
    for label, metric in metrics.items():
        started = time.perf_counter()
        try:
            entry = _numbers(metric(fit, data, seed=seed))
        except (Exception, SystemExit) as error:  # the fit stands, and so do the other scores
            scores[label] = {"error": f"{type(error).__name__}: {error}"}
            continue
        scores[label] = entry | {"seconds": time.perf_counter() - started}
    return {"scores": scores, "num_data": len(next(iter(data.values())) if isinstance(data, Mapping) else data)}


def _numbers(estimate: Any) -> dict[str, Any]:
    """Return what a metric returned as ``{value, stderr, n}``, with what it says against itself as ``unreliable``."""
    stderr, count = getattr(estimate, "stderr", math.nan), getattr(estimate, "n", 1)
    details = getattr(estimate, "details", None)
    against = details.get("unreliable") if isinstance(details, Mapping) else ""
    try:
        found = {"value": float(estimate), "stderr": float(stderr), "n": int(count)}
    except (TypeError, ValueError, RuntimeError):
        kind = f"{estimate!r}" if estimate is None else type(estimate).__name__
        raise ConfigurationError(f"a metric must return an Estimate or a number, got {kind}.") from None
    return found | ({"unreliable": str(against)} if against else {})


def _silent(method: Any) -> Any:
    """Return the method without a progress bar of its own; the study shows one."""
    fields = {field.name for field in dataclasses.fields(method)} if dataclasses.is_dataclass(method) else ()
    return dataclasses.replace(method, progress=False) if "progress" in fields else method


def _save(fit: Any, folder: Path) -> None:
    """Save the fit beside its place, then move it there whole."""
    clear(folder / "fit.tmp")
    fit.save(folder / "fit.tmp")
    swap_folder(folder / "fit.tmp", folder / "fit")
