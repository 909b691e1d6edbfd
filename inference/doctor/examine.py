"""The examination: a pair and a batch in, a report out."""

from __future__ import annotations

__all__ = ["examine"]

import copy
import inspect
import warnings
from typing import Any

import torch
from torch import nn

from ..devices import run_on
from ..errors import ConfigurationError, JensenError, ModelError
from ..objectives import TraceMeanField_ELBO
from ..objectives.rounding import compare_precisions
from ..pair.findings import Finding, find
from ..pair.function_program import own_copy
from ..pair.program import Program
from ..pair.recorded_run import run
from ..pair.signature import Signature, read_signature
from ..run.initialize import start_model
from .amortisation import check_amortisation
from .case import Examination
from .densities import check_densities
from .failures import check_failures, check_small, first_line
from .given import Given, invent, read_data
from .objectives import judge_objectives, judge_speed, recommend
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
        case, name = _build(own, own_guide, given, signature)
        return _examine(case, type(model).__name__ if isinstance(model, nn.Module) else signature.model, name, given)


def _given(model: Any, own: Any, signature: Signature, data: Any, dtype: torch.dtype, device: torch.device) -> Given:
    given = Given({}, "none") if data is None else read_data(model, signature, data, dtype, device)
    missing = [name for name in signature.required if name not in given.batch]
    unobserved = bool(signature.observed) and not any(name in given.batch for name in signature.observed)
    if unobserved and given.batch and not missing:
        program = Program(own, _no_guide)
        sites = run(program, program.model, given.batch).sites.values()
        unobserved = not any(site["is_observed"] for site in sites)
        if unobserved:
            drawn = " or ".join(f"`{name}`" for name in signature.observed)
            what = f"Nothing is observed: `{signature.model}` draws {drawn} (default None) unless it is given."
            given.faults.append(Finding("data", "", what, f"Pass {drawn} in the data."))
    if missing or unobserved or not given.batch:
        invented = invent(model, Program(own, _no_guide), signature, given.batch)
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


def _no_guide(**batch: Any) -> None:
    return None


def _build(own: Any, guide: Any, given: Given, signature: Signature) -> tuple[Examination, str]:
    """Bind the pair; a guide that cannot be built is a finding, and the model is examined alone."""
    faults = list(given.faults)
    if isinstance(own, torch.nn.Module):
        try:
            start_model(own, given.batch, 0)
        except Exception as error:  # whatever the user's method raises is a finding
            faults.append(Finding("initialize", "", f"its start at the data fails: {first_line(error)}", _INITIALIZE))
    built, name, automatic = _guide(own, guide, given, signature, faults)
    program = Program(own, _no_guide if built is None else built)
    batch = given.batch
    size = len(next(iter(batch.values())))
    fewer = size // 2 if size >= 4 else max(size - 1, 1)
    index = torch.arange(fewer) if size > 1 else torch.zeros(2, dtype=torch.int64)
    small = {key: value[index] for key, value in batch.items()}
    option = (lambda model: built) if _is_program(guide, signature) else guide
    return Examination(program, built, automatic, option, batch, small, faults=faults), name


def _guide(own: Any, guide: Any, given: Given, signature: Signature, faults: list[Finding]) -> tuple[Any, str, bool]:
    from ..guides import build_guide

    mine = getattr(own, "guide", None) if isinstance(own, nn.Module) else None
    if guide is None and callable(mine):
        return mine, "its own", False
    if _is_program(guide, signature):
        name = getattr(guide, "__name__", type(guide).__name__)
        return guide, name, False
    shown = guide if isinstance(guide, str) else getattr(guide, "__name__", type(guide).__name__)
    name = '"normal" (automatic)' if guide is None else f'"{shown}"' if isinstance(guide, str) else shown
    try:
        return build_guide(guide, own, given.batch), name, True
    except ConfigurationError as error:
        if isinstance(guide, str):
            raise
        faults.append(Finding("guide", "", f"The guide cannot be built: {error}", "Mend it, or use another."))
    except ModelError as error:
        if "sequential" in str(error):
            return None, name, True  # said by the check of the plates
        message, _, cure = str(error).partition(". ")
        faults.append(Finding("guide", "", f"The guide {name} cannot be built: {message}.", cure or "Write a guide."))
    except Exception as error:  # the model itself fails: its own run says why
        message = f"The guide {name} cannot be built: {first_line(error)}"
        faults.append(Finding("guide", "", message, _MEND_FIRST))
    return None, name, True


def _is_program(guide: Any, signature: Signature) -> bool:
    """Whether a callable is a guide with the model's arguments, rather than a function of the model."""
    if guide is None or isinstance(guide, (str, type)) or not callable(guide) or isinstance(guide, nn.Module):
        return False
    names = list(inspect.signature(guide).parameters)
    return bool(set(names) & set(signature.names)) or len(names) != 1


def _examine(case: Examination, model: str, guide: str, given: Given) -> Report:
    program = case.program
    if case.guide is not None:
        checked = run(program, program.guide, case.batch, validate=True)
        case.guide_run = checked if checked.complete else run(program, program.guide, case.batch)
        check_failures(case, "guide", checked, case.guide_run)
        case.guide_small = run(program, program.guide, case.small)
        case.guide_again = run(program, program.guide, case.batch, seed=1)
    draws = {name: site["value"] for name, site in case.guide_run.sites.items() if not site["is_observed"]}
    checked = run(program, program.model, case.batch, values=draws, validate=True)
    case.model_run = checked if checked.complete else run(program, program.model, case.batch, values=draws)
    check_failures(case, "model", checked, case.model_run)
    case.model_small = run(program, program.model, case.small)

    said = [fault.message for fault in case.faults if fault.code == "data"]
    for finding in find(case.sites):
        if not (finding.about_data and any(f"`{finding.where}`" in message for message in said)):
            case.add(finding)
    check_plates(case)
    check_stability(case)
    check_small(case)
    check_arguments(case)
    check_amortisation(case)
    check_discrete(case)
    check_densities(case)
    if case.guide is not None:
        case.structure = _structure(case)
    if case.structure is not None and not case.faults:
        for finding in compare_precisions(program, TraceMeanField_ELBO(), case.batch):
            case.add(finding)
    check_device_and_dtype(case)
    parameters = examine_parameters(case)
    terms = start_terms(case)
    rows = judge_objectives(case, terms)
    vectorized, traced = judge_speed(case)
    faults = _final(case)
    return Report(
        model=model,
        guide=guide,
        data=given.text,
        sites=tuple(site_rows(case, terms)),
        parameters=tuple(parameters),
        objectives=tuple(rows),
        recommended=recommend(rows, terms),
        faults=tuple(faults),
        warnings=tuple(case.warnings),
        vectorized=vectorized,
        traced=traced,
        notes=tuple(case.notes),
    )


def _structure(case: Examination) -> Any:
    """The structure as a fit sees it; an objection that no check has made yet is a fault of its own."""
    try:
        return case.program.structure(case.batch)
    except JensenError as error:
        if error.finding is not None:
            case.add(error.finding)
        elif not case.faults:
            message, _, cure = str(error).partition(". ")
            case.fault("structure", "", f"{message}.", cure or "Mend the pair.")
    except Exception as error:  # what the program raises was reported by its own run
        if not case.faults:
            case.fault("program", "", f"The pair fails: {first_line(error)}", "Mend the program.")
    return None


def _final(case: Examination) -> list[Finding]:
    """The faults without those that only repeat another: a guide that was not built because the model fails."""
    others = [fault for fault in case.faults if fault.code != "guide"]
    return [fault for fault in case.faults if fault.code != "guide" or not (others and fault.cure == _MEND_FIRST)]
