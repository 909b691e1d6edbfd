"""Which objectives suit the pair, tried one by one, and whether the step can be vectorised and compiled."""

from __future__ import annotations

__all__ = ["judge_objectives", "judge_speed", "recommend"]

import warnings
from typing import Any

import torch

from ..data.data import as_data
from ..errors import JensenError
from ..methods.svi.svi import SVI
from ..objectives import IWAE, OBJECTIVES, Objective, Trace_ELBO
from ..objectives.compatibility import check_pair
from ..pair.program_errors import explained
from ..pair.site_terms import Terms
from ..pair.terms import evaluate
from .case import Examination
from .failures import first_line, from_error
from .report import ObjectiveRow

_PARTICLES = 3


def judge_objectives(case: Examination, terms: Terms | None) -> list[ObjectiveRow]:
    """Ask every objective, and run it once."""
    return [_judge(case, name, terms) for name in OBJECTIVES]


def _instance(name: str) -> Objective:
    arguments: dict[str, Any] = {"Renyi": {"alpha": 0.5}}.get(name, {})
    several = issubclass(OBJECTIVES[name], OBJECTIVES["Renyi"])
    return OBJECTIVES[name](**arguments, num_particles=_PARTICLES if several else 1)


def _judge(case: Examination, name: str, terms: Terms | None) -> ObjectiveRow:
    objective = _instance(name)
    if case.structure is None:
        return ObjectiveRow(name, None, None, "")
    try:
        check_pair(case.program, objective, case.batch, False, case.built, False)
        reason = _try(case, objective)
    except JensenError as error:
        reason = _sentence(error)
    if reason:
        return ObjectiveRow(name, False, False, reason)
    try:
        check_pair(case.program, objective, case.batch, True, case.built, False)
    except JensenError as error:
        return ObjectiveRow(name, True, False, _sentence(error))
    return ObjectiveRow(name, True, True, _remark(case, name, terms))


def _try(case: Examination, objective: Objective) -> str:
    """Why one evaluation of the objective and its gradient is of no use, or ``""``."""
    parameters = {name: p for name, p in case.program.named_parameters() if p.requires_grad}
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            bound = objective.bound(case.program, case.batch, weight=0.5)
            if not bool(torch.isfinite(bound.objective)):
                return "its value is not finite at the start"
            if not (parameters and bound.surrogate.requires_grad):
                return ""
            torch.autograd.grad(bound.surrogate, list(parameters.values()), allow_unused=True)
    except Exception as error:  # an objective that cannot be evaluated, for whatever reason, does not suit
        return first_line(error)
    return ""


def _sentence(error: Exception) -> str:
    """The first sentence of an error, or its part before a colon."""
    return str(error).partition(". ")[0].partition(": ")[0].rstrip(".") + "."


def _remark(case: Examination, name: str, terms: Terms | None) -> str:
    assert case.structure is not None
    drawn = [site for site in case.structure.sites.values() if site.kind != "observed" and not site.enumerated]
    rough = [site.name for site in drawn if not site.reparameterized]
    if rough and name in ("Trace_ELBO", "IWAE", "Renyi"):
        return f"`{rough[0]}` by the score function: noisy, use many particles"
    analytic = terms is not None and any(site.kl is not None for site in terms.sites.values())
    if name == "TraceMeanField_ELBO" and not analytic:
        return "no KL is analytic here: the same as Trace_ELBO"
    if name == "TraceMeanField_ELBO":
        return "closed-form KLs: less noise than Trace_ELBO"
    return ""


def recommend(rows: list[ObjectiveRow], terms: Terms | None) -> str | None:
    """The objective to start with."""
    suits = {row.name for row in rows if row.full_batch}
    analytic = terms is not None and any(site.kl is not None for site in terms.sites.values())
    order = ["TraceEnum_ELBO", *(["TraceMeanField_ELBO"] if analytic else []), "Trace_ELBO", "TraceMeanField_ELBO"]
    return next((name for name in order if name in suits), None)


def judge_speed(case: Examination) -> tuple[bool | None, bool | None]:
    """(vectorised over particles, traced): tried as a fit would; the reason of a failure is a warning."""
    if case.structure is None:
        return None, None
    return _vectorize(case), _trace(case)


def _vectorize(case: Examination) -> bool | None:
    case.program.loop_over_particles = False
    with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.manual_seed(0)
        try:
            evaluate(case.program, case.batch, num_particles=2)
        except Exception as error:  # a program that fails here runs with one particle only
            case.warn(
                "not-vectorized",
                "",
                f"Two particles cannot be run at once: {first_line(error)}",
                "Avoid `.item()`, `float(…)` and branches on tensors' values in model and guide.",
            )
            return False
    if not case.program.loop_over_particles:
        return True
    reason = next((_reason(w) for w in caught if "over particles" in str(w.message)), "it branches on a value.")
    case.warn(
        "not-vectorized",
        "",
        f"The pair cannot be vectorised over particles, so they run one by one: {reason}",
        "Avoid `.item()`, `float(…)`, boolean indexing and branches on tensors' values in model and guide.",
    )
    return False


_EAGER = ", so the steps run eagerly"  # what a fit says of a program that its trace would not repeat


def _reason(warning: Any) -> str:
    text = str(warning.message).partition("Reason: ")[2].strip()
    if any(words in text for words in ("tracing tensor", "data-dependent", "item()")):
        return "it reads a tensor's value (`.item()`, `float(…)`, `if tensor`)."
    return text.rstrip(".") + "."


def _backend(svi: SVI, case: Examination) -> str:
    """How the second step of a fit runs; nothing is made of what the steps found."""
    model = case.program.model_owner
    with explained(), torch.enable_grad():
        ascent = svi.begin(model, as_data(model, case.batch), None, 0)
        ascent.start()
        ascent.advance(0, 1)
        ascent.advance(1, 1)
    return ascent.engine.backend


def _trace(case: Examination) -> bool | None:
    """Begin a fit, as a user would: its first step is checked, and the next traced."""
    if not any(p.requires_grad for p in case.program.parameters()):
        return None
    objective: Objective = Trace_ELBO()
    try:
        check_pair(case.program, objective, case.batch, False, case.built, False)
    except JensenError:
        objective = IWAE(_PARTICLES)
    device = next(iter(case.batch.values())).device
    svi = SVI(objective, steps=3, guide=case.guide_option, start="prior", compile="trace", device=device)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            backend = _backend(svi, case)
        except Exception as error:  # whatever stops a fit is a finding
            if not case.faults:
                what = "A fit fails at its first step: "
                case.add(from_error("first-step", "", error, "Mend the program.", what))
            return None
    if backend != "eager":
        return True
    unfaithful = next((str(w.message) for w in caught if _EAGER in str(w.message)), None)
    if unfaithful is not None:
        case.warn(
            "not-traced",
            "",
            f"No trace can stand for the program, so a fit runs eagerly. {unfaithful.partition(_EAGER)[0]}.",
            "Keep what changes in a buffer (`register_buffer`), and draw with torch, without `generator=`.",
        )
        return False
    told = next((w for w in caught if "cannot be traced" in str(w.message)), None)
    where = str(told.message).partition("cannot be traced ")[2].partition(", so")[0] if told else ""
    case.warn(
        "not-traced",
        "",
        f"The step cannot be compiled; it fails {where or 'under tracing'}: {_reason(told) if told else ''} A fit runs "
        f"eagerly: the same numbers, more slowly.",
        "Avoid `.item()`, `float(…)` and branches on tensors' values; use `torch.where`.",
    )
    return False
