"""Failures of a user's program: what the exception means, and what to change."""

from __future__ import annotations

__all__ = ["check_failures", "check_small", "first_line"]

import re

from ..pair.recorded_run import Run, run
from .case import Examination

_SIZES = "Two shapes do not fit: compare the constructor's sizes with the data's columns, and the plates with the data."
_KNOWN = (
    (
        "shape mismatch inside plate",
        "hidden-dimension",
        "A dimension of the distribution stands where the plate's belongs: mark the features of one datum with "
        "`.to_event(1)`, or put the data first, shape (N, …).",
    ),
    (
        "found invalid values",
        "invalid-parameter",
        "A parameter of a distribution is outside its range: constrain it (`PyroParam(…, constraints.positive)`, "
        "`softplus`, `exp`), and check its start.",
    ),
    (
        "within the support",
        "data",
        "The observed values are outside the distribution's support: change the likelihood, or transform the data.",
    ),
    ("multiple sample sites", "repeated-site", "Give every sample statement its own name."),
    (
        "collide",
        "plates",
        "Two plates take one dimension: nest them, or give each its own `dim=`.",
    ),
    (
        "same dtype",
        "dtype",
        "Tensors of two number types meet: leave the number type out, or take it from the data (`x.new_zeros(n)`).",
    ),
    (
        "scalar type",
        "dtype",
        "Tensors of two number types meet: leave the number type out, or take it from the data (`x.new_zeros(n)`).",
    ),
    (
        "cannot be multiplied",
        "data-shape",
        _SIZES,
    ),
    (
        "must match the size",
        "data-shape",
        _SIZES,
    ),
    ("size mismatch", "data-shape", _SIZES),
    ("not broadcastable", "data-shape", _SIZES),
    ("required positional argument", "arguments", "Declare the same arguments in model and guide, with defaults."),
)


def check_failures(case: Examination, who: str, validated: Run, plain: Run) -> None:
    """Turn what a run raised (with Pyro's checks on, and off) into findings."""
    raised = plain if plain.error is not None else validated
    if raised.error is None:
        return
    text = str(raised.error)
    code, cure = "program", "Mend the program: it fails before any fit could."
    for words, known, advice in _KNOWN:
        if words in text.lower():
            code, cure = known, advice
            break
    site = re.search(r"at site (\w+)", text)
    name = site.group(1) if site else raised.last or ""
    reached = "after" if raised.last in raised.sites and not site else "at"
    where = f" {reached} the site `{name}`" if name else " before its first site"
    place = f" ({raised.line})" if raised.line else ""
    invalid = re.search(r"Expected parameter (\w+) .*? of distribution (\w+)", text, re.DOTALL)
    said = first_line(raised.error)
    if invalid:
        said = f"the `{invalid.group(1)}` of its {invalid.group(2)} is out of range."
    if code == "data-shape" and case.has("data"):
        return  # the data do not fit the model, which their own check has said
    case.fault(code, "" if reached == "after" else name, f"The {who} fails{where}{place}: {said}", cure)


def first_line(error: Exception | None) -> str:
    """The error's kind and its first line, ending in a full stop."""
    line = next((part.strip() for part in str(error).splitlines() if part.strip()), "")
    line = line if len(line) <= 200 else line[:197] + "…"
    return f"{type(error).__name__}: {line}".rstrip(".: ") + "."


def check_small(case: Examination) -> None:
    """A model that runs on all the data given must run on fewer."""
    small = case.model_small
    if small.error is None or not case.model_run.complete or case.has("plate-size", "sequential-plate"):
        return
    again = run(case.program, case.program.model, case.small, seed=1)
    if again.error is not None:
        case.fault(
            "fixed-size",
            small.last or "",
            f"The model runs on these {case.size} data but not on {case.small_size} of them: {first_line(small.error)}",
            f"Take every size of the data from the data, such as `len({case.first})`.",
        )
