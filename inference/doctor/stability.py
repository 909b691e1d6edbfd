"""Stability between runs: the set of sites, the log density, and arguments that change nothing."""

from __future__ import annotations

__all__ = ["check_arguments", "check_stability"]

import re

import torch

from ..objectives.compatibility import nothing_observed
from ..pair.findings import in_data_plate
from ..pair.recorded_run import accepted, run
from .case import LACKING, Examination, Side
from .failures import first_line

_SEEDS = (2, 3, 4)  # under which a first normal, uniform or Bernoulli draw takes both signs, halves and values


def check_stability(case: Examination) -> None:
    """Run model and guide again, with other seeds and with the same one."""
    for side in (case.model, case.guide):
        first = side.run
        if not first.complete or any(rows < size for size, rows in first.plates.values()):
            continue
        for name in dict.fromkeys(first.repeated):
            message = f"The {side.name} samples `{name}` twice."
            case.fault("repeated-site", name, message, "Give every sample statement its own name.")
        for name in dict.fromkeys(first.repeated_plates):
            case.fault(
                "repeated-plate",
                name,
                f"The {side.name} declares the plate `{name}` more than once.",
                f'Keep one object, `plate = pyro.plate("{name}", …)`, and enter it with `with plate:` each time.',
            )
        if not _one_site_a_datum(case, side) and not _changing(case, side):
            _hidden_noise(case, side)


def _changing(case: Examination, side: Side) -> bool:
    first = side.run
    come, reshaped = set[str](), set[str]()
    for seed in _SEEDS:
        other = run(case.program, side.function, case.batch, seed=seed)
        if not other.complete:
            case.fault(
                "changing-structure",
                other.last or "",
                f"The {side.name} runs with some draws and fails with others: {first_line(other.error)}",
                "Make it run for every value in the support of its latents.",
            )
            return True
        come |= set(first.sites) ^ set(other.sites)
        reshaped |= {n for n in first.shapes if n in other.shapes and first.shapes[n] != other.shapes[n]}
    if come or reshaped:
        _say_changing(case, side, sorted(come), sorted(reshaped))
    return bool(come or reshaped)


def _say_changing(case: Examination, side: Side, come: list[str], reshaped: list[str]) -> None:
    """One finding for model and guide together; that one of them lacks such a site then needs no other."""
    name, code = (come or reshaped)[0], "changing-structure"
    what = f"`{name}` is there in some runs only" if come else f"the shape of `{name}` changes from run to run"
    both = case.has(code, where=name)
    case.forget(code, [name])
    whose = "sites of model and guide depend on their" if both else f"{side.name}'s sites depend on its"
    case.fault(
        code,
        name,
        f"The {whose} own draws: {what}.",
        "Sample every site in every run, with one shape; choose values with `torch.where`, or enumerate.",
    )
    case.changing.update(come)
    for lacking in LACKING:
        case.forget(lacking, come)


def _one_site_a_datum(case: Examination, side: Side) -> bool:
    first, small = side.run, side.small
    gone = [name for name in first.sites if name not in small.sites]
    more = abs(len(first.sites) - len(small.sites))
    if not (small.complete and gone and more >= abs(case.size - case.few_size)):
        return False
    if not case.has("sequential-plate"):
        stem = re.sub(r"\d+", "", gone[0])
        name = next(name for name in first.sites if re.sub(r"\d+", "", name) == stem)
        if _is_series(case, side):
            case.note(
                "dependent-data",
                name,
                f"The {side.name} has one site for every row (`{name}`, …), and each depends on the ones before it: "
                f"together the {case.size} rows are one datum, a series.",
                f"Fit and score it as a whole, without mini-batches. It runs faster as one site: a joint distribution, "
                f"or `cumsum` of its noise. For several such series, give `{case.first}` a leading axis, (series, …), "
                f"and write {case.plate_cure} around them.",
            )
            return True
        case.fault(
            "site-per-datum",
            name,
            f"The {side.name} has one site for every datum (`{name}`, …): a Python loop over the data.",
            f"Sample all data at once, in {case.plate_cure}.",
        )
    return True


def _is_series(case: Examination, side: Side) -> bool:
    """Whether the density of another row's site changes with the first row's value, latent or observed."""
    rows = {name: _number(name) for name in side.run.sites}
    start = min((number for number in rows.values() if number is not None), default=None)
    values = side.run.draws
    moved = {n: 0.5 * v if rows[n] == start and v.is_floating_point() else v for n, v in values.items()}
    batch = {name: torch.cat([value[1:2], value[1:]]) for name, value in case.batch.items()}
    here = run(case.program, side.function, case.batch, seed=5, values=values, force=True).log_probs()
    there = run(case.program, side.function, batch, seed=5, values=moved, force=True).log_probs()
    later = [name for name, number in rows.items() if number is not None and number != start]
    return any(n in here and n in there and not _same(here[n], there[n]) for n in later)


def _number(name: str) -> int | None:
    """The last number in a site's name, its place in a loop."""
    found = re.findall(r"\d+", name)
    return int(found[-1]) if found else None


def _hidden_noise(case: Examination, side: Side) -> None:
    """With every draw fixed, densities and outputs must not change with the seed."""
    one, other = (
        run(case.program, side.function, case.batch, seed=seed, values=side.run.draws, force=True).log_probs()
        for seed in (5, 6)
    )
    for name, term in one.items():
        if name in other and not _same(term, other[name]):
            case.warn(
                "hidden-noise",
                name,
                f"The density of `{name}` in the {side.name} changes from run to run with all its draws fixed: there "
                f"is noise outside of `pyro.sample` (dropout, `torch.randn`, NumPy).",
                "Remove it, or sample it: bounds and importance weights take it for a fixed density.",
            )
            return


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.shape == second.shape and torch.equal(torch.nan_to_num(first), torch.nan_to_num(second))


def check_arguments(case: Examination) -> None:
    """Find data that the model is given and does not use, data that nothing observes, and keys the guide refuses."""
    if case.model.run.complete and not any(site["is_observed"] for site in case.model.run.sites.values()):
        case.add(nothing_observed(case.program.model_owner, case.batch))
    if case.built is not None:
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
    if not case.model.run.complete:
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
    first, second = (
        run(case.program, case.program.model, batch, seed=1, values=case.model.run.draws, force=True)
        for batch in (case.batch, {**case.batch, name: other})
    )
    if not (first.complete and second.complete):
        return True
    terms, others = first.log_probs(), second.log_probs()
    if not all(bool(torch.isfinite(term).all()) for term in (*terms.values(), *others.values())):
        return True
    return not (
        first.shapes == second.shapes
        and all(name in others and _same(term, others[name]) for name, term in terms.items())
        and all(in_data_plate(site) == in_data_plate(second.sites[key]) for key, site in first.sites.items())
    )
