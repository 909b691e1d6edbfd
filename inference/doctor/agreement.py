"""Where guide and model disagree: names, shapes, plates and supports of the sites they share."""

from __future__ import annotations

__all__ = ["check_agreement"]

import difflib
from typing import Any

from ..minibatch import DATA_PLATE
from .case import Case
from .runs import in_data_plate
from .supports import covers, support_of, support_text


def check_agreement(case: Case) -> None:
    """Compare the two runs, site by site."""
    _names(case)
    for name, (node, guide_node) in case.shared.items():
        if _shapes(case, name, node, guide_node):
            _supports(case, name, node, guide_node)


def _names(case: Case) -> None:
    model, guide = case.model_run.sites, case.guide_run.sites
    extra = [
        name
        for name, node in guide.items()
        if name not in model and not node["is_observed"] and not node["infer"].get("is_auxiliary")
    ]
    # what follows a break was not seen, so its absence says nothing
    missing = [n for n in case.latents if n not in guide] if case.guide_run.complete and case.guide is not None else []
    missing = [name for name in missing if not model[name]["fn"].has_enumerate_support]
    for name in missing:
        near = difflib.get_close_matches(name, extra, n=1, cutoff=0.5)
        if near:
            extra.remove(near[0])
            case.fault(
                "missing-site",
                name,
                f"The guide lacks the model's latent `{name}`, and samples `{near[0]}`, which the model does not have.",
                f"Rename `{near[0]}` in the guide to `{name}`.",
            )
            continue
        fn = model[name]["fn"]
        discrete, other = "", 'use an automatic guide, `SVI(…, guide="normal")`'
        if fn.support.is_discrete:
            discrete = " It is discrete without finite support, so it cannot be summed out."
            other = "marginalise it by hand"
        case.fault(
            "missing-site",
            name,
            f"The guide lacks the model's latent `{name}`.{discrete}",
            f'Add `pyro.sample("{name}", …)` to the guide, with batch shape {tuple(fn.batch_shape)} and event shape '
            f"{tuple(fn.event_shape)}; or {other}; or, if `{name}` is data, observe it with `obs=…`.",
        )
    for name in extra if case.model_run.complete else []:
        near = difflib.get_close_matches(name, list(case.latents), n=1, cutoff=0.5)
        hint = f"Rename it to `{near[0]}`" if near and near[0] not in guide else "Remove it"
        case.fault(
            "extra-site",
            name,
            f"The guide samples `{name}`, which the model does not have.",
            f'{hint}; if it is meant as an auxiliary variable, mark it `infer={{"is_auxiliary": True}}`.',
        )
    for name, node in guide.items():
        if node["is_observed"]:
            case.fault(
                "observed-in-guide",
                name,
                f"The guide observes `{name}` (`obs=`): it has nothing to observe, and the site would not count.",
                "Remove the statement from the guide, or its `obs=`.",
            )
        elif name in model and model[name]["is_observed"]:
            case.fault(
                "observed-site",
                name,
                f"The guide samples `{name}`, which the model observes.",
                f"Remove `{name}` from the guide, or do not pass data for it.",
            )


def _shapes(case: Case, name: str, node: Any, guide_node: Any) -> bool:
    """Whether the site has one shape and one place in both."""
    p, q = node["fn"], guide_node["fn"]
    inside = in_data_plate(node), in_data_plate(guide_node)
    if inside[0] != inside[1]:
        here, there = ("model", "guide") if inside[0] else ("guide", "model")
        case.fault(
            "plate-mismatch",
            name,
            f"`{name}` is inside the plate `{DATA_PLATE}` in the {here} only.",
            f"Put it inside {case.plate_cure} in the {there} too, or in neither.",
        )
        return False
    batch, event = (tuple(p.batch_shape), tuple(q.batch_shape)), (tuple(p.event_shape), tuple(q.event_shape))
    if batch[0] == batch[1] and event[0] == event[1]:
        return True
    message = (
        f"`{name}` has batch shape {batch[0]} and event shape {event[0]} in the model, but {batch[1]} and {event[1]} "
        f"in the guide."
    )
    total = [(*b, *e) for b, e in zip(batch, event, strict=True)]
    if total[0] == total[1]:
        fewer = "guide" if len(event[1]) < len(event[0]) else "model"
        number = abs(len(event[0]) - len(event[1]))
        cure = (
            f"The sizes agree, the split does not: add `.to_event({number})` to the {fewer}'s distribution"
            f"{' (on top of what it has)' if min(map(len, event)) else ''}, or a plate for those dimensions."
        )
    else:
        want = f"Make the parameters of the guide's distribution have the shape {total[0]}"
        cure = f"{want}{f', with `.to_event({len(event[0])})`' if event[0] else ''}."
    case.fault("shape-mismatch", name, message, cure)
    return False


def _supports(case: Case, name: str, node: Any, guide_node: Any) -> None:
    p, q = node["fn"], guide_node["fn"]
    is_point = _class(q) == "Delta"
    try:
        prior, support = p.support, None if is_point else support_of(q)
        known = None if support is None else covers(prior, support)
        if known is None and not bool(prior.check(guide_node["value"]).all()):
            known = False
    except (NotImplementedError, RuntimeError, ValueError):
        return
    if known is False:
        reach = support_text(q.support if support is None else support)
        case.fault(
            "support-mismatch",
            name,
            f"The guide draws `{name}` from a {_class(q)} ({reach}), but the model's {_class(p)} only has the support: "
            f"{support_text(prior)}. Draws outside it have no density, so the bound is -inf or wrong.",
            _support_cure(prior),
        )
    elif support is not None and covers(support, prior) is False:
        case.warn(
            "narrow-guide",
            name,
            f"The guide's {_class(q)} for `{name}` ({support_text(support)}) cannot reach all of the prior's support "
            f"({support_text(prior)}).",
            "The bound stays a bound, but with a gap that no fit can close. Use a guide with the prior's support.",
        )


def _support_cure(prior: Any) -> str:
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


def _class(fn: Any) -> str:
    from ..structure import _class_name

    return _class_name(fn)
