"""`jensen fit` and `jensen doctor`: one model, one data set."""

from __future__ import annotations

__all__ = ["FitRequest", "run_doctor", "run_fit"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from jensen.inference.errors import ConfigurationError, DataError
from jensen.inference.folders import no_empty_folder
from jensen.inference.options import check_seed
from jensen.inference.storage import prepare_folder
from jensen.models import LatentVariableModel

from .model_options import build_model
from .resolve import find_class, find_object, parse_settings, resolve_method
from .seeded import seeded
from .sources import load_source


@dataclass(frozen=True)
class FitRequest:
    """What `jensen fit` was asked for; ``options`` are those of the method, None where not given."""

    model: str
    data: str
    target: str | None = None
    standardize: bool = False
    settings: Sequence[str] = ()
    method: str = "SVI"
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    out: Path | None = None
    particles: int = 1_000


def run_fit(request: FitRequest, progress: bool | None = None) -> Path:
    """Fit, print, score and save; return the folder.

    Everything that was asked for is checked before the fit, and what fails leaves no empty folder.
    """
    from rich import print as show

    metrics = _metrics(request.particles)
    check_seed(request.seed)
    dataset = load_source(request.data, target=request.target, standardize=request.standardize)
    method = resolve_method(request.method, request.options, progress)
    with seeded(request.seed):
        model = _model(request.model, request.settings, dataset)
    batch = _arguments(model, dataset.train)
    out = request.out or Path("runs") / "fit" / f"{type(model).__name__}-{dataset.name}"
    with no_empty_folder(out):
        prepare_folder(out)  # before the work, so that its end cannot fail for want of a place
        fitted = method.fit(model, batch, seed=request.seed)
        fitted.save(out)
    show(fitted)
    for name, metric in metrics.items():
        print(f"{name}: {_score(metric, fitted, batch, request.seed)}")
    print(f"saved in {out}; jensen.inference.load({str(out)!r}) reads it")
    return out


def run_doctor(model: str, *, data: str | None, target: str | None, guide: str | None, settings: Sequence[str]) -> bool:
    """Print the examination of a model and its guide; return whether no fault was found."""
    from rich import print as show

    from jensen.inference.doctor import examine

    dataset = None if data is None else load_source(data, target=target)
    with seeded(0):
        built = _model(model, settings, dataset)
    batch = None if dataset is None else _arguments(built, dataset.train)
    report = examine(built, find_object(guide) if guide is not None and ":" in guide else guide, batch)
    show(report)
    return not report.faults


def _model(text: str, settings: Sequence[str], dataset: Any) -> Any:
    factory = find_class(text, "models", LatentVariableModel, "model")
    shape = tuple(dataset.train["x"].shape[1:]) if dataset is not None and "x" in dataset.train else ()
    sizes = {"num_features": shape[0]} if len(shape) == 1 else {}
    model = build_model(factory, parse_settings(settings), sizes | ({"data_shape": shape} if shape else {}))
    if not isinstance(model, LatentVariableModel):
        raise ConfigurationError(f"`{text}`: expected a LatentVariableModel, got {type(model).__name__}.")
    return model


def _arguments(model: LatentVariableModel, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the data that the model takes."""
    chosen = {name: batch[name] for name in model.arguments if name in batch}
    missing = [name for name in model.arguments if name not in batch]
    if missing:
        known = ", ".join(f"`{name}`" for name in batch)
        hint = " Give the column with --target." if missing == ["y"] else ""
        raise DataError(f"`{missing[0]}` is an argument of the model that the data lack; they have {known}.{hint}")
    return chosen


def _metrics(particles: int) -> dict[str, Callable[..., Any]]:
    from jensen.inference import elbo_terms, log_evidence, pareto_k

    if particles == 0:
        return {}
    if particles < 0:
        raise ConfigurationError(f"`--particles`: expected a number of draws, or 0 for no scores, got {particles}.")
    functions = {"ELBO": elbo_terms, "log evidence": log_evidence, "k-hat": pareto_k}
    return {name: partial(function, num_particles=particles) for name, function in functions.items()}


def _score(metric: Callable[..., Any], fitted: Any, batch: Mapping[str, Any], seed: int) -> str:
    """Return an estimate as text, per datum where it is a total; a score that does not apply says why."""
    try:
        estimate = metric(fitted, batch, seed=seed)
    except (ValueError, RuntimeError) as error:
        return f"none ({error})"
    return f"{estimate.per_datum} nats per datum" if estimate.n > 1 else str(estimate)
