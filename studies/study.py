"""Study: models x methods x seeds, each arm in its own folder, finished arms not run again, all scored alike."""

from __future__ import annotations

__all__ = ["Study"]

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import torch

from jensen.inference import elbo_terms, log_evidence, pareto_k
from jensen.inference.errors import ConfigurationError
from jensen.inference.storage.atomic import prepare_folder

from .arms.arm import FINISHED, Arm, ArmRecord, split
from .checks import check_method, check_parts, check_seeds
from .processes import run_in_processes
from .progress import Progress, progress_display
from .result import StudyResult


@dataclass(frozen=True)
class Study:
    """``{models} x {methods} x {seeds}``: fit every arm, score it by ``metrics``, keep everything under ``runs/``.

    Args:
        name: names the folder of the study under the root of ``run``.
        model: a `LatentVariableModel`, a zero-argument factory of one (built under each arm's seed, so that the
            initial weights differ between seeds), or a dict ``{label: either}``. A model counts with its weights: one
            that is built anew, from other random numbers, is another configuration; a factory is always the same.
        data: a dict of tensors, an object with the dicts ``train`` and, if any, ``validation`` and ``test``, or a
            dict ``{model label: either}`` with the labels of ``model``.
        methods: ``{label: method}``, or ``{model label: {label: method}}`` where the models need different ones.
        metrics: functions ``metric(fit, data, *, seed) -> Estimate`` or ``{label: function}``. The default is
            ``elbo_terms``, ``log_evidence`` and ``pareto_k``.
        seeds: one arm is run for each: whole numbers; an iterator is read once, and kept as a tuple.
        score_on: the split that the metrics see: ``"train"`` (the default), ``"validation"`` or ``"test"``.
        checkpoint: keep each running fit's state on disk, so that an arm that is killed goes on from there.

    Raises:
        ConfigurationError: at construction, before anything is written: labels that do not match or are the same as
            folder names, seeds that are no whole numbers, what is no model, method, metric or data, or no arm at all.

    Example::

        study = Study("guides", model=BayesianLogisticRegression(30), data=breast_cancer(seed=0),
                      methods={"normal": SVI(Trace_ELBO(), steps=2_000, guide="normal"),
                               "full": SVI(Trace_ELBO(), steps=2_000, guide="multivariate_normal")}, seeds=range(3))
        result = study.run("runs/")
        print(result)
        result.report("report.html")
    """

    name: str
    _: KW_ONLY
    model: Any
    data: Any
    methods: Mapping[str, Any]
    metrics: Sequence[Callable[..., Any]] | Mapping[str, Callable[..., Any]] | None = None
    seeds: Iterable[int] = range(5)
    score_on: str = "train"
    checkpoint: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", check_seeds(self.seeds))
        check_parts(self.name, self.model, self.data, self.metrics, self.score_on)
        self.arms()

    def arms(self) -> list[Arm]:
        """Return the arms in the order in which they are run.

        The seed is the outermost loop, so that a study that is stopped early has compared all methods.
        """
        models = self.model if isinstance(self.model, Mapping) else {_label(self.model): self.model}
        metrics = _metrics(self.metrics)
        arms = []
        for seed in self.seeds:
            for label, model in models.items():
                data = _data_of(self.data, label, models)
                if split(data, self.score_on) is None:
                    raise ConfigurationError(f"`score_on`: expected a split that the data has, got `{self.score_on}`.")
                for method_label, method in _methods_of(self.methods, label, models).items():
                    check_method(method_label, method)
                    where = (self.name, str(label), str(method_label), seed)
                    arms.append(Arm(*where, model, data, method, metrics, self.score_on, self.checkpoint))
        if not arms:
            raise ConfigurationError("`Study`: expected at least one model, method and seed, got none of one of them.")
        _check_folders(arms)
        return arms

    def load(self, root: str | Path = "runs") -> StudyResult:
        """Return the results of the arms that are finished under ``root``, and run none."""
        root, arms = Path(root), self.arms()
        return StudyResult(self.name, [arm.stored(root) for arm in arms], arms, root)

    def run(
        self, root: str | Path = "runs", *, jobs: int = 1, progress: bool | None = None, display: Progress | None = None
    ) -> StudyResult:
        """Run every arm that is not finished and return the results of all.

        An arm that fails is a row of the result with its error; Ctrl-C keeps the finished arms and returns what
        there is. ``jobs`` arms run at a time, in processes of their own. ``progress=None`` shows a bar in terminals;
        ``display`` is one made by `progress_display`, to be shared by several studies.
        """
        if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < -1 or jobs == 0:
            raise ConfigurationError(f"`jobs`: expected a positive integer, or -1 for all cores, got {jobs!r}.")
        arms, root = self.arms(), prepare_folder(root)
        found = {arm: arm.stored(root) for arm in arms}
        waiting = [arm for arm, record in found.items() if record.status != FINISHED]
        interrupted = False
        own = progress_display(progress) if display is None else contextlib.nullcontext(display)
        with own as bar:
            bar.start(self.name, total=len(arms), done=len(arms) - len(waiting))
            work = _in_turn(waiting, root, bar) if jobs == 1 else run_in_processes(waiting, root, jobs)
            try:
                for arm, record in work:
                    found[arm] = record
                    waiting.remove(arm)
                    bar.advance(arm.label, record.status)
            except KeyboardInterrupt:
                interrupted = True
                bar.note(f"stopped by Ctrl-C: {len(waiting)} of {len(arms)} arms of `{self.name}` are left")
        found |= {arm: arm.stored(root) for arm in waiting}
        return StudyResult(self.name, list(found.values()), arms, root, interrupted)


def _in_turn(arms: Sequence[Arm], root: Path, bar: Progress) -> Iterator[tuple[Arm, ArmRecord]]:
    several = len({arm.model_label for arm in arms}) > 1
    for arm in tuple(arms):
        label = arm.label if several else f"{arm.method_label}, seed {arm.seed}"
        yield arm, arm.run(root, callbacks=bar.callbacks(label))


def _label(thing: Any) -> str:
    """Return the name of a model, a factory or a metric."""
    if isinstance(thing, torch.nn.Module):
        return type(thing).__name__
    name = getattr(thing, "__name__", "") or getattr(getattr(thing, "func", None), "__name__", "")
    return "unnamed" if name in ("", "<lambda>") else name


def _metrics(metrics: Any) -> dict[str, Callable[..., Any]]:
    if metrics is None:
        metrics = {"elbo": elbo_terms, "log_evidence": log_evidence, "pareto_k": pareto_k}
    if isinstance(metrics, Mapping):
        return dict(metrics)
    named = {_label(metric): metric for metric in metrics}
    if len(named) < len(metrics):
        raise ConfigurationError("`metrics`: expected functions of different names, got some twice; use a dict.")
    return named


def _data_of(data: Any, label: str, models: Mapping[str, Any]) -> Any:
    if isinstance(data, Mapping) and set(data) == set(models) and not isinstance(data[label], torch.Tensor):
        return data[label]
    return data


def _methods_of(methods: Mapping[str, Any], label: str, models: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(methods, Mapping):
        raise ConfigurationError(f"`methods`: expected a dict {{label: method}}, got {type(methods).__name__}.")
    nested = [isinstance(value, Mapping) for value in methods.values()]
    if not any(nested):
        return methods
    if all(nested) and set(methods) == set(models):
        return methods[label]
    expected = ", ".join(f"`{name}`" for name in models)
    given = ", ".join(f"`{name}`" for name in methods)
    raise ConfigurationError(f"`methods`: expected one dict for each of {expected}, got {given}.")


def _check_folders(arms: Sequence[Arm]) -> None:
    folders: dict[Path, Arm] = {}
    for arm in arms:
        other = folders.setdefault(arm.folder(Path()), arm)
        if other is not arm:
            both = f"`{other.label}` and `{arm.label}`"
            raise ConfigurationError(f"`Study`: expected arms with different folders, got the same one for {both}.")
