"""The table of sites: what each is, how its KL is taken and how its gradient comes."""

from __future__ import annotations

__all__ = ["check_discrete", "site_rows", "start_terms"]

from typing import Any

import torch
from torch.distributions import Distribution

from ..pair.densities.site_densities import analytic_kl
from ..pair.findings import class_name, in_data_plate
from ..pair.site_terms import Terms
from ..pair.supports.support_sets import support_text
from ..pair.terms import evaluate
from .case import Examination
from .report import SiteRow


def start_terms(case: Examination) -> Terms | None:
    """The pair's terms at the start, with analytic KLs; None if it is at fault."""
    if case.structure is None:
        return None
    with torch.no_grad():
        try:
            return evaluate(case.program, case.batch, seed=0, analytic_kl=True)
        except Exception:  # the runs and the trial fit say what is wrong
            return None


def site_rows(case: Examination, terms: Terms | None) -> list[SiteRow]:
    """One row a site: the model's in order, then those that only the guide has."""
    model, guide = case.sites.model, case.sites.guide
    names = [*model, *(name for name in guide if name not in model)]
    return [_row(case, name, model.get(name), guide.get(name), terms) for name in names]


def _row(case: Examination, name: str, node: Any, guide_node: Any, terms: Terms | None) -> SiteRow:
    site = node or guide_node
    fn = site["fn"]
    if node is None:
        kind = "auxiliary" if guide_node["infer"].get("is_auxiliary") else "guide only"
    else:
        kind = "observed" if node["is_observed"] else "latent"
    frames = sorted((f for f in site["cond_indep_stack"]), key=lambda f: f.dim or 0)
    gradient = _gradient(case, kind, node, guide_node)
    kl, note = _kl(case, name, kind, gradient, node, guide_node, terms)
    try:
        support = support_text(fn.support)
    except NotImplementedError:
        support = "unknown"
    return SiteRow(
        name=name,
        kind=kind,
        scope="local" if in_data_plate(site) else "global",
        plates=tuple((frame.name, frame.size) for frame in frames),
        batch_shape=tuple(fn.batch_shape),
        event_shape=tuple(fn.event_shape),
        support=support,
        model="" if node is None else class_name(fn),
        guide="" if guide_node is None else class_name(guide_node["fn"]),
        kl=kl,
        gradient=gradient,
        note=note,
    )


def _gradient(case: Examination, kind: str, node: Any, guide_node: Any) -> str:
    if kind == "observed":
        return ""
    if guide_node is None:
        enumerable = node["fn"].has_enumerate_support
        return "enumerated in model" if enumerable and case.sites.has_guide else "missing"
    if guide_node["infer"].get("enumerate") == "parallel":
        return "enumerated in guide"
    return "pathwise" if guide_node["fn"].has_rsample else "score function"


def _kl(
    case: Examination, name: str, kind: str, gradient: str, node: Any, guide_node: Any, terms: Terms | None
) -> tuple[str, str]:
    if kind == "observed" or gradient == "missing":
        return "", ""
    if gradient == "enumerated in model":
        return "summed out", ""
    if gradient == "enumerated in guide":
        return "exact average", ""
    if node is None:
        return "Monte Carlo", "only the guide has it"
    known = terms.sites.get(name) if terms is not None else None
    if known is not None and known.kl is not None:
        return ("analytic" if bool(torch.isfinite(known.kl).all()) else "not finite"), ""
    if known is None and terms is None and _closed_form(node, guide_node):
        return "analytic", ""
    return "Monte Carlo", _why(case, name, node, guide_node)


def _closed_form(node: Any, guide_node: Any) -> bool:
    try:
        return analytic_kl(guide_node, node) is not None
    except (NotImplementedError, RuntimeError, ValueError):
        return False


def _why(case: Examination, name: str, node: Any, guide_node: Any) -> str:
    p, q = class_name(node["fn"]), class_name(guide_node["fn"])
    if q == "Delta":
        return "the guide draws it through a transform"
    if not _closed_form(node, guide_node):
        if node["mask"] is not None or guide_node["mask"] is not None:
            return "it is masked"
        return f"no closed form for {q} against {p}"
    guide = case.sites.guide
    if any(site["infer"].get("enumerate") == "parallel" for site in guide.values()) or any(
        latent not in guide for latent in case.sites.latents
    ):
        return "beside enumerated latents every term is evaluated at the draw"
    return "the model conditions it on a latent that the guide draws later"


def check_discrete(case: Examination) -> None:
    """Warn of draws whose gradient needs the score function."""
    for name, (node, guide_node) in case.sites.shared.items():
        fn: Distribution = guide_node["fn"]
        if getattr(fn, "has_rsample", False) or guide_node["infer"].get("enumerate") == "parallel":
            continue
        kind = class_name(guide_node["fn"])
        if node["fn"].has_enumerate_support:
            case.warn(
                "score-function",
                name,
                f"The guide samples the discrete latent `{name}` ({kind}), whose gradient then comes from the score "
                f"function, with high variance.",
                f'Leave `{name}` out of the guide, so that it is summed out exactly; or mark it `infer={{"enumerate": '
                f'"parallel"}}` there, so that its expectation is exact.',
            )
        else:
            case.warn(
                "score-function",
                name,
                f"The guide's {kind} for `{name}` has no pathwise gradient: the score function has high variance.",
                "Use a reparameterised distribution, or `Trace_ELBO` with many particles.",
            )
