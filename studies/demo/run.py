"""`jensen demo`: three studies on real data, one table, the posteriors as NetCDF files, and pictures."""

from __future__ import annotations

__all__ = ["Demo", "decay", "demo_studies", "run_demo"]

import functools
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jensen.datasets import Dataset, breast_cancer, digits, threshold, wine
from jensen.inference import (
    IWAE,
    SVI,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceMeanField_ELBO,
    elbo_terms,
    log_evidence,
    pareto_k,
)
from jensen.inference.plain_text import printable
from jensen.inference.storage.atomic import whole_file
from jensen.models import VAE, BayesianLogisticRegression, GaussianMixture

from ..arms.store import slug
from ..progress import progress_display
from ..report.page import write_report
from ..report.table import table
from ..result import StudyResult
from ..study import Study
from .pictures import draw_pictures

LOGISTIC, MIXTURE, AUTOENCODER = "logistic regression", "Gaussian mixture", "autoencoder"


@dataclass(frozen=True)
class Demo:
    """What a demo made: the results by study, the data, and the files."""

    results: dict[str, StudyResult]
    data: dict[str, Dataset]
    folder: Path
    files: dict[str, list[Path]] = field(default_factory=dict)

    @functools.cached_property
    def fits(self) -> dict[str, dict[str, Any]]:
        """The finished fits by study and method."""
        return {
            label: {method: result.fits[model, method, seed] for model, method, seed in result.fits}
            for label, result in self.results.items()
        }


def demo_studies(quick: bool = False) -> tuple[dict[str, Study], dict[str, Dataset]]:
    """Return the three studies of the demo and their data; ``quick`` takes a few steps and draws only."""

    def steps(full: int) -> int:
        return 60 if quick else full

    draws = 100 if quick else 5_000
    metrics = {
        "elbo": functools.partial(elbo_terms, num_particles=min(draws, 500)),
        "log_evidence": functools.partial(log_evidence, num_particles=draws),
        "pareto_k": functools.partial(pareto_k, num_particles=draws),
    }
    data = {LOGISTIC: breast_cancer(), MIXTURE: wine(), AUTOENCODER: threshold(digits(test_size=0.2, seed=0))}

    regression = functools.partial(SVI, steps=steps(4_000), lr=3e-2, lr_schedule=decay)
    guides = {"normal": "normal", "full covariance": "multivariate_normal", "low rank": "lowrank"}
    regressions = {f"Trace_ELBO, {label}": regression(Trace_ELBO(), guide=guide) for label, guide in guides.items()}
    regressions["TraceMeanField_ELBO, normal"] = regression(TraceMeanField_ELBO(), guide="normal")
    regressions["IWAE(10), normal"] = regression(IWAE(10), guide="normal")

    images = functools.partial(SVI, steps=steps(3_000), lr=3e-3, batch_size=128, lr_schedule=decay)
    networks = functools.partial(VAE, data_shape=64, latent_dim=8, hidden=(200,))
    common: dict[str, Any] = {"metrics": metrics, "seeds": [0]}
    studies = {
        LOGISTIC: Study(
            "breast cancer", model=BayesianLogisticRegression(30), data=data[LOGISTIC], methods=regressions, **common
        ),
        MIXTURE: Study(
            "wine",
            model=functools.partial(GaussianMixture, num_components=3, num_features=13),
            data=data[MIXTURE].select("x"),
            methods={"TraceEnum_ELBO": SVI(TraceEnum_ELBO(), steps=steps(1_000), lr=1e-2)},
            **common,
        ),
        AUTOENCODER: Study(
            "digits",
            model=networks,
            data=data[AUTOENCODER].select("x"),
            methods={"TraceMeanField_ELBO": images(TraceMeanField_ELBO()), "IWAE(10)": images(IWAE(10))},
            score_on="test",
            **common,
        ),
    }
    return studies, data


def decay(fraction: float) -> float:
    """Return the factor of the learning rate: 1 at the start of training, 0.01 at its end, on a cosine."""
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * fraction))


def run_demo(
    out: str | Path = "runs/demo", *, quick: bool = False, jobs: int = 1, progress: bool | None = None
) -> Demo:
    """Run the studies, print the table, and write pictures, NetCDF files and a page under ``out``.

    Ctrl-C keeps the finished arms; the next call goes on from there.

    Returns:
        What was made; ``files`` has the lists ``pictures``, ``posteriors`` and ``report``.
    """
    from rich.console import Console

    console, folder, started = Console(), Path(out), time.perf_counter()
    studies, data = demo_studies(quick)
    with progress_display(progress) as display:
        results: dict[str, StudyResult] = {}
        for label, study in studies.items():
            results[label] = study.run(folder / "arms", jobs=jobs, display=display)
            if results[label].interrupted:
                raise KeyboardInterrupt
    console.print(table(list(results.values())))
    made = Demo(results, data, folder)
    with console.status("writing posteriors and pictures"):
        posteriors = _posteriors(made)
        made.files["pictures"] = draw_pictures(results, made.fits, posteriors, data, folder / "pictures")
        shown: dict[str, Any] = {path.stem.replace("_", " "): path for path in made.files["pictures"]}
        page = write_report(list(results.values()), folder / "report.html", shown, title="jensen demo")
        made.files["report"] = [page]
    _say(console, made, time.perf_counter() - started)
    return made


def _posteriors(made: Demo) -> dict[str, dict[str, Any]]:
    """Write every fit as ArviZ InferenceData; return them by study and method."""
    folder = made.folder / "posteriors"
    folder.mkdir(parents=True, exist_ok=True)
    posteriors: dict[str, dict[str, Any]] = {label: {} for label in made.fits}
    made.files["posteriors"] = []
    for label, fits in made.fits.items():
        for method, fit in fits.items():
            posteriors[label][method] = fit.to_arviz(1_000 if label == LOGISTIC else 100)
            path = folder / f"{slug(made.results[label].name)}-{slug(method)}.nc"
            with whole_file(path) as temporary:
                posteriors[label][method].to_netcdf(str(temporary))
            made.files["posteriors"].append(path)
    return posteriors


def _say(console: Any, made: Demo, seconds: float) -> None:
    """Print where everything is."""
    from rich.text import Text

    where = {"pictures": "pictures", "posteriors": "posteriors", "report": "report.html", "arms": "arms"}
    about = {"posteriors": "ArviZ NetCDF", "report": "open it in a browser", "arms": "finished ones are not run again"}
    for what, name in where.items():
        count = f"{len(made.files[what])} files, " if what in ("pictures", "posteriors") else ""
        note = f"{count}{about.get(what, 'PNG')}"
        line = Text.assemble((f"{what:<11}", "bold"), printable(made.folder / name), (f"  ({note})", "dim"))
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"{seconds:.0f} seconds in all", highlight=False)
