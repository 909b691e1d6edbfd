"""Supports: what the guide draws against what the prior allows."""

from __future__ import annotations

__all__ = ["check_supports"]

from collections.abc import Iterator
from typing import Any

from .finding import Finding
from .pair_sites import PairSites, class_name
from .shapes import same_place
from .support_sets import covers, support_of, support_text


def check_supports(pair: PairSites) -> Iterator[Finding]:
    """A draw of the guide outside the prior's support has no density; a guide that cannot reach all of it has a gap."""
    for name, (node, guide_node) in pair.shared.items():
        if same_place(node, guide_node):
            finding = _support(name, node["fn"], guide_node["fn"], guide_node["value"])
            if finding is not None:
                yield finding


def _support(name: str, p: Any, q: Any, draw: Any) -> Finding | None:
    try:
        prior, support = p.support, None if class_name(q) == "Delta" else support_of(q)
        known = None if support is None else covers(prior, support)
        if known is None and not bool(prior.check(draw).all()):
            known = False
    except (NotImplementedError, RuntimeError, ValueError):
        return None
    if known is False:
        reach = support_text(q.support if support is None else support)
        return Finding(
            "support-mismatch",
            name,
            f"The guide draws `{name}` from a {class_name(q)} ({reach}), but the model's {class_name(p)} only has the "
            f"support: {support_text(prior)}. Draws outside it have no density, so the bound is -inf or wrong.",
            _cure(prior),
        )
    if support is not None and covers(support, prior) is False:
        return Finding(
            "narrow-guide",
            name,
            f"The guide's {class_name(q)} for `{name}` ({support_text(support)}) cannot reach all of the prior's "
            f"support ({support_text(prior)}).",
            "The bound stays a bound, but with a gap that no fit can close. Use a guide with the prior's support.",
            severity="warning",
        )
    return None


def _cure(prior: Any) -> str:
    if prior.is_discrete:
        return (
            "Leave the site out of the guide, so that it is summed out, or sample it from a distribution over the same "
            "values."
        )
    words = support_text(prior)
    if words == "positive":
        return "Use a LogNormal, a Gamma, or `TransformedDistribution(Normal(…), ExpTransform())` in the guide."
    if words == "simplex":
        return "Use a Dirichlet, or a Normal through `StickBreakingTransform()`, in the guide."
    return (
        "Use a distribution with that support in the guide: `TransformedDistribution(Normal(…), "
        "biject_to(prior.support))` always has it."
    )
