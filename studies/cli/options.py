"""Options that several commands of `jensen` have."""

from __future__ import annotations

__all__ = [
    "Column",
    "Data",
    "Decimal",
    "FitFolder",
    "Header",
    "Index",
    "Labels",
    "Out",
    "Quiet",
    "Report",
    "Sep",
    "Set",
    "TableFile",
    "Target",
    "path",
]

from pathlib import Path
from typing import Annotated

import typer

_TABLE = "How a table is read (what is not said is seen from the file, and shown)"


def path(text: str | Path) -> Path:
    """A path, which is not empty: `--out "$UNSET"` would be the folder of the caller."""
    if not str(text).strip():
        raise typer.BadParameter("expected a path, got nothing")
    return Path(text)


Out = Annotated[
    Path, typer.Option("--out", "-o", parser=path, metavar="PATH", help="Folder for everything that is written.")
]
FitFolder = Annotated[
    Path | None, typer.Option("--out", "-o", parser=path, metavar="PATH", help="Folder; default: runs/fit/MODEL-DATA.")
]
TableFile = Annotated[
    Path | None, typer.Option("--out", "-o", parser=path, metavar="PATH", help="CSV file; default: shown here.")
]
Report = Annotated[Path | None, typer.Option("--report", parser=path, metavar="PATH", help="The html page to write.")]
Data = Annotated[
    str, typer.Option("--data", "-d", help="A shipped data set (see [b]jensen list[/b]), a .csv or an .npz file.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Option of the model's constructor.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
Target = Annotated[
    str | None,
    typer.Option(help="Column that becomes y, by name or number from 0; the others become x.", rich_help_panel=_TABLE),
]
Column = Annotated[
    list[str] | None,
    typer.Option(metavar="ARGUMENT=COLUMN", help="Column for another argument of the model.", rich_help_panel=_TABLE),
]
Labels = Annotated[
    bool | None,
    typer.Option("--labels/--no-labels", help="y are labels: recode them to 0, 1, …", rich_help_panel=_TABLE),
]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="The first line names the columns.", rich_help_panel=_TABLE),
]
Index = Annotated[
    str | None,
    typer.Option(help="Column that names the rows and is no data, or none.", rich_help_panel=_TABLE),
]
Sep = Annotated[str | None, typer.Option(help="Between fields: , ; | tab or space.", rich_help_panel=_TABLE)]
Decimal = Annotated[str | None, typer.Option(help="The decimal mark, . or ,", rich_help_panel=_TABLE)]
