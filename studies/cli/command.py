"""The command `jensen`: demo, fit, predict, study, doctor, list."""

from __future__ import annotations

__all__ = ["app", "main"]

import os
import sys
import traceback
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data.table_format import TableOptions
from ..demo import run_demo
from .catalogue import print_catalogue
from .fit import DataRequest, FitRequest, run_doctor, run_fit
from .options import (
    Column,
    Data,
    Decimal,
    FitFolder,
    Header,
    Index,
    Labels,
    Out,
    Quiet,
    Report,
    Sep,
    Set,
    TableFile,
    Target,
)
from .predict import PredictRequest, run_predict
from .study import report_file, run_file
from .user_errors import explain, place_of

app = typer.Typer(
    name="jensen",
    help="Latent-variable models written as Pyro programs: declare, fit by any method, score honestly.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
studies = typer.Typer(help="Run a comparison written in a Python file, or report on one.", no_args_is_help=True)
app.add_typer(studies, name="study")

_STOPPED = 130  # what a shell knows as the end by Ctrl-C
_MODEL = "A shipped class (see [b]jensen list[/b]), MODULE:CLASS or path/to/file.py:CLASS."


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; what the user got wrong is one line on stderr and exit code 2.

    That holds for errors of any type, in jensen or in a file of the user's own (then with file and line), and for a
    file that calls `sys.exit`. Set ``JENSEN_TRACEBACK=1`` to see where an error comes from.
    """
    try:
        app(args=arguments, prog_name="jensen")
    except KeyboardInterrupt:
        typer.echo("jensen: stopped", err=True)
        sys.exit(_STOPPED)
    except BaseException as error:
        if isinstance(error, SystemExit) and place_of(error) is None:  # how typer ends every command
            if error.code == _STOPPED:
                typer.echo("jensen: stopped", err=True)
            raise
        if os.environ.get("JENSEN_TRACEBACK"):
            traceback.print_exc()
        typer.echo(f"jensen: {explain(error)}", err=True)
        sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        versions = [f"{name} {installed_version(name)}" for name in ("jensen", "torch", "pyro-ppl")]
        typer.echo(", ".join(versions))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the versions and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Out = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A few steps only, to see it work.")] = False,
    jobs: Annotated[int, typer.Option(help="Arms run at a time, in processes of their own.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Fit three models to real data by several methods, compare them, and draw what was found.

    Arms that are finished in OUT are not run again.

    [dim]jensen demo --out runs/demo[/dim]
    """
    run_demo(out, quick=quick, jobs=jobs, progress=False if quiet else None)


@app.command()
def fit(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)],
    data: Data,
    target: Target = None,
    column: Column = None,
    labels: Labels = None,
    header: Header = None,
    index: Index = None,
    sep: Sep = None,
    decimal: Decimal = None,
    method: Annotated[str, typer.Option(help="SVI, EM or CAVI (see [b]jensen list methods[/b]).")] = "SVI",
    objective: Annotated[
        str | None, typer.Option(help="NAME or 'NAME(key=value)', of SVI; default: Trace_ELBO.")
    ] = None,
    guide: Annotated[
        str | None, typer.Option(help="normal, multivariate_normal, lowrank, iaf, flow; default: the model's own.")
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            metavar="INTEGER|auto",
            help="Gradient steps, or updates; default: the method's own, for SVI auto (until the fit is at rest).",
        ),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate of SVI; default: 0.01, with steps auto 0.001 for networks.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Data a step; default: all.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything that is random.")] = 0,
    out: FitFolder = None,
    settings: Set = None,
    standardize: Annotated[bool, typer.Option("--standardize", help="Scale the columns of x of a file.")] = False,
    compile_: Annotated[
        str | None, typer.Option("--compile", help="auto, trace, inductor, cudagraph or off; default: auto.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    dtype: Annotated[
        str | None, typer.Option(help="float32 or float64; default: float64 for EM and CAVI, else float32.")
    ] = None,
    particles: Annotated[int, typer.Option(help="Draws per datum for the scores; 0 for no scores.")] = 1_000,
    quiet: Quiet = False,
) -> None:
    """Fit one model to one data set, score it and save it.

    [dim]jensen fit BayesianLogisticRegression --data breast_cancer --guide multivariate_normal
    jensen fit GaussianMixture --data wine --objective TraceEnum_ELBO --set num_components=3
    jensen fit GaussianMixture --data wine --method EM --set num_components=3
    jensen fit VAE --data digits --set latent_dim=8 --set likelihood=bernoulli_grey --batch-size 128
    jensen fit my_model.py:Regression --data table.csv --target price --standardize[/dim]

    New rows: [b]jensen predict[/b].
    """
    compiled: Any = False if compile_ in ("off", "false", "False") else compile_
    options: dict[str, Any] = {"objective": objective, "guide": guide, "steps": steps, "lr": lr, "compile": compiled}
    options |= {"batch_size": batch_size, "device": device, "dtype": dtype}
    source = DataRequest(
        data, target, column or (), TableOptions(sep, decimal, header, index), labels, standardize=standardize
    )
    request = FitRequest(model, source, settings or (), method, options, seed, out, particles)
    run_fit(request, progress=False if quiet else None)


@app.command()
def predict(
    fit: Annotated[Path, typer.Argument(metavar="FIT", help="Folder of a fit.")],
    data: Data,
    out: TableFile = None,
    model: Annotated[
        str | None, typer.Option(help="The fit's model where it is your own, as for fit: its file is run.")
    ] = None,
    header: Header = None,
    index: Index = None,
    sep: Sep = None,
    decimal: Decimal = None,
    particles: Annotated[
        int, typer.Option(help="Draws for a prediction, and per datum for its log evidence; 0 for no evidence.")
    ] = 1_000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
) -> None:
    """Say what a fit makes of new rows: classes, components, latents, and how likely each row is.

    Columns are found by their names, scaled as those of the fit were, and classes have their names.

    [dim]jensen predict runs/fit/BayesianLogisticRegression-table --data new.csv --out predictions.csv[/dim]
    """
    run_predict(PredictRequest(fit, data, TableOptions(sep, decimal, header, index), out, model, particles, seed))


@app.command("list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(help="models, methods, objectives, guides, metrics or data; default: all.")
    ] = None,
) -> None:
    """List the models, methods, objectives, guides, metrics and data sets that there are.

    [dim]jensen list objectives[/dim]
    """
    print_catalogue(kind)


@app.command()
def doctor(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)],
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="As for fit; default: drawn from the model, where it can.")
    ] = None,
    target: Target = None,
    column: Column = None,
    labels: Labels = None,
    header: Header = None,
    index: Index = None,
    sep: Sep = None,
    decimal: Decimal = None,
    guide: Annotated[str | None, typer.Option(help="A name as for fit, MODULE:NAME, or the model's own.")] = None,
    settings: Set = None,
) -> None:
    """Read a model and its guide before any fit: every site, what suits it, and every fault with its cure.

    Exit code 1 if there is a fault.

    [dim]jensen doctor my_model.py:Regression --data table.csv --target price[/dim]
    """
    options = TableOptions(sep, decimal, header, index)
    source = None if data is None else DataRequest(data, target, column or (), options, labels)
    if not run_doctor(model, source, guide=guide, settings=settings or ()):
        raise typer.Exit(1)


@studies.command("run")
def study_run(
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="Defines one or more Study objects.")],
    out: Out = Path("runs"),
    jobs: Annotated[int, typer.Option(help="Arms run at a time, in processes of their own; -1: all cores.")] = 1,
    report: Report = None,
    quiet: Quiet = False,
) -> None:
    """Run every arm of the studies in FILE.py that is not finished, and print the table.

    [dim]jensen study run compare.py --jobs 2 --report report.html[/dim]
    """
    if not run_file(file, out, jobs=jobs, report=report, progress=False if quiet else None):
        raise typer.Exit(1)


@studies.command("report")
def study_report(
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="Defines one or more Study objects.")],
    out: Out = Path("runs"),
    report: Report = Path("report.html"),
) -> None:
    """Report on the finished arms of the studies in FILE.py, without running any.

    [dim]jensen study report compare.py --report report.html[/dim]
    """
    report_file(file, out, report or Path("report.html"))
