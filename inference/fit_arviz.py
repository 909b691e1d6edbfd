"""A fit as ArviZ's InferenceData: posterior, pointwise log likelihood of the same draws, data and provenance."""

from __future__ import annotations

__all__ = ["to_arviz", "versions"]

import json
import math
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .draw_limits import refuse_too_many
from .errors import DataError
from .fit_context import drawing, ready
from .fit_draws import check_count, particles_at_once, pick, pieces
from .program import Program, Site
from .seeding import derive_seed
from .signature import read_signature
from .terms import Terms, evaluate

if TYPE_CHECKING:
    import arviz

    from .fit import Fit

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


def to_arviz(fit: Fit, num: int, seed: int, data: Any, log_likelihood: bool | None) -> arviz.InferenceData:
    """See :meth:`Fit.to_arviz`."""
    import arviz

    num = check_count("num", num)
    if fit.draws is None:
        refuse_too_many(num, lambda: fit.posterior(1, data, seed))
    held = fit.batch(data) if data is not None or fit.data is not None else None
    if held is None:
        if log_likelihood or not _has_global(fit):
            raise DataError("`data` must be given: this fit does not hold its training data (see `Fit.save`).")
        posterior = fit.posterior(num, seed=seed)
        pointwise: dict[str, Tensor] = {}
    else:
        if log_likelihood is None:
            log_likelihood = num * _length(held) <= _NUMBERS_KEPT
        posterior, pointwise = _draw(fit, held, num, seed, log_likelihood)
    whole = fit.draws is not None and num == _length(fit.draws)
    chains = int(fit.info.get("chains", 1)) if whole else 1
    groups: dict[str, Any] = {}
    for group, tensors in (("posterior", posterior), ("log_likelihood", pointwise)):
        if tensors:
            groups[group] = {name: _by_chain(value, chains) for name, value in tensors.items()}
    seen = {*read_signature(fit.model).observed, *(site.name for site in fit.structure.select("observed"))}
    for group, member in (("observed_data", True), ("constant_data", False)):
        part = {name: value.cpu().numpy() for name, value in (held or {}).items() if (name in seen) == member}
        if part:
            groups[group] = part
    local = {site.name for site in fit.structure.sites.values() if site.local}
    dims = {name: ["data"] for name in {*local, *(held or {}), *pointwise}}
    result: arviz.InferenceData = arviz.from_dict(**groups, dims=dims, attrs=attributes(fit, seed))
    return result


def attributes(fit: Fit, seed: int) -> dict[str, Any]:
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


def _draw(
    fit: Fit, batch: dict[str, Tensor], num: int, seed: int, log_likelihood: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Draws of the latents and, of the same draws, each datum's log likelihood."""
    program: Program = drawing(fit.program)
    given = None if fit.draws is None else pick(fit.draws, num)
    with ready(program, seed):
        structure = program.structure(batch)
        latents = [site for site in structure.select("latent") if site.enumerated != "model"]
        kept = [site.name for site in latents if not site.local or num * _numel(site) <= _NUMBERS_KEPT]
        if not log_likelihood:
            if given is not None or not kept:
                return given or {}, {}
            if any(not site.local for site in latents):
                return fit.posterior(num, seed=seed), {}
        values: dict[str, list[Tensor]] = {}
        pointwise: dict[str, list[Tensor]] = {}
        for start, count in pieces(num, particles_at_once(batch)):
            part = None if given is None else {name: draw[start : start + count] for name, draw in given.items()}
            piece = derive_seed(seed, "arviz", start)
            terms = evaluate(program, batch, num_particles=count, seed=piece, values=part)
            for name in kept:
                values.setdefault(name, []).append(terms.values[name])
            for name, term in _pointwise(terms).items():
                pointwise.setdefault(name, []).append(term)
    joined = {name: torch.cat(parts) for name, parts in values.items()}
    return joined, {name: torch.cat(parts) for name, parts in pointwise.items()} if log_likelihood else {}


def _pointwise(terms: Terms) -> dict[str, Tensor]:
    """``log p(x_n | z)`` by observed site; sites of a group whose discrete latents were summed out share one entry."""
    found: dict[str, Tensor] = {}
    observed = [site.name for site in terms.structure.select("observed")]
    for name, site in terms.sites.items():
        if site.log_p is None:
            continue
        if site.kind == "observed":
            found[name] = site.log_p
        elif site.kind == "marginal" and site.local:
            alone = [other for other in observed if other not in terms.sites]
            found["_".join(alone) or name] = site.log_p
    return found


def _has_global(fit: Fit) -> bool:
    return fit.draws is not None or any(not s.enumerated for s in fit.structure.select("latent", local=False))


def _numel(site: Site) -> int:
    return math.prod((*site.batch_shape, *site.event_shape))


def _length(tensors: Mapping[str, Tensor]) -> int:
    return len(next(iter(tensors.values())))


def _by_chain(value: Tensor, chains: int) -> Any:
    return value.reshape(chains, -1, *value.shape[1:]).cpu().numpy()


def _name(value: Any) -> str:
    """A configuration's value as a short text."""
    if isinstance(value, dict):
        return str(value.get("$type") or value.get("name") or json.dumps(value, sort_keys=True, default=str))
    return "" if value is None else str(value).rsplit(":", 1)[-1]
