"""Supports: what the guide draws against what the prior allows."""

from __future__ import annotations

__all__ = ["check_supports", "is_known_to_fit"]

from collections.abc import Iterator
from typing import Any

from ..supports.membership import inside
from ..supports.support_sets import covers, prior_support, support_of, support_text
from .circles import check_circle
from .finding import Finding
from .pair_sites import PairSites, class_name
from .shapes import same_place


def check_supports(pair: PairSites) -> Iterator[Finding]:
    """A draw of the guide outside the prior's support has no density; a guide that cannot reach all of it has a gap."""
    for name, (node, guide_node) in pair.shared.items():
        if same_place(node, guide_node):
            finding = check_circle(pair, name) or _moved(pair, name) or _support(name, node, guide_node)
            if finding is not None:
                yield finding


def is_known_to_fit(node: Any, guide_node: Any | None) -> bool:
    """Whether every draw of the guide has a density under the prior, by the kinds of their supports."""
    if guide_node is None or node["is_observed"]:
        return True  # observed values are looked at one by one; what is summed out is drawn from its own support
    return _fits(node, guide_node)[0] is True


def _fits(node: Any, guide_node: Any) -> tuple[bool | None, Any]:
    """Whether the guide's support is inside the prior's (None: not known, but the draw is), and the guide's support."""
    p, q = node["fn"], guide_node["fn"]
    try:
        prior = prior_support(p)
        if class_name(q) == "Delta":  # the image of a draw, or a parameter: in the support that the prior declares
            support, known = None, _if_true(covers(prior, p.support))
        elif (support := support_of(q)) is None:  # somewhere in a set that may be inside
            known = _if_true(covers(prior, q.support))
        else:
            known = covers(prior, support)
    except (NotImplementedError, RuntimeError, ValueError):
        return None, None
    drawn = inside(p, guide_node["value"]) if known is None or class_name(q) == "Delta" else None
    return False if drawn is not None and not bool(drawn[0].all()) else known, support


def _if_true(known: bool | None) -> bool | None:
    """A set around the values says something only if all of it is inside."""
    return True if known else None


def _moved(pair: PairSites, name: str) -> Finding | None:
    """A prior whose support moves needs a guide whose support moves along, wherever the two are."""
    if name not in pair.moving:
        return None
    runs = [pair, *pair.elsewhere]
    automatic = class_name(pair.guide[name]["fn"]) == "Delta" and name not in pair.still  # its transform was built once
    if not automatic and not any(
        name in run.model and name in run.guide and _fits(run.model[name], run.guide[name])[0] is False for run in runs
    ):
        return None
    return Finding(
        "moving-support",
        name,
        f"The support of `{name}` in the model depends on {pair.moving[name]}, and the guide's does not move along: "
        f"its draws outside have no density.",
        f"Sample a latent whose support stays, such as `u ~ Uniform(0, 1)`, and compute `{name}` from it (`low + (high "
        f"- low) * u`); or write a guide with the model's support.",
    )


def _support(name: str, node: Any, guide_node: Any) -> Finding | None:
    p, q = node["fn"], guide_node["fn"]
    known, support = _fits(node, guide_node)
    if known is False:
        reach = support_text(q.support if support is None else support)
        prior = prior_support(p)
        return Finding(
            "support-mismatch",
            name,
            f"The guide draws `{name}` from a {class_name(q)} ({reach}), but the model's {class_name(p)} only has the "
            f"support: {support_text(prior)}. Draws outside it have no density, so the bound is -inf or wrong.",
            _cure(prior),
        )
    if support is not None and covers(support, prior_support(p)) is False:
        return Finding(
            "narrow-guide",
            name,
            f"The guide's {class_name(q)} for `{name}` ({support_text(support)}) cannot reach all of the prior's "
            f"support ({support_text(prior_support(p))}).",
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
