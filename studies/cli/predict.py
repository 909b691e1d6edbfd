"""`jensen predict`: what a stored fit says of new rows, in the columns, units and classes of its own data."""

from __future__ import annotations

__all__ = ["PredictRequest", "run_predict"]

import ast
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jensen.inference import load
from jensen.inference.errors import CheckpointError, ConfigurationError, DataError
from jensen.inference.plain_text import printable
from jensen.inference.storage.atomic import write_file

from ..arms.store import check_file
from ..data.preparation import Preparation
from ..data.sources import Source, load_source
from ..data.table_format import TableOptions
from .fit import check_seed_option
from .model_options import build_model
from .predictions import Predictions, predict_rows
from .resolve import find_model

_FORMAT = "%.9g"  # what tells two float32 apart
_SHOWN_ROWS, _SHOWN_COLUMNS = 20, 10


@dataclass(frozen=True)
class PredictRequest:
    """What `jensen predict` was asked for."""

    fit: Path
    data: str
    table: TableOptions = field(default_factory=TableOptions)
    out: Path | None = None
    model: str | None = None
    particles: int = 1_000
    seed: int = 0


def run_predict(request: PredictRequest) -> Predictions:
    """Predict, and write a CSV file or show the table: all of it where the output is no terminal.

    Raises:
        CheckpointError: there is no fit, it is damaged, or its model must be named.
        ConfigurationError, DataError: the new data cannot be read, or do not fit it.
    """
    if request.particles < 0:
        raise ConfigurationError(f"`--particles`: expected a number of draws, or 0, got {request.particles}.")
    check_seed_option(request.seed)
    if request.out is not None:
        check_file(request.out, "--out")
    record = Preparation.load(request.fit)
    fit = _load(request.fit, record, request.model)
    found, source = _predict(fit, record, request)
    for line in [*source.describe(), *found.notes]:
        print(printable(line), file=sys.stderr)
    frame = _as_frame(found, source, {} if record is None else record.columns)
    if request.out is not None:
        path = request.out.expanduser().absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, frame.to_csv(float_format=_FORMAT).encode())
        print(printable(f"predictions for {len(frame):,} rows: {request.out}"))
    elif sys.stdout.isatty():
        _show(frame)
    else:
        print(frame.to_csv(float_format=_FORMAT), end="")
    return found


def _load(folder: Path, record: Preparation | None, text: str | None) -> Any:
    """The fit, with its model built anew where that is the user's own."""
    if text is None:
        if record is not None and ":" in record.model:
            raise CheckpointError(
                f"The model of {folder} is your own: say --model {record.model}, and that file is run."
            )
        return load(folder)
    factory = find_model(text)
    arguments = {} if record is None else {name: ast.literal_eval(value) for name, value in record.arguments.items()}
    try:
        model = build_model(factory, arguments)
    except ConfigurationError as error:
        known = "" if record is None else f"expected the fit's own model, `{record.model}`. "
        raise ConfigurationError(f"`--model {text}`: {known}{error}") from error
    return load(folder, model)


def _predict(fit: Any, record: Preparation | None, request: PredictRequest) -> tuple[Predictions, Source]:
    options: dict[str, Any] = {"particles": request.particles, "seed": request.seed}
    if record is None:
        print(f"{request.fit} has no record of how its data were made: new rows are taken as they are", file=sys.stderr)
        source = load_source(request.data, request.table)
        return predict_rows(fit, source.arrays, **options), source
    source = load_source(
        request.data, request.table, record.columns, features=record.features, by_place=not record.named
    )
    batch = record.apply(source, fit.model)
    if record.argument not in batch:
        raise DataError(f"`{request.data}`: expected `{record.argument}`, got {', '.join(batch) or 'nothing'}.")
    return predict_rows(fit, batch, argument=record.argument, classes=record.classes, **options), source


def _as_frame(found: Predictions, source: Source, names: Mapping[str, str]) -> Any:
    """The predictions as a data frame: rows and outcomes are called as they are in the files."""
    import pandas

    table = source.table
    rows = None if table is None or table.index is None else list(table.index)
    name = table.index_name if rows is not None and table is not None else "row"
    columns = {
        " ".join([names.get(word, word) for word in name.split(" ")[:1]] + name.split(" ")[1:]): values
        for name, values in found.columns.items()
    }
    return pandas.DataFrame(columns, index=pandas.Index(rows or range(source.size), name=name))


def _show(frame: Any) -> None:
    """Print the first rows as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False)
    columns = list(frame.columns[:_SHOWN_COLUMNS])
    for name in [frame.index.name, *columns]:
        grid.add_column(Text(printable(name)), justify="right")
    for label, values in frame[columns].head(_SHOWN_ROWS).iterrows():
        cells = [f"{value:.4f}" if isinstance(value, float) else str(value) for value in values]
        grid.add_row(*(Text(printable(cell)) for cell in [label, *cells]))
    Console().print(grid)
    left = [(len(frame) - _SHOWN_ROWS, "rows"), (frame.shape[1] - _SHOWN_COLUMNS, "columns")]
    more = [f"{count:,} more {what}" for count, what in left if count > 0]
    if more:
        print(f"and {' and '.join(more)}; --out FILE writes all")
