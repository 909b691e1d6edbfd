"""The densities at the start: finite."""

from __future__ import annotations

__all__ = ["check_densities"]

from typing import Any

import torch

from ..pair.densities.site_densities import log_prob_of
from ..pair.recorded_run import Run, run
from ..pair.supports.membership import inside
from .case import Examination
from .failures import first_line

_SEEDS = (0, 1, 2)


def check_densities(case: Examination) -> None:
    """Evaluate every site's density at a few draws of the guide; name the first that is not finite, and why."""
    owner = [*case.program.named_parameters()]
    for name, parameter in owner:
        if not bool(torch.isfinite(parameter).all()):
            case.fault(
                "non-finite",
                name,
                f"The parameter `{_short(name)}` starts with a value that is not finite.",
                "Give it a finite start.",
            )
    bad_sites: set[str] = set()
    for seed in _SEEDS:
        guide = run(case.program, case.program.guide, case.batch, seed=seed)
        draws = {name: site["value"] for name, site in guide.sites.items() if not site["is_observed"]}
        model = run(case.program, case.program.model, case.batch, seed=seed, values=draws, force=True)
        for who, record in (("guide", guide), ("model", model)):
            for name, site in record.sites.items():
                if name not in bad_sites and _check(case, who, record, name, site):
                    bad_sites.add(name)


def _check(case: Examination, who: str, record: Run, name: str, site: Any) -> bool:
    """Report the site if its density is not finite; whether it was."""
    fn, value = site["fn"], site["value"]
    if (who == "guide" and site["is_observed"]) or case.has("support-mismatch", where=name):
        return False
    if site["is_observed"] and case.has("data"):
        return True  # the data were found at fault already
    try:
        with torch.no_grad():
            log_prob = log_prob_of(site)
    except (RuntimeError, ValueError, IndexError, NotImplementedError) as error:
        if not case.has("program", "data-shape", where=name):
            case.fault(
                "non-finite",
                name,
                f"The density of `{name}` in the {who} cannot be evaluated: {first_line(error)}",
                "Compare the shapes of its value, its parameters and the plates around it.",
            )
        return True
    if bool(torch.isfinite(log_prob).all()):
        return False
    bad = int((~torch.isfinite(log_prob)).sum())
    case.fault(
        "non-finite",
        name,
        f"`log {'p' if who == 'model' else 'q'}` of `{name}` is not finite at the start ({bad} of {log_prob.numel()} "
        f"terms){_reason(fn, value)}.",
        "Check its scale and its start; keep scales away from 0 (`softplus(…) + 1e-4`) and logarithms away from 0.",
    )
    return True


def _reason(fn: Any, value: torch.Tensor) -> str:
    if not bool(torch.isfinite(value).all()):
        return ": its value is not finite"
    base = fn
    while hasattr(base, "base_dist") and not getattr(base, "arg_constraints", None):
        base = base.base_dist
    for part in ("scale", "rate", "concentration", "probs", "logits", "loc", "scale_tril", "df"):
        parameter = getattr(base, part, None)
        if isinstance(parameter, torch.Tensor):
            if not bool(torch.isfinite(parameter).all()):
                return f": its `{part}` is not finite"
            if part in ("scale", "rate", "concentration", "df") and bool((parameter <= 0).any()):
                return f": its `{part}` is not positive"
    known = inside(fn, value)
    return "" if known is None or bool(known[0].all()) else ": its value is outside the support"


def _short(name: str) -> str:
    return name.removeprefix("model_module.").removeprefix("guide_module.").removeprefix("pyro_params.")
