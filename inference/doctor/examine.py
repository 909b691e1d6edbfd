"""The examination: a pair and a batch in, a report out."""

from __future__ import annotations

__all__ = ["examine"]

import copy
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..devices import run_on
from ..errors import ConfigurationError, JensenError, ModelError
from ..objectives import TraceMeanField_ELBO
from ..objectives.compatibility import nothing_observed
from ..objectives.rounding import compare_precisions
from ..pair.bound_pair import empty_guide
from ..pair.findings import Finding, find
from ..pair.function_program import own_copy
from ..pair.program import Program
from ..pair.recorded_run import run
from ..pair.signature import Signature, read_signature
from ..run.initialize import start_model
from ..tensors import Tensors, num_rows
from .amortisation import check_amortisation
from .case import Examination, Side
from .densities import check_densities
from .failures import check_failures, check_small, first_line, from_error
from .given import Given, invent, read_data
from .objectives import judge_objectives, judge_speed, recommend
from .operations import check_operations
from .parameters import examine_parameters
from .plates import check_plates
from .report import Report
from .sites import check_discrete, site_rows, start_terms
from .source import check_device_and_dtype
from .stability import check_arguments, check_stability

_MEND_FIRST = "Mend the model first, then look again."
_INITIALIZE = "Give it data that it can start from, or mend it: a fit calls it first."


def examine(model: Any, guide: Any = None, data: Any = None) -> Report:
    """Read a model and its guide before any fit, and report what they are and every fault that can be found.

    Nothing is fitted and nothing is changed: a copy is run a few times, on the data and on parts of them.

    Args:
        model: a `LatentVariableModel`, or a Pyro program as a callable.
        guide: as for `SVI` (None for the model's own, else ``"normal"``), or a guide program with the model's
            arguments.
        data: what `fit` takes; None invents a small batch from the model, where its arguments allow it.

    Returns:
        The report: `ok` says whether there is no fault.

    Raises:
        ModelError: if `model` is no program.
        ConfigurationError: if there are no data and none can be invented, or `guide` is not a guide.

    Example:
        >>> from jensen.models import GaussianMixture
        >>> report = examine(GaussianMixture(num_components=3, num_features=2))
        >>> report.ok, report.recommended
        (True, 'TraceEnum_ELBO')
    """
    signature = read_signature(model)
    device, dtype = torch.get_default_device(), torch.get_default_dtype()
    with run_on(device, dtype), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        own, own_guide = own_copy(model, device, dtype), copy.deepcopy(guide)
        if isinstance(own, nn.Module):
            own.train()
        given = _given(model, own, signature, data, dtype, device)
        case, name = _bind(own, own_guide, given, signature)
        shown = type(model).__name__ if isinstance(model, nn.Module) else signature.model
        return _examine(case, shown, name, given.text)


def _given(model: Any, own: Any, signature: Signature, data: Any, dtype: torch.dtype, device: torch.device) -> Given:
    given = Given() if data is None else read_data(model, signature, data, dtype, device)
    program = Program(own, empty_guide)
    missing = [name for name in signature.required if name not in given.batch]
    unobserved = bool(signature.observed) and not any(name in given.batch for name in signature.observed)
    if unobserved and given.batch and not missing:
        sites = run(program, program.model, given.batch).sites.values()
        unobserved = not any(site["is_observed"] for site in sites)
        if unobserved:
            given.faults.append(nothing_observed(model, given.batch))
    if missing or unobserved or not given.batch:
        invented = invent(model, program, signature, given.batch)
        given = Given(invented.batch, invented.text, given.faults)
    if not given.batch:
        if given.faults:
            raise ConfigurationError(f"`data` cannot be examined with: {given.faults[0]}")
        takes = ", ".join(f"`{name}`" for name in signature.names) or "no named arguments"
        raise ConfigurationError(
            f"`data` is needed (`--data` on the command line): `{signature.model}` takes {takes}, and no batch could "
            f"be invented that it runs on. Pass a few rows, {{{', '.join(f'{n!r}: …' for n in signature.names)}}}."
        )
    return given


def _bind(own: Any, guide: Any, given: Given, signature: Signature) -> tuple[Examination, str]:
    """Bind the pair; a guide that cannot be built is a finding, and the model is examined alone."""
    findings, batch = list(given.faults), given.batch
    if isinstance(own, nn.Module):
        try:
            start_model(own, batch, 0)
        except Exception as error:  # whatever the user's method raises is a finding
            said = f"its start at the data fails: {first_line(error)}"
            findings.append(Finding("initialize", "", said, _INITIALIZE))
    built, name, automatic = _guide(own, guide, given, signature, findings)
    size = num_rows(batch)
    fewer = size // 2 if size >= 4 else max(size - 1, 1)
    index = torch.arange(fewer) if size > 1 else torch.zeros(2, dtype=torch.int64)
    few = {key: value[index] for key, value in batch.items()}
    option = (lambda model: built) if _is_program(guide, signature) else guide
    program = Program(own, empty_guide if built is None else built)
    return Examination(program, built, automatic, option, batch, few, findings), name


def _guide(own: Any, guide: Any, given: Given, signature: Signature, findings: list[Finding]) -> tuple[Any, str, bool]:
    """The guide (None if it cannot be built, which is a finding), its name, and whether jensen builds it."""
    from ..guides import build_guide

    mine = getattr(own, "guide", None) if isinstance(own, nn.Module) else None
    if guide is None and callable(mine):
        return mine, "its own", False
    shown = guide if isinstance(guide, str) else getattr(guide, "__name__", type(guide).__name__)
    if _is_program(guide, signature):
        return guide, shown, False
    name = '"normal" (automatic)' if guide is None else f'"{shown}"' if isinstance(guide, str) else shown
    try:
        return build_guide(guide, own, given.batch), name, True
    except ConfigurationError as error:
        if isinstance(guide, str):
            raise
        findings.append(Finding("guide", "", f"The guide cannot be built: {error}", "Mend it, or use another."))
    except Exception as error:
        refused = isinstance(error, ModelError)  # else the model itself fails, and its own run says why
        if not (refused and "sequential" in str(error)):  # said by the check of the plates
            cure = "Write a guide." if refused else _MEND_FIRST
            findings.append(from_error("guide", "", error, cure, f"The guide {name} cannot be built: "))
    return None, name, True


def _is_program(guide: Any, signature: Signature) -> bool:
    """Whether a callable is a guide with the model's arguments, rather than a function of the model."""
    if guide is None or isinstance(guide, (str, type)) or not callable(guide) or isinstance(guide, nn.Module):
        return False
    names = list(inspect.signature(guide).parameters)
    return bool(set(names) & set(signature.names)) or len(names) != 1


# The examinations, in order: what one finds may explain what a later one would say.


def _run_both(case: Examination) -> None:
    """Run the two programs on all the data and on fewer; what they raise is a finding."""
    if case.built is not None:
        _run(case, case.guide)
        case.again = run(case.program, case.program.guide, case.batch, seed=1)
    _run(case, case.model, case.guide.run.draws)


def _run(case: Examination, side: Side, values: Tensors | None = None) -> None:
    validated = run(case.program, side.function, case.batch, values=values, validate=True)
    side.run = validated if validated.complete else run(case.program, side.function, case.batch, values=values)
    check_failures(case, side, validated)
    side.small = run(case.program, side.function, case.few)


def _find(case: Examination) -> None:
    """The checks of a fit, on the sites as far as the programs ran."""
    said = [fault.message for fault in case.faults if fault.code == "data"]
    for finding in find(case.sites):
        if not (finding.about_data and any(f"`{finding.where}`" in message for message in said)):
            case.add(finding)


def _structure(case: Examination) -> None:
    """The structure as a fit sees it; an objection that no check has made yet is a fault of its own."""
    if case.built is None:
        return
    try:
        case.structure = case.program.structure(case.batch)
    except Exception as error:  # what the program raises was reported by its own run
        refused = isinstance(error, JensenError)
        if not case.faults or getattr(error, "finding", None) is not None:
            code, what = ("structure", "") if refused else ("program", "The pair fails: ")
            case.add(from_error(code, "", error, "Mend the program.", what))


def _precision(case: Examination) -> None:
    if case.structure is not None and not case.faults:
        for finding in compare_precisions(case.program, TraceMeanField_ELBO(), case.batch):
            case.add(finding)


EXAMINATIONS: tuple[Callable[[Examination], None], ...] = (
    _run_both,
    _find,
    check_plates,
    check_stability,
    check_small,
    check_arguments,
    check_amortisation,
    check_discrete,
    check_densities,
    _structure,
    _precision,
    check_operations,
    check_device_and_dtype,
)


def _examine(case: Examination, model: str, guide: str, data: str) -> Report:
    for examination in EXAMINATIONS:
        examination(case)
    parameters = examine_parameters(case)
    terms = start_terms(case)
    rows = judge_objectives(case, terms)
    vectorized, traced = judge_speed(case)
    # a guide that was not built because the model fails only repeats what is wrong with the model
    others = any(fault.code != "guide" for fault in case.faults)
    faults = [fault for fault in case.faults if not (others and fault.code == "guide" and fault.cure == _MEND_FIRST)]
    return Report(
        model=model,
        guide=guide,
        data=data,
        sites=tuple(site_rows(case, terms)),
        parameters=tuple(parameters),
        objectives=tuple(rows),
        recommended=recommend(rows, terms),
        faults=tuple(faults),
        warnings=case.of("warning"),
        vectorized=vectorized,
        traced=traced,
        notes=case.of("note"),
    )
