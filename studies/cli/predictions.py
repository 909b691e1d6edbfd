"""What a fit says of rows, as a table: classes, components, latents, means of what it observes, and evidence."""

from __future__ import annotations

__all__ = ["Predictions", "predict_rows"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from jensen.inference import log_evidence, marginals
from jensen.inference.errors import DataError, JensenError
from jensen.inference.pair.signature import read_signature
from jensen.models.protocols import (
    HasEmbedding,
    HasLogPredictive,
    HasPrediction,
    HasProbabilities,
    HasResponsibilities,
)

from ..data.labels import label_name

_NUMBERS_AT_ONCE = 2**24
Columns = dict[str, Any]


@dataclass
class Predictions:
    """Columns ``(N,)`` by name, and lines about them for a person."""

    columns: Columns
    notes: list[str] = field(default_factory=list)


def predict_rows(
    fit: Any,
    batch: Mapping[str, Tensor],
    *,
    argument: str = "x",
    classes: Mapping[str, Sequence[str]] | None = None,
    particles: int = 1_000,
    seed: int = 0,
) -> Predictions:
    r"""Return what the fit says of each row of `batch`.

    A model of an outcome given inputs: the probability of each class and the likeliest, or the mean and standard
    deviation of :math:`p(y^* \mid x^*)`. A model of the rows themselves: what its own `predict` (its fitted guide's,
    where that has one) or `embed` says, else the mean of :math:`q(z \mid x)`; and, in nats, :math:`\log p(x)` of each
    row where all latents belong to rows, or the log predictive density that the model has.

    Args:
        fit: the fit.
        batch: new data by argument, in the fit's units; labels and outcomes that are there are compared with.
        argument: which argument are the features.
        classes: names of the classes, by the argument of their labels.
        particles: draws for a prediction, and for the evidence; 0 for no evidence.
        seed: of the draws.

    Raises:
        DataError: the data lack what the model needs, or do not fit it.
    """
    model, num, names = fit.model, particles or 1_000, classes or {}
    takes = read_signature(model)
    outcomes = [name for name in takes.observed if name != argument]
    if argument in takes.required and outcomes:
        held = fit.batch({name: batch[name] for name in takes.required if name in batch}, observed=False)
        found = Predictions(_outcome(fit, held, argument, outcomes[0], names, num, seed))
        _compare(found, batch.get(outcomes[0]), outcomes[0], names)
        return found
    left_out = set(names) - set(takes.required)  # labels, which are to be predicted
    held = fit.batch({name: x for name, x in batch.items() if name in takes.names and name not in left_out})
    with torch.no_grad():
        found = Predictions(_of_rows(fit, held, argument, names, num, seed))
        if particles and not getattr(model, "scored_by_loss", False):
            _add_evidence(found, fit, held, argument, particles, seed)
    for name in left_out:
        _compare(found, batch.get(name), name, names)
    if not found.columns:
        raise DataError(f"{type(model).__name__} says nothing of single rows: no latent belongs to one.")
    return found


def _outcome(
    fit: Any, held: Mapping[str, Tensor], argument: str, name: str, classes: Mapping[str, Any], num: int, seed: int
) -> Columns:
    """The distribution of the outcome, given the inputs."""
    if isinstance(fit.model, HasProbabilities):
        chance = fit.model.probabilities(held[argument], **fit.posterior(num, seed=seed)).mean(0)
        chance = torch.stack([1 - chance, chance], -1) if chance.ndim == 1 else chance
        return _shares(chance, name, classes.get(name, ()))
    sites = fit.predict(held, num, seed)
    draws = sites.get(name, next(iter(sites.values())))
    if name in classes and draws.ndim == 2:
        codes = torch.arange(len(classes[name]), device=draws.device, dtype=draws.dtype)
        return _shares((draws.unsqueeze(-1) == codes).double().mean(0), name, classes[name])
    wide = draws.double().flatten(2) if draws.ndim > 2 else draws.double()
    return _vector(wide.mean(0), f"{name} mean") | _vector(wide.std(0), f"{name} sd")


def _of_rows(
    fit: Any, held: Mapping[str, Tensor], argument: str, classes: Mapping[str, Any], num: int, seed: int
) -> Columns:
    """What the model or its guide says of its own rows."""
    model = fit.model
    owner = next((thing for thing in (fit.guide, model) if isinstance(thing, HasPrediction)), None)
    if owner is not None:
        value = owner.predict(held)
    elif isinstance(model, HasResponsibilities):
        value = model.responsibilities(held[argument], **fit.posterior(min(num, 200), seed=seed))
    elif isinstance(model, HasEmbedding):
        value = model.embed(held[argument])
    elif getattr(model, "scored_by_loss", False):
        value = model.encode(held[argument])
    else:
        return _latents(fit, held, num, seed)
    if value.ndim > 1 and value.is_floating_point() and bool((value >= 0).all()) and _sums_to_one(value):
        known = next((names for names in classes.values() if len(names) == value.shape[-1]), ())
        return _shares(value, "class" if known else "topic" if hasattr(model, "top_words") else "component", known)
    return _vector(value, "z" if value.is_floating_point() else "code" if owner is None else "state")


def _latents(fit: Any, held: Mapping[str, Tensor], num: int, seed: int) -> Columns:
    """Of the latents that belong to rows: means over draws of the guide, probabilities of the discrete ones."""
    local = [site for site in fit.structure.select("latent") if site.local]
    sites = [site for site in local if not site.enumerable]
    columns = _discrete(fit, held, [site.name for site in local if site.enumerable], num, seed)
    if not sites:
        return columns
    size = len(next(iter(held.values())))
    width = max(1, *(math.prod(site.event_shape) for site in sites))
    step = max(1, _NUMBERS_AT_ONCE // (num * width))
    means: dict[str, list[Tensor]] = {site.name: [] for site in sites}
    for start in range(0, size, step):
        draws = fit.posterior(num, {name: x[start : start + step] for name, x in held.items()}, seed)
        for site in sites:
            mean = draws[site.name].double().mean(0)
            rows = mean.dim() - len(site.event_shape) + site.data_dim
            means[site.name].append(mean.movedim(rows, 0))
    for name, parts in means.items():
        columns |= _vector(torch.cat(parts), name)
    return columns


def _discrete(fit: Any, held: Mapping[str, Tensor], names: Sequence[str], num: int, seed: int) -> Columns:
    """The likeliest value of each discrete latent of a row, and the probability of each value."""
    columns: Columns = {}
    found = marginals(fit, held, seed=seed, num_particles=min(num, 100)) if names else {}
    for name in names:
        if found[name].probs.ndim > 2 or found[name].support.ndim > 1:  # several of them in a row
            columns |= _vector(found[name].mode, name)
            continue
        values = [label_name(value) or "" for value in found[name].support.tolist()]
        shares = _shares(found[name].probs, name, values)
        columns |= {key.replace("P(", f"P({name}=") if key != name else key: column for key, column in shares.items()}
    return columns


def _add_evidence(
    found: Predictions, fit: Any, held: Mapping[str, Tensor], argument: str, particles: int, seed: int
) -> None:
    """Add a column with the log evidence or the log predictive density of each row, in nats."""
    label = "log evidence"
    try:
        if any(not site.local for site in fit.structure.select("latent")):
            label = "log predictive density"
            if callable(of_guide := getattr(fit.guide, "log_predictive", None)):
                values = of_guide(held)
            elif isinstance(fit.model, HasLogPredictive):
                values = fit.model.log_predictive(held[argument], **fit.posterior(min(particles, 200), seed=seed))
            else:
                return
        else:
            values = log_evidence(fit, held, num_particles=particles, seed=seed).details["per_datum"]
    except (JensenError, ValueError, RuntimeError, KeyError) as error:
        found.notes.append(f"{label}: none ({error})")
        return
    found.columns[label] = values.double().cpu().numpy()
    found.notes.append(f"{label}: {float(values.double().mean()):.4f} nats per row")


def _compare(found: Predictions, truth: Tensor | None, name: str, classes: Mapping[str, Sequence[str]]) -> None:
    """Add a line about how well the predictions meet what is known."""
    if truth is None:
        return
    if name in classes:
        guess = found.columns.get(name, found.columns.get("class"))
        known = [row for row, code in enumerate(truth.tolist()) if code >= 0]
        if guess is not None and known:
            hits = sum(guess[row] == classes[name][int(truth[row])] for row in known)
            found.notes.append(f"accuracy: {hits / len(known):.4f} of {len(known):,} labelled rows")
    elif f"{name} mean" in found.columns:
        error = torch.as_tensor(found.columns[f"{name} mean"]) - truth.double().cpu()
        error = error[~error.isnan()]
        if len(error):
            found.notes.append(f"root mean square error: {float(error.square().mean().sqrt()):.6g}")


def _sums_to_one(value: Tensor) -> bool:
    total = value.double().sum(-1)
    return bool(torch.allclose(total, torch.ones_like(total), atol=1e-4))


def _shares(chance: Tensor, name: str, classes: Sequence[str]) -> Columns:
    """Probabilities ``(N, C)``, with the likeliest in front."""
    labels = list(classes) if len(classes) == chance.shape[-1] else [str(code) for code in range(chance.shape[-1])]
    best = [labels[code] for code in chance.argmax(-1).tolist()]
    values = chance.double().cpu()
    return {name: best} | {f"P({label})": values[:, code].numpy() for code, label in enumerate(labels)}


def _vector(value: Tensor, name: str) -> Columns:
    """Numbers ``(N, …)``, a column each."""
    flat = value.detach().cpu().flatten(1) if value.ndim > 1 else value.detach().cpu()
    if flat.ndim == 1:
        return {name: flat.numpy()}
    return {f"{name}[{place}]": flat[:, place].numpy() for place in range(flat.shape[1])}
