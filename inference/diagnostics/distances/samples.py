"""Draws to compare: of a fit, of a dict, of a target; and what each of them says of its latents."""

from __future__ import annotations

__all__ = ["Samples", "reference_samples", "samples_of"]

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jensen.datasets.targets import Target

from ...errors import ConfigurationError
from ...fit.record import FitRecord
from ...pair.findings.circles import CIRCULAR
from ...run.convergence import CONVERGED
from ...tensors import Tensors
from .rows import check_draws


@dataclass(frozen=True)
class Samples:
    """Draws by name and what is known of them.

    Attributes:
        what: in words, such as ``"SVI"``.
        draws: ``(S, …)`` by name, of a floating type or not.
        chains: how many follow one another.
        independent: whether draws do not depend on each other.
        discrete: names of sites that are.
        circular: names of angles.
    """

    what: str
    draws: Tensors
    chains: int = 1
    independent: bool = False
    discrete: frozenset[str] = frozenset()
    circular: frozenset[str] = frozenset()


def samples_of(what: str, source: Any, data: Any, num: int, seed: int) -> Samples:
    """The draws of a fit (all of a chain's, `num` of a guide's) or of a dict.

    Raises:
        ConfigurationError: `source` is neither.
        DataError: the draws cannot be used, or data are needed.
    """
    if isinstance(source, FitRecord):
        count = len(next(iter(source.draws.values()))) if source.draws else num
        draws = check_draws(what, source.posterior(count, data=data, seed=seed))  # type: ignore[attr-defined]
        sites = source.structure.sites
        kinds = {
            "discrete": frozenset(name for name in draws if name in sites and sites[name].support.is_discrete),
            "circular": frozenset(name for name in draws if name in sites and sites[name].distribution in CIRCULAR),
        }
        chains = int(source.info["chains"]) if source.has_chains else 1
        return Samples(source.method, draws, chains, not source.has_chains, **kinds)
    if isinstance(source, Mapping):
        return Samples("given draws", check_draws(what, source))
    kind = "None" if source is None else f"a {type(source).__name__}"
    raise ConfigurationError(f"`{what}` must be a Fit, or draws as a dict, got {kind}.")


def reference_samples(reference: Any, data: Any, num: int, seed: int, require_converged: bool) -> Samples | None:
    """The draws of a reference; None of a target that has moments alone.

    Raises:
        ConfigurationError: as :func:`samples_of`; a fit whose draws are not a chain's, or have not converged.
    """
    if isinstance(reference, Target):
        if reference.sampler is None:
            return None
        found = Samples(reference.name, check_draws("reference", reference.draws(num, seed=seed)))
        return replace(found, independent=True)
    if isinstance(reference, FitRecord):
        _check_reference(reference, require_converged)
    return samples_of("reference", reference, data, num, seed)


def _check_reference(fit: FitRecord, require_converged: bool) -> None:
    if not fit.has_chains:
        raise ConfigurationError(
            f"`reference` is a fit by {fit.method}, an approximation itself. Pass a fit by NUTS, or say that its draws "
            "are to be the reference: `reference=other.posterior(4_000)`."
        )
    if require_converged and fit.status != CONVERGED:
        said = fit.info.get("convergence", {})
        reason = said.get("reason", "") if isinstance(said, Mapping) else ""
        raise ConfigurationError(
            f"`reference` has not converged: it is {fit.status!r}{f' ({reason})' if reason else ''}. Take more steps "
            "and warm-up, or pass `require_converged=False` to compare with it all the same."
        )
