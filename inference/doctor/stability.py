"""Stability between runs: the set of sites, the log density, and arguments that change nothing."""

from __future__ import annotations

__all__ = ["check_arguments", "check_stability"]

import re
from collections.abc import Mapping
from typing import Any

import torch

from ..pair.densities.site_densities import log_prob_of
from ..pair.findings import in_data_plate
from ..pair.recorded_run import Run, accepted, run
from .case import Examination

_SEEDS = (1, 2, 3)


def check_stability(case: Examination) -> None:
    """Run model and guide again, with other seeds and with the same one."""
    for who, function, first in (
        ("model", case.program.model, case.model_run),
        ("guide", case.program.guide, case.guide_run),
    ):
        if not first.complete or any(rows < size for size, rows in first.plates.values()):
            continue
        for name in dict.fromkeys(first.repeated):
            case.fault(
                "repeated-site", name, f"The {who} samples `{name}` twice.", "Give every sample statement its own name."
            )
        for name in dict.fromkeys(first.repeated_plates):
            case.fault(
                "repeated-plate",
                name,
                f"The {who} declares the plate `{name}` more than once.",
                f'Keep one object, `plate = pyro.plate("{name}", …)`, and enter it with `with plate:` each time.',
            )
        if not _one_site_a_datum(case, who) and not _changing(case, who, function, first):
            _hidden_noise(case, who, function, first)


def _changing(case: Examination, who: str, function: Any, first: Run) -> bool:
    for seed in _SEEDS:
        other = run(case.program, function, case.batch, seed=seed)
        if not other.complete:
            case.fault(
                "changing-structure",
                other.last or "",
                f"The {who} runs with some draws and fails with others ({type(other.error).__name__}: {_line(other)}).",
                "Make it run for every value in the support of its latents.",
            )
            return True
        names = set(first.sites) ^ set(other.sites)
        shapes = [n for n in first.shapes if n in other.shapes and first.shapes[n] != other.shapes[n]]
        if names or shapes:
            name = sorted(names)[0] if names else shapes[0]
            what = f"`{name}` is there in some runs only" if names else f"the shape of `{name}` changes from run to run"
            case.fault(
                "changing-structure",
                name,
                f"The {who}'s sites depend on its own draws: {what}.",
                "Sample every site in every run, with one shape; choose values with `torch.where`, or enumerate.",
            )
            return True
    return False


def _line(record: Run) -> str:
    return (str(record.error).strip().splitlines() or [""])[0]


def _one_site_a_datum(case: Examination, who: str) -> bool:
    first, small = (case.model_run, case.model_small) if who == "model" else (case.guide_run, case.guide_small)
    gone = [name for name in first.sites if name not in small.sites]
    more = abs(len(first.sites) - len(small.sites))
    if not (small.complete and gone and more >= abs(case.size - case.small_size)):
        return False
    if not case.has("sequential-plate"):
        stem = re.sub(r"\d+", "", gone[0])
        name = next(name for name in first.sites if re.sub(r"\d+", "", name) == stem)
        if _is_series(case, who, first):
            case.note(
                "dependent-data",
                name,
                f"The {who} has one site for every row (`{name}`, …), and each depends on the ones before it: together "
                f"the {case.size} rows are one datum, a series.",
                f"Fit and score it as a whole, without mini-batches. It runs faster as one site: a joint distribution, "
                f"or `cumsum` of its noise. For several such series, give `{case.first}` a leading axis, (series, …), "
                f"and write {case.plate_cure} around them.",
            )
            return True
        case.fault(
            "site-per-datum",
            name,
            f"The {who} has one site for every datum (`{name}`, …): a Python loop over the data.",
            f"Sample all data at once, in {case.plate_cure}.",
        )
    return True


def _is_series(case: Examination, who: str, first: Run) -> bool:
    """Whether the density of another row's site changes with the first row's value, latent or observed."""
    function = case.program.model if who == "model" else case.program.guide
    rows = {name: _number(name) for name in first.sites}
    start = min((number for number in rows.values() if number is not None), default=None)
    values = {name: site["value"] for name, site in first.sites.items() if not site["is_observed"]}
    moved = {n: 0.5 * v if rows[n] == start and v.is_floating_point() else v for n, v in values.items()}
    batch = {name: torch.cat([value[1:2], value[1:]]) for name, value in case.batch.items()}
    here = _log_probs(run(case.program, function, case.batch, seed=5, values=values, force=True))
    there = _log_probs(run(case.program, function, batch, seed=5, values=moved, force=True))
    later = [name for name, number in rows.items() if number is not None and number != start]
    return any(n in here and n in there and not _same(here[n], there[n]) for n in later)


def _number(name: str) -> int | None:
    """The last number in a site's name, its place in a loop."""
    found = re.findall(r"\d+", name)
    return int(found[-1]) if found else None


def _hidden_noise(case: Examination, who: str, function: Any, first: Run) -> None:
    """With every draw fixed, densities and outputs must not change with the seed."""
    values = {name: site["value"] for name, site in first.sites.items() if not site["is_observed"]}
    runs = [run(case.program, function, case.batch, seed=seed, values=values, force=True) for seed in (5, 6)]
    terms = [_log_probs(record) for record in runs]
    for name in terms[0]:
        if name in terms[1] and not _same(terms[0][name], terms[1][name]):
            case.warn(
                "hidden-noise",
                name,
                f"The density of `{name}` in the {who} changes from run to run with all its draws fixed: there is "
                f"noise outside of `pyro.sample` (dropout, `torch.randn`, NumPy).",
                "Remove it, or sample it: bounds and importance weights take it for a fixed density.",
            )
            return


def _log_probs(record: Run) -> dict[str, torch.Tensor]:
    out = {}
    with torch.no_grad():
        for name, site in record.sites.items():
            try:
                out[name] = log_prob_of(site)
            except (RuntimeError, ValueError, NotImplementedError, IndexError):
                continue
    return out


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.shape == second.shape and torch.equal(torch.nan_to_num(first), torch.nan_to_num(second))


def check_arguments(case: Examination) -> None:
    """Find data that the model is given and does not use, data that nothing observes, and keys the guide refuses."""
    observed = [site for site in case.model_run.sites.values() if site["is_observed"]]
    if case.model_run.complete and not observed:
        listed = ", ".join(f"`{name}`" for name in case.batch)
        case.fault(
            "nothing-observed",
            "",
            f"The model observes nothing: {listed} {'is' if len(case.batch) == 1 else 'are'} given, and no sample "
            f"statement has `obs=`.",
            f"Pass the data to the site they are: `pyro.sample(…, obs={list(case.batch)[-1]})`.",
        )
    if case.guide is not None:
        missing = [name for name in case.batch if name not in accepted(case.program.guide, case.batch)]
        if missing:
            listed = ", ".join(f"`{name}`" for name in missing)
            takes = ", ".join(case.batch)
            case.fault(
                "guide-arguments",
                missing[0],
                f"The guide takes no argument {listed}, which the model is given: a fit passes both the same batch.",
                f"Declare the same arguments, `def guide(self, {takes})`.",
            )
    if not case.model_run.complete:
        return
    for name, value in case.batch.items():
        weight = getattr(case.program.model_owner, "row_weight", None)  # for the objective, not for the program
        if name != weight and not _is_used(case, name, value):
            case.fault(
                "unused-argument",
                name,
                f"The data `{name}` change nothing in the model: no density depends on their values.",
                f"Observe them with `obs={name}`, use them, or drop the argument.",
            )


def _is_used(case: Examination, name: str, value: torch.Tensor) -> bool:
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(len(value), (len(value),), generator=generator)
    other = value[index]
    if torch.equal(other, value):
        return True  # constant: nothing can be told
    values = {n: s["value"] for n, s in case.model_run.sites.items() if not s["is_observed"]}
    both = []
    for batch in (case.batch, {**case.batch, name: other}):
        record = run(case.program, case.program.model, batch, seed=1, values=values, force=True)
        if not record.complete:
            return True
        both.append((record, _log_probs(record)))
        if not all(bool(torch.isfinite(term).all()) for term in both[-1][1].values()):
            return True
    return not _alike(*both)


def _alike(first: tuple[Run, Mapping[str, torch.Tensor]], second: tuple[Run, Mapping[str, torch.Tensor]]) -> bool:
    if first[0].shapes != second[0].shapes:
        return False
    for name, term in first[1].items():
        if name not in second[1] or not _same(term, second[1][name]):
            return False
    return all(in_data_plate(site) == in_data_plate(second[0].sites[name]) for name, site in first[0].sites.items())
