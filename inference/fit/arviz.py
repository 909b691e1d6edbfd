"""A fit as ArviZ's InferenceData: posterior, pointwise log likelihood of the same draws, data and provenance."""

from __future__ import annotations

__all__ = ["to_arviz", "versions"]

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import DataError
from ..options import check_count
from ..pair.eval_mode import evaluation_mode
from ..pair.messengers.minibatch import DATA_PLATE
from ..pair.signature import read_signature
from ..seeding import derive_seed
from .arviz_groups import Labelled, as_inference_data
from .draw_densities import draw_densities, has_densities
from .draws import pick, pieces, posterior_draws, refuse_too_many, run_model
from .latent_draws import LatentDraws
from .model_outline import Outline
from .pointwise import data_plate, pointwise
from .record import FitRecord
from .row_dependence import given_rows

if TYPE_CHECKING:
    import arviz


_NUMBERS_KEPT = 10_000_000


def versions() -> dict[str, str]:
    """Versions of jensen and of what computes for it, for records."""
    found = {}
    for package in ("jensen", "torch", "pyro-ppl", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def to_arviz(fit: FitRecord, num: int, seed: int, data: Any, log_likelihood: bool | None) -> arviz.InferenceData:
    """See :meth:`Fit.to_arviz`."""
    num = check_count("num", num)
    if fit.draws is None:
        refuse_too_many(num, lambda: posterior_draws(fit, 1, data, seed))
    held, own = _held(fit, data)
    if held is None and (log_likelihood or not _has_global(fit)):
        raise DataError("`data` must be given: this fit does not hold its training data (see `Fit.save`).")
    if log_likelihood is None:
        log_likelihood = held is not None and num * _length(held) <= _NUMBERS_KEPT
    drawn = _draw(fit, held, own, num, seed, bool(log_likelihood))
    chains = int(fit.info.get("chains", 1)) if fit.draws is not None and num == _length(fit.draws) else 1
    stats = _stats(fit, num) | drawn.densities
    seen = {*read_signature(fit.model).observed, *(site.name for site in fit.structure.select("observed"))}
    groups: dict[str, dict[str, Labelled]] = {
        "posterior": {name: _by_chain(value, chains) for name, value in drawn.posterior.items()},
        "log_likelihood": {name: _by_chain(value, chains) for name, value in drawn.pointwise.items()},
        "sample_stats": {name: _by_chain((value, []), chains) for name, value in stats.items()},
        "observed_data": {n: (v, [drawn.data_plate]) for n, v in (held or {}).items() if n in seen},
        "constant_data": {n: (v, [drawn.data_plate]) for n, v in (held or {}).items() if n not in seen},
    }
    return as_inference_data(groups, attributes(fit, seed))  # type: ignore[no-any-return]


def _stats(fit: FitRecord, num: int) -> dict[str, Tensor]:
    """What a method that samples says of its draws, where they are all asked for."""
    return dict(fit.sample_stats or {}) if fit.draws is not None and num == _length(fit.draws) else {}


def _held(fit: FitRecord, data: Any) -> tuple[dict[str, Tensor] | None, bool]:
    if data is None and fit.data is None:
        return None, True
    with evaluation_mode(fit.program, 0), fit.program.environment():
        return given_rows(fit, data)


def attributes(fit: FitRecord, seed: int) -> dict[str, Any]:
    """What the file says of where it comes from: text and numbers only."""
    return {
        "inference_library": "jensen",
        "method": fit.method,
        "objective": _name(fit.config.get("objective")),
        "guide": _name(fit.config.get("guide")) if fit.config.get("guide") else type(fit.guide).__name__,
        "model": getattr(fit.model, "__name__", type(fit.model).__name__),
        "seed": fit.seed,
        "draw_seed": seed,
        "status": fit.status,
        "data_size": fit.data_size,
        "versions": json.dumps(dict(fit.info.get("versions") or versions())),
    }


@dataclass(frozen=True)
class _Drawn:
    """What was drawn, each value with the names of its axes after the first; densities of the draws; the data plate."""

    posterior: dict[str, Labelled]
    pointwise: dict[str, Labelled]
    densities: dict[str, Tensor]
    data_plate: str


def _draw(
    fit: FitRecord, held: dict[str, Tensor] | None, own: bool, num: int, seed: int, log_likelihood: bool
) -> _Drawn:
    """Draws of the latents and, of the same draws, each datum's log likelihood."""
    program = fit.program
    stored = None if fit.draws is None else pick(fit.draws, num)
    with evaluation_mode(program, derive_seed(seed, "arviz")), program.environment():
        weighed = log_likelihood and own and has_densities(fit)
        latents = LatentDraws(fit, held, own, stored=stored, auxiliary=weighed)
        seen = latents.outline()
        kept = _kept(latents, seen, num)
        if not log_likelihood and not latents.alone and not any(seen.is_local(n) or n in seen.computed for n in kept):
            latents = LatentDraws(fit, None, own, stored=stored)  # they do not need all the data
        plate = DATA_PLATE if held is None else data_plate(program, latents.batch, seen)
        values: dict[str, list[Tensor]] = {}
        likelihood: dict[str, list[Tensor]] = {}
        densities: list[tuple[Tensor, Tensor]] = []
        for start, count in pieces(num, latents.num_numbers()):
            part = latents.draw(start, count)
            if weighed:
                densities.append(draw_densities(program, latents.batch, part, count))
            part |= run_model(fit.program, latents.batch, part, count, [n for n in kept if n in seen.computed])
            for name in kept:
                values.setdefault(name, []).append(part[name])
            if log_likelihood:
                known = {n: part[n] for n in _given(latents, seen, plate)}
                nesting = latents.structure.max_plate_nesting
                terms = pointwise(program, latents.batch, known, count, seen, plate, nesting)
                for name, term in terms.items():
                    likelihood.setdefault(name, []).append(term)
    plates: list[str | None] = [plate or DATA_PLATE]
    return _Drawn(
        {name: _squeezed(torch.cat(parts), seen.axes(name)) for name, parts in values.items()},
        {name: (torch.cat(parts), plates[: parts[0].dim() - 1]) for name, parts in likelihood.items()},
        {name: torch.cat(parts) for name, parts in zip(("log_p", "log_q"), zip(*densities, strict=True), strict=False)},
        plate or DATA_PLATE,
    )


def _kept(latents: LatentDraws, seen: Outline, num: int) -> list[str]:
    """Names of what the posterior group holds: latents, and values computed from them; those of the data where small.

    A fit that does not hold its data has stored draws of local latents all the same.
    """
    drawn = {site.name for site in latents.sites}
    names = [name for name in seen.latents if name in drawn]
    if latents.alone:
        return [n for n in names if not seen.is_local(n) or n in (latents.stored or {})] + latents.shared_values()
    small = {name: num * seen.nodes[name]["value"].numel() <= _NUMBERS_KEPT for name in [*names, *seen.computed]}
    return [name for name in small if small[name] or (name in names and not seen.is_local(name))]


def _given(latents: LatentDraws, seen: Outline, plate: str | None) -> list[str]:
    """The latents that a log likelihood is conditional on: all but the summed-out ones of the data plate."""
    summed = {site.name for site in latents.sites if site.enumerated == "model"}
    names = [site.name for site in latents.sites if site.name in seen.latents]
    inside = {n for n in summed if any(f.name == plate for f in seen.nodes[n]["cond_indep_stack"])} if plate else set()
    return [name for name in names if name not in inside]


def _has_global(fit: FitRecord) -> bool:
    return fit.draws is not None or any(not s.enumerated for s in fit.structure.select("latent", local=False))


def _length(tensors: Mapping[str, Tensor]) -> int:
    return len(next(iter(tensors.values())))


def _squeezed(value: Tensor, axes: list[str | None]) -> Labelled:
    """A value ``(num, …)`` without its axes of size one that belong to no plate."""
    for axis in reversed(range(len(axes))):
        if axes[axis] == "":
            value = value.squeeze(axis + 1)
    return value, [name for name in axes if name != ""]


def _by_chain(labelled: Labelled, chains: int) -> Labelled:
    value, axes = labelled
    return value.reshape(chains, -1, *value.shape[1:]), axes


def _name(value: Any) -> str:
    """A configuration's value as a short text."""
    if isinstance(value, dict):
        return str(value.get("$type") or value.get("name") or json.dumps(value, sort_keys=True, default=str))
    return "" if value is None else str(value).rsplit(":", 1)[-1]
