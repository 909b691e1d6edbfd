"""Failures of a user's program: what the exception means, and what to change."""

from __future__ import annotations

__all__ = ["check_failures", "check_small", "first_line", "from_error"]

import re

from ..errors import JensenError
from ..pair.findings import Finding
from ..pair.program_errors import translated
from ..pair.recorded_run import Run, run
from .case import Examination, Side

# words of an exception: (code, cure)
_KNOWN = {
    "shape mismatch inside plate": (
        "hidden-dimension",
        "A dimension of the distribution stands where the plate's belongs: mark the features of one datum with "
        "`.to_event(1)`, or put the data first, shape (N, …).",
    ),
    "found invalid values": (
        "invalid-parameter",
        "A parameter of a distribution is outside its range: constrain it (`PyroParam(…, constraints.positive)`, "
        "`softplus`, `exp`), and check its start.",
    ),
    "within the support": (
        "data",
        "The observed values are outside the distribution's support: change the likelihood, or transform the data.",
    ),
    "collide": ("plates", "Two plates take one dimension: nest them, or give each its own `dim=`."),
    "same dtype|scalar type": (
        "dtype",
        "Tensors of two number types meet: leave the number type out, or take it from the data (`x.new_zeros(n)`).",
    ),
    "cannot be multiplied|must match the size|size mismatch|not broadcastable": (
        "data-shape",
        "Two shapes do not fit: compare the constructor's sizes with the data's columns, and the plates with the data.",
    ),
    "required positional argument": ("arguments", "Declare the same arguments in model and guide, with defaults."),
}


def from_error(code: str, where: str, error: Exception, cure: str, what: str = "") -> Finding:
    """What a fit raised, as a finding: the one that the error carries, or its text, of which the first sentence says
    what is wrong and the rest what to do; `cure` where it says nothing, and `what` before it."""
    if not isinstance(error, JensenError):
        return Finding(code, where, what + first_line(error), cure)
    message, _, advice = str(error).partition(". ")
    return error.finding or Finding(code, where, f"{what}{message.rstrip('.')}.", advice or cure)


def first_line(error: Exception | None) -> str:
    """The error's kind and its first line, ending in a full stop."""
    line = next((part.strip() for part in str(error).splitlines() if part.strip()), "")
    line = line if len(line) <= 200 else line[:197] + "…"
    return f"{type(error).__name__}: {line}".rstrip(".: ") + "."


def check_failures(case: Examination, side: Side, validated: Run) -> None:
    """Turn what a program raised (with Pyro's checks off, or only with them) into a finding."""
    raised = side.run if side.run.error is not None else validated
    if raised.error is None:
        return
    text = str(raised.error)
    site = re.search(r"at site (\w+)", text)
    name = site.group(1) if site else raised.last or ""
    reached = "after" if raised.last in raised.sites and not site else "at"
    where = f" {reached} the site `{name}`" if name else " before its first site"
    place = f" ({raised.line})" if raised.line else ""
    what, about = f"The {side.name} fails{where}{place}: ", "" if reached == "after" else name
    if (slip := translated(raised.error)) is not None:
        case.add(from_error("program", about, slip, "", what))
        return
    default = "program", "Mend the program: it fails before any fit could."
    code, cure = next((said for words, said in _KNOWN.items() if re.search(words, text.lower())), default)
    if code == "data-shape" and case.has("data"):
        return  # the data do not fit the model, which their own check has said
    invalid = re.search(r"Expected parameter (\w+) .*? of distribution (\w+)", text, re.DOTALL)
    said = f"the `{invalid.group(1)}` of its {invalid.group(2)} is out of range." if invalid else ""
    case.fault(code, about, what + (said or first_line(raised.error)), cure)


def check_small(case: Examination) -> None:
    """A model that runs on all the data given must run on fewer."""
    small = case.model.small
    if small.error is None or not case.model.run.complete or case.has("plate-size", "sequential-plate"):
        return
    if run(case.program, case.program.model, case.few, seed=1).error is not None:
        case.fault(
            "fixed-size",
            small.last or "",
            f"The model runs on these {case.size} data but not on {case.few_size} of them: {first_line(small.error)}",
            f"Take every size of the data from the data, such as `len({case.first})`.",
        )
