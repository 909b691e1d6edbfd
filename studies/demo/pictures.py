"""The pictures of the demo, one PNG each."""

from __future__ import annotations

__all__ = ["draw_pictures"]

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from jensen.datasets import Dataset

from ..pictures import (
    bound_against_time,
    evidence,
    mixture_ellipses,
    posterior_forest,
    posterior_pair,
    save,
)
from ..pictures.autoencoders import latent_map, reconstructions, samples
from ..result import StudyResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_Fits = dict[str, Any]  # by method
_Pictures = Iterator[tuple[str, "Figure"]]


def draw_pictures(
    results: Mapping[str, StudyResult],
    fits: Mapping[str, _Fits],
    posteriors: Mapping[str, _Fits],
    data: Mapping[str, Dataset],
    folder: Path,
) -> list[Path]:
    """Draw what the finished arms allow and return the files, named after what they show."""
    drawings: tuple[Callable[[_Fits, _Fits, Dataset], _Pictures], ...] = (_regression, _mixture, _images)
    paths = []
    for (label, result), draw in zip(results.items(), drawings, strict=True):
        if not fits[label]:
            continue
        own = draw(fits[label], posteriors[label], data[label])
        for name, picture in (*_comparison(result, fits[label], label), *own):
            paths.append(folder / f"{name}.png")
            save(picture, paths[-1])
    return paths


def _comparison(result: StudyResult, fits: _Fits, label: str) -> _Pictures:
    """Yield what every study has."""
    name = result.name.replace(" ", "_")
    histories = {method: [fit.history] for method, fit in fits.items()}
    title = f"{label.capitalize() if label[0].islower() else label} on {result.name}"
    yield f"{name}_bound_against_time", bound_against_time(histories, title=f"{title}: bound against time")
    frame = result.frame
    if len(histories) > 1 and "log_evidence_per_datum" in frame:
        yield f"{name}_evidence", evidence(frame[frame["status"] == "finished"], title=f"{title}: bound and evidence")


def _regression(fits: _Fits, posteriors: _Fits, data: Dataset) -> _Pictures:
    title = "Breast cancer: weights of the features (positive: benign)"
    yield "breast_cancer_forest", posterior_forest(posteriors, "w", data.feature_names, title=title)
    chosen = _correlated(next((p for m, p in posteriors.items() if "full" in m), next(iter(posteriors.values()))))
    few = {method: posterior for method, posterior in posteriors.items() if method.startswith("Trace_ELBO")}
    title = "Breast cancer: joint posterior of four correlated weights"
    yield "breast_cancer_pairs", posterior_pair(few or posteriors, "w", chosen, data.feature_names, title=title)


def _correlated(posterior: Any, count: int = 4) -> list[int]:
    """Return the coordinates that are most correlated with others, as the two strongest separate pairs."""
    draws = torch.as_tensor(posterior.posterior["w"].to_numpy()).flatten(0, 1)
    strength = torch.corrcoef(draws.mT).abs().triu(1)
    chosen: list[int] = []
    for index in strength.flatten().argsort(descending=True).tolist():
        pair = divmod(index, len(strength))
        if not set(pair) & set(chosen):
            chosen.extend(pair)
        if len(chosen) >= count:
            break
    return chosen


def _mixture(fits: _Fits, posteriors: _Fits, data: Dataset) -> _Pictures:
    model = next(iter(fits.values())).model
    x, y = data.train["x"], data.train["y"]
    with torch.no_grad():
        names = [f"cultivar {index + 1}" for index in range(data.num_classes)]
        title = "Wine: mixture components and the known cultivars"
        yield "wine_ellipses", mixture_ellipses(x, model.means, model.covariance, model.weights, y, names, title=title)


@torch.no_grad()
def _images(fits: _Fits, posteriors: _Fits, data: Dataset) -> _Pictures:
    assert data.test is not None
    x, y = data.test["x"], data.test["y"]
    first = [int((y == label).nonzero()[0]) for label in range(10)]
    models = {method: fit.model for method, fit in fits.items()}
    yield "digits_reconstructions", reconstructions(models, x[first], title="Digits: test images, reconstructed")
    for method, model in models.items():
        title = f"Digits: samples of the prior, decoded ({method})"
        yield f"digits_samples_{method.split('(')[0]}", samples(model, title=title)
    method, model = next(iter(models.items()))
    every = {key: torch.cat([batch[key] for _, batch in data.splits()]) for key in ("x", "y")}
    title = f"Digits: map of the latent space ({method})"
    yield "digits_latent_map", latent_map(model, every["x"], every["y"], title=title)
