"""The parameters and densities at the start: finite."""

from __future__ import annotations

__all__ = ["check_densities"]

from typing import Any

import torch

from ..pair.densities.site_densities import log_prob_of
from ..pair.recorded_run import run
from ..pair.supports.membership import inside
from .case import Examination
from .failures import first_line
from .parameters import shown_name

_SEEDS = (0, 1, 2)
_POSITIVE = ("scale", "rate", "concentration", "df")


def check_densities(case: Examination) -> None:
    """Evaluate every site's density at a few draws of the guide; name the first that is not finite, and why."""
    for name, parameter in case.program.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            shown, _ = shown_name(name)
            message = f"The parameter `{shown}` starts with a value that is not finite."
            case.fault("non-finite", name, message, "Give it a finite start.")
    judged: set[str] = set()
    for seed in _SEEDS:
        guide = run(case.program, case.program.guide, case.batch, seed=seed)
        model = run(case.program, case.program.model, case.batch, seed=seed, values=guide.draws, force=True)
        for who, record in (("guide", guide), ("model", model)):
            for name, site in record.sites.items():
                if name not in judged and _is_bad(case, who, name, site):
                    judged.add(name)


def _is_bad(case: Examination, who: str, name: str, site: Any) -> bool:
    """Whether the site's density is not finite, which is reported unless other faults explain it."""
    if (who == "guide" and site["is_observed"]) or case.has("support-mismatch", where=name):
        return False
    if site["is_observed"] and case.has("data"):
        return True
    try:
        with torch.no_grad():
            bad = ~torch.isfinite(log_prob_of(site))
    except (RuntimeError, ValueError, IndexError, NotImplementedError) as error:
        if not case.has("program", "data-shape", where=name):
            case.fault(
                "non-finite",
                name,
                f"The density of `{name}` in the {who} cannot be evaluated: {first_line(error)}",
                "Compare the shapes of its value, its parameters and the plates around it.",
            )
        return True
    if not bool(bad.any()):
        return False
    case.fault(
        "non-finite",
        name,
        f"`log {'p' if who == 'model' else 'q'}` of `{name}` is not finite at the start ({int(bad.sum())} of "
        f"{bad.numel()} terms){_reason(site['fn'], site['value'])}.",
        "Check its scale and its start; keep scales away from 0 (`softplus(…) + 1e-4`) and logarithms away from 0.",
    )
    return True


def _reason(fn: Any, value: torch.Tensor) -> str:
    if not bool(torch.isfinite(value).all()):
        return ": its value is not finite"
    base = fn
    while hasattr(base, "base_dist") and not getattr(base, "arg_constraints", None):
        base = base.base_dist
    for part in (*_POSITIVE, "probs", "logits", "loc", "scale_tril"):
        parameter = getattr(base, part, None)
        if isinstance(parameter, torch.Tensor):
            if not bool(torch.isfinite(parameter).all()):
                return f": its `{part}` is not finite"
            if part in _POSITIVE and bool((parameter <= 0).any()):
                return f": its `{part}` is not positive"
    known = inside(fn, value)
    return "" if known is None or bool(known[0].all()) else ": its value is outside the support"
