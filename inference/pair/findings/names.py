"""Names: latents that the guide lacks, sites that it should not have."""

from __future__ import annotations

__all__ = ["check_names"]

import difflib
from collections.abc import Iterator

from .finding import Finding
from .pair_sites import PairSites


def check_names(pair: PairSites) -> Iterator[Finding]:
    """Compare the names of the two programs' sites."""
    for name, node in pair.guide.items():
        if node["is_observed"]:
            yield Finding(
                "observed-in-guide",
                name,
                f"The guide observes `{name}` (`obs=`): it has nothing to observe, and the site would not count.",
                "Remove the statement from the guide, or its `obs=`.",
            )
        elif name in pair.model and pair.model[name]["is_observed"]:
            yield Finding(
                "observed-site",
                name,
                f"The guide samples `{name}`, which the model observes.",
                f"Remove `{name}` from the guide, or do not pass data for it.",
            )
    extra = _extra(pair) if pair.model_complete else []
    for name in _missing(pair):
        near = difflib.get_close_matches(name, extra, n=1, cutoff=0.5)
        if near:
            extra.remove(near[0])
            yield Finding(
                "missing-site",
                name,
                f"The guide lacks the model's latent `{name}`, and samples `{near[0]}`, which the model does not have.",
                f"Rename `{near[0]}` in the guide to `{name}`.",
            )
        else:
            yield _lacks(pair, name)
    for name in extra:
        yield Finding(
            "extra-site",
            name,
            f"The guide samples `{name}`, which the model does not have.",
            f"Remove it; or, if it is meant as an auxiliary variable, sample `{name}` in the model too, from a reverse "
            f'density given the latents; or, if latents are its images, mark it `infer={{"is_auxiliary": True}}`.',
        )


def _missing(pair: PairSites) -> list[str]:
    """Latents that are neither in the guide nor can be summed out; what follows a break says nothing."""
    if not (pair.guide_complete and pair.has_guide):
        return []
    return [n for n, node in pair.latents.items() if n not in pair.guide and not node["fn"].has_enumerate_support]


def _extra(pair: PairSites) -> list[str]:
    return [
        name
        for name, node in pair.guide.items()
        if name not in pair.model and not node["is_observed"] and not node["infer"].get("is_auxiliary")
    ]


def _lacks(pair: PairSites, name: str) -> Finding:
    fn = pair.model[name]["fn"]
    discrete, other = "", 'use an automatic guide, `SVI(…, guide="normal")`'
    if fn.support.is_discrete:
        discrete = " It is discrete without finite support, so it cannot be summed out."
        other = "marginalise it by hand"
    return Finding(
        "missing-site",
        name,
        f"The guide lacks the model's latent `{name}`.{discrete}",
        f'Add `pyro.sample("{name}", …)` to the guide, with batch shape {tuple(fn.batch_shape)} and event shape '
        f"{tuple(fn.event_shape)}; or {other}; or, if `{name}` is data, observe it with `obs=…`.",
    )
