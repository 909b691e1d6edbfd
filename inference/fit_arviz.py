"""A fit as ArviZ's InferenceData: posterior, pointwise log likelihood of the same draws, data and provenance."""

from __future__ import annotations

__all__ = ["to_arviz", "versions"]

import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import DataError
from .fit_context import drawing, ready
from .fit_draws import check_count, particles_at_once, pick, pieces
from .program import Program
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


def to_arviz(fit: Fit, num: int, seed: int, log_likelihood: bool | None) -> arviz.InferenceData:
    """See :meth:`Fit.to_arviz`."""
    import arviz

    num = check_count("num", num)
    if fit.data is None:
        if log_likelihood:
            raise DataError("`log_likelihood` needs the training data, which this fit does not hold (see `Fit.save`).")
        log_likelihood = False
    if log_likelihood is None:
        log_likelihood = num * fit.data_size <= _NUMBERS_KEPT
    if fit.data is None:
        posterior: dict[str, Tensor] = fit.posterior(num, seed=seed) if _has_global(fit) else {}
        pointwise: dict[str, Tensor] = {}
    else:
        posterior, pointwise = _draw(fit, num, seed, log_likelihood)
    whole = fit.draws is not None and num == len(next(iter(fit.draws.values())))
    chains = int(fit.info.get("chains", 1)) if whole else 1
    groups: dict[str, Any] = {"posterior": {name: _by_chain(value, chains) for name, value in posterior.items()}}
    if pointwise:
        groups["log_likelihood"] = {name: _by_chain(value, chains) for name, value in pointwise.items()}
    if fit.data is not None:
        seen = {*read_signature(fit.model).observed, *(site.name for site in fit.structure.select("observed"))}
        for group, member in (("observed_data", True), ("constant_data", False)):
            part = {name: value.cpu().numpy() for name, value in fit.data.items() if (name in seen) == member}
            if part:
                groups[group] = part
    local = {site.name for site in fit.structure.sites.values() if site.local}
    dims = {name: ["data"] for name in {*local, *(fit.data or {}), *pointwise} if name}
    result: arviz.InferenceData = arviz.from_dict(**groups, dims=dims, attrs=attributes(fit, seed))
    return result


def attributes(fit: Fit, seed: int) -> dict[str, Any]:
    """What the file says of where it comes from: text and numbers only."""
    return {
        "inference_library": "jensen",
        "method": fit.method,
        "objective": _name(fit.config.get("objective")),
        "guide": _name(fit.config.get("guide")) if fit.config.get("guide") else type(fit.guide).__name__,
        "model": type(fit.model).__name__,
        "seed": fit.seed,
        "draw_seed": seed,
        "status": fit.status,
        "data_size": fit.data_size,
        "versions": json.dumps(dict(fit.info.get("versions") or versions())),
    }


def _draw(fit: Fit, num: int, seed: int, log_likelihood: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Draws of the latents and, of the same draws, each datum's log likelihood."""
    program: Program = drawing(fit.program)
    given = None if fit.draws is None else pick(fit.draws, num)
    with ready(program, seed):
        batch = fit.batch()
        structure = program.structure(batch)
        kept = [site for site in structure.select("latent") if site.enumerated != "model"]
        if not log_likelihood:
            if given is not None:
                return given, {}
            if any(not site.local for site in kept):
                return fit.posterior(num, seed=seed), {}
        values: dict[str, list[Tensor]] = {}
        pointwise: dict[str, list[Tensor]] = {}
        for start, count in pieces(num, particles_at_once(batch)):
            part = None if given is None else {name: draw[start : start + count] for name, draw in given.items()}
            piece = derive_seed(seed, "arviz", start)
            terms = evaluate(program, batch, num_particles=count, seed=piece, values=part)
            for site in kept:
                value = terms.values[site.name]
                if not site.local or num * value[0].numel() <= _NUMBERS_KEPT:
                    values.setdefault(site.name, []).append(value)
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


def _by_chain(value: Tensor, chains: int) -> Any:
    return value.reshape(chains, -1, *value.shape[1:]).cpu().numpy()


def _name(value: Any) -> str:
    """A configuration's value as a short text."""
    if isinstance(value, dict):
        return str(value.get("$type") or value.get("name") or json.dumps(value, sort_keys=True, default=str))
    return "" if value is None else str(value).rsplit(":", 1)[-1]
