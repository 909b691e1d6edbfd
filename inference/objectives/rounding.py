"""The first bound in float32 beside the same in float64: which site's density rounding decides."""

from __future__ import annotations

__all__ = ["compare_precisions", "warn_of_rounding"]

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..pair.findings import Finding
from ..pair.program import Program
from ..pair.site_terms import Terms
from ..pair.terms import evaluate
from ..tensors import Batch
from ..warn import warn_user
from .base import Objective

_PARAMETERS = 1_000_000  # numbers, up to which a copy of the pair costs nothing that could be felt
_NUMBERS = 20_000  # of the data that are looked at
_MEAN, _ANY = 1e-3, 0.1  # nats a datum (or the part of its term) that all data, or one of them, may be off by


def warn_of_rounding(program: Program, objective: Objective, batch: Batch) -> None:
    """Warn, once a fit, of sites whose terms in float32 are not those of float64."""
    for finding in compare_precisions(program, objective, batch):
        warn_user(str(finding))


def compare_precisions(program: Program, objective: Objective, batch: Batch) -> list[Finding]:
    """Evaluate the terms of a few data on copies of the pair, in float32 and at the same draws in float64.

    Nothing is compared for a pair that is not in float32, is large, does not run in float64, or is itself random.
    """
    tensors = [*program.parameters(), *program.buffers(), *batch.values()]
    kinds = {tensor.dtype for tensor in tensors if tensor.is_floating_point()} | {torch.get_default_dtype()}
    size = sum(p.numel() for p in program.parameters())
    if kinds != {torch.float32} or size > _PARAMETERS or any(t.device.type == "mps" for t in tensors):
        return []
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return _compare(program, objective, batch)
    except Exception:  # a program of one number type, or of one batch size: there is nothing to compare
        return []


def _compare(program: Program, objective: Objective, batch: Batch) -> list[Finding]:
    def terms(pair: Program, data: Batch, values: dict[str, Tensor] | None, seed: int) -> Terms:
        return evaluate(
            pair,
            data,
            seed=seed,
            values=values,
            analytic_kl=objective.analytic_kl,
            enumerate_guide=objective.enumerate_guide,
            sum_guide=objective.sum_guide,
        )

    few = _few(batch)
    own = copy.deepcopy(program)
    single = terms(own, few, None, 0)
    with _double(own):
        wide = {name: value.double() if value.is_floating_point() else value for name, value in few.items()}
        draws = {name: value.double() if value.is_floating_point() else value for name, value in single.values.items()}
        double = terms(own, wide, draws, 0)
    found = _differences(single, double)
    if not found:
        return []
    again = terms(copy.deepcopy(program), few, single.values, 1)
    noisy = {finding.where for finding in _differences(again, single)}
    return [finding for finding in found if finding.where not in noisy]


def _differences(single: Terms, double: Terms) -> list[Finding]:
    found = []
    for name, site in single.sites.items():
        for part, words in (("log_p", "log p"), ("log_q", "log q"), ("kl", "KL")):
            here, there = getattr(site, part), getattr(double.sites[name], part)
            if here is None or there is None:
                continue
            here, there = here.double(), there.double()
            off = torch.where(torch.isfinite(here) | torch.isfinite(there), (here - there).abs(), 0.0)
            size = there.abs().clamp(min=1.0)
            if bool((here - there).sum().abs() > _MEAN * size.sum()) or bool((off > _ANY * size).any()):
                found.append(_finding(name, words, here, there))
                break
    return found


def _finding(name: str, words: str, here: Tensor, there: Tensor) -> Finding:
    among = f" of {here.numel()} data" if here.numel() > 1 else ""
    return Finding(
        "float32",
        name,
        f"In float32 the `{words}` of `{name}`{among} is {float(here.sum()):.7g} at the start, in float64 "
        f"{float(there.sum()):.7g}: its rounding is larger than what a fit can tell apart.",
        "Fit with `dtype=torch.float64`, centre and scale the data, or write the density by functions that do not "
        "cancel.",
        severity="warning",
        stops=frozenset(),
    )


def _few(batch: Batch) -> dict[str, Tensor]:
    """All rows, or if these are many the first, some evenly spaced, and those of the largest numbers."""
    size = len(next(iter(batch.values())))
    width = max(1, sum(value.numel() for value in batch.values()) // size)
    most = max(4, _NUMBERS // width)
    if size <= most:
        return dict(batch)
    largest = [
        value.reshape(size, -1).abs().amax(1).topk(min(most // 4, size)).indices
        for value in batch.values()
        if value.is_floating_point() and value[0].numel()
    ]
    device = next(iter(batch.values())).device
    spaced = torch.linspace(0, size - 1, most // 2, device=device).long()
    index = torch.unique(torch.cat([spaced, *largest]))
    return {name: value[index] for name, value in batch.items()}


@contextmanager
def _double(program: Program) -> Iterator[Any]:
    """Inside, the pair and everything it makes are in float64."""
    program.double()
    program._structure = {}
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        yield
    finally:
        torch.set_default_dtype(before)
