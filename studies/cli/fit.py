"""`jensen fit` and `jensen doctor`: one model, one data set."""

from __future__ import annotations

__all__ = ["DataRequest", "FitRequest", "check_seed_option", "run_doctor", "run_fit"]

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from jensen.inference import elbo_terms, log_evidence, pareto_k
from jensen.inference.errors import ConfigurationError
from jensen.inference.plain_text import printable
from jensen.inference.storage.atomic import prepare_folder
from jensen.inference.storage.folders import no_empty_folder
from jensen.models import LatentVariableModel

from ..arms.seeded import seeded
from ..data.preparation import Preparation, prepare
from ..data.sizes import data_sizes, with_labels
from ..data.sources import Source, load_source
from ..data.table_format import TableOptions
from .model_options import build_model
from .resolve import find_model, find_object, parse_settings, resolve_method


@dataclass(frozen=True)
class DataRequest:
    """Which data, and how they are to be read; see `load_source` and `with_labels`."""

    data: str
    target: str | None = None
    columns: Sequence[str] = ()
    table: TableOptions = field(default_factory=TableOptions)
    labels: bool | None = None
    standardize: bool = False

    def load(self) -> Source:
        """Read the data.

        Raises:
            ConfigurationError, DataError: as `load_source` does.
        """
        given = parse_settings(self.columns, "--column", "y=price")
        columns = {argument: str(column) for argument, column in given.items()}
        if self.target is not None:
            if "y" in columns:
                raise ConfigurationError("`--target` and `--column y=…` are the same: expected one of them.")
            columns["y"] = self.target
        return load_source(self.data, self.table, columns)


@dataclass(frozen=True)
class FitRequest:
    """What `jensen fit` was asked for; ``options`` are those of the method, None where not given."""

    model: str
    data: DataRequest
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
    check_seed_option(request.seed)
    method = resolve_method(request.method, request.options, progress)
    model, batch, record = _pair(request.model, request.settings, request.data, request.seed)
    out = request.out or Path("runs") / "fit" / f"{type(model).__name__}-{record.data}"
    with no_empty_folder(out):
        prepare_folder(out)  # before the work, so that its end cannot fail for want of a place
        fitted = method.fit(model, batch, seed=request.seed)
        fitted.save(out)
    record.save(out)
    show(fitted)
    for name, metric in metrics.items():
        print(f"{name}: {printable(_score(metric, fitted, batch, request.seed), lines=True)}")
    rest = f"new rows: jensen predict {out} --data FILE; in Python: jensen.inference.load({str(out)!r})"
    print(printable(f"saved in {out}; {rest}"))
    test = fitted.info.get("convergence", {})
    check = fitted.info.get("reliability") or {"reliable": True}
    doubt = "" if check["reliable"] else f" Unreliable: {check['reason']}."
    said = f"{fitted.status}: {test['reason']}. {test['advice']}".rstrip() if test else fitted.status
    print(printable(said + doubt))
    return out


def run_doctor(model: str, data: DataRequest | None, *, guide: str | None, settings: Sequence[str]) -> bool:
    """Print the examination of a model and its guide; return whether no fault was found."""
    from rich import print as show

    from jensen.inference.doctor import examine

    built, batch = None, None
    if data is None:
        with seeded(0):
            built = _checked(model, build_model(find_model(model), parse_settings(settings)))
    else:
        built, batch, _ = _pair(model, settings, data, 0)
    report = examine(built, find_object(guide) if guide is not None and ":" in guide else guide, batch)
    show(report)
    return not report.faults


def _pair(
    text: str, settings: Sequence[str], data: DataRequest, seed: int
) -> tuple[LatentVariableModel, dict[str, Any], Preparation]:
    """The model, with its networks drawn under the seed, and its data; says what was read."""
    with seeded(seed):  # a file may build its model as it is read
        factory = find_model(text)
    given = parse_settings(settings)
    source = with_labels(data.load(), factory, given, data.labels)
    for line in source.describe():
        print(printable(line))
    sizes = data_sizes(source, factory, given)
    with seeded(seed):
        model = _checked(text, build_model(factory, given, sizes))
    batch, record = prepare(source, model, text, sizes | given, data.standardize)
    if unused := [name for name in (*source.arrays, *source.texts) if name not in (*batch, "x")]:
        print(printable(f"not used: {', '.join(unused)}, which {type(model).__name__} does not take"))
    return model, batch, record


def check_seed_option(seed: int) -> None:
    """Refuse a seed that torch or the scores do not take.

    Raises:
        ConfigurationError: it is negative, or has more than 63 bits.
    """
    if not 0 <= seed < 2**63:
        raise ConfigurationError(f"`--seed {seed}`: expected a whole number from 0 to 2**63 - 1.")


def _checked(text: str, model: Any) -> LatentVariableModel:
    if not isinstance(model, LatentVariableModel):
        raise ConfigurationError(f"`{text}`: expected a LatentVariableModel, got {type(model).__name__}.")
    return model


def _metrics(particles: int) -> dict[str, Callable[..., Any]]:
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
    if estimate.value == -math.inf and estimate.stderr == 0:  # a k-hat where nothing was drawn
        return "none needed: exact"
    return f"{estimate.per_datum} nats per datum" if estimate.n > 1 else str(estimate)
