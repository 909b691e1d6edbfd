"""The parameters of the pair: whose they are, and which ones no gradient reaches."""

from __future__ import annotations

__all__ = ["examine_parameters", "shown_name"]

from collections.abc import Sequence

import torch

from ..objectives import Trace_ELBO
from ..pair.recorded_run import moved_parameters, run
from .case import Examination
from .report import ParameterRow

_OWNERS = {"model_module": "model", "guide_module": "guide", "pyro_params": "pyro.param"}

Gradients = list[torch.Tensor | None]


def shown_name(name: str) -> tuple[str, str]:
    """(the name as its owner knows it, whose it is) of a parameter of the program."""
    head, _, rest = name.partition(".")
    return (rest, _OWNERS[head]) if head in _OWNERS else (name, "")


def examine_parameters(case: Examination) -> list[ParameterRow]:
    """Differentiate the bound, at the start and near it; report parameters without a gradient.

    A pair at fault is differentiated as far as it goes: the densities of all its sites, as they are.
    """
    _shared(case)
    every = dict(case.program.named_parameters())
    trainable = {name: p for name, p in every.items() if p.requires_grad}
    if not trainable and case.built is not None and case.complete:
        case.fault(
            "no-parameters",
            "",
            "There is nothing to fit: neither the model nor the guide has a trainable parameter.",
            "Make what is to be learned an `nn.Parameter`, a `PyroParam` or a `pyro.param`, or write a guide.",
        )
    states = dict.fromkeys(every, "unknown")
    found: list[Gradients] = []
    if trainable and (case.structure is not None or case.complete):
        parameters = list(trainable.values())
        found = [_gradients(case, parameters, seed) for seed in (0, 1)]
        with moved_parameters(case.program):
            found.append(_gradients(case, parameters, 2))
    for index, (name, parameter) in enumerate(trainable.items()):
        if found and parameter.numel():
            states[name] = _state([gradients[index] for gradients in found])
            if states[name] == "zero" and case.structure is None:
                states[name] = "unknown"  # the sites at fault may be what it acts through
    for state in ("none", "zero", "not finite"):
        _report(case, state, [shown_name(name) for name in trainable if states[name] == state])
    rows = []
    for name, parameter in every.items():
        shown, owner = shown_name(name)
        state = "frozen" if not parameter.requires_grad else states[name]
        rows.append(ParameterRow(shown, owner, tuple(parameter.shape), state))
    return rows


def _bound(case: Examination, seed: int) -> torch.Tensor:
    """What a fit would differentiate; of a pair at fault, the densities of all sites of both programs."""
    if case.structure is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                return Trace_ELBO().bound(case.program, case.batch).surrogate
            except Exception:  # the trial fit says what is wrong
                pass
    guide = run(case.program, case.program.guide, case.batch, seed=seed, grad=True)
    model = run(case.program, case.program.model, case.batch, seed=seed, values=guide.draws, grad=True)
    terms = [*(-term for term in guide.log_probs().values()), *model.log_probs().values()]
    return sum((term.sum() for term in terms), torch.zeros(()))


def _gradients(case: Examination, parameters: Sequence[torch.nn.Parameter], seed: int) -> Gradients:
    with torch.enable_grad():
        value = _bound(case, seed)
        try:
            return list(torch.autograd.grad(value, parameters, allow_unused=True))
        except RuntimeError:  # nothing to differentiate
            return [None] * len(parameters)


def _state(gradients: Gradients) -> str:
    there = [g for g in gradients if g is not None]
    if not there:
        return "none"
    if not all(bool(torch.isfinite(g).all()) for g in there):
        return "not finite"
    return "yes" if any(bool((g != 0).any()) for g in there) else "zero"


def _report(case: Examination, state: str, names: list[tuple[str, str]]) -> None:
    """One finding for all parameters in the same trouble."""
    if not names:
        return
    many = len(names) > 1
    listed = ", ".join(f"`{name}`" for name, _ in names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    owners = " and ".join(sorted({owner for _, owner in names if owner}))
    subject = f"parameter{'s' if many else ''} {listed}{f' ({owners})' if owners else ''}"
    receive, them = ("receive", "them") if many else ("receives", "it")
    if state == "none":
        case.fault(
            "no-gradient",
            names[0][0],
            f"The {subject} {receive} no gradient: no density depends on {them}.",
            f"Use {them} in a distribution (no `.detach()`, `.data`, `.item()` or `torch.no_grad()` on the way), "
            f"remove {them}, or freeze {them} with `requires_grad_(False)`.",
        )
    elif state == "zero":
        case.fault(
            "no-gradient",
            names[0][0],
            f"The gradient of the {subject} is exactly zero, at the start and near it.",
            "Something on its way is flat there: a clamp, a rounding, a dead unit, a product with zero. Change its "
            "start or that step, or remove it.",
        )
    elif state == "not finite" and not case.has("non-finite"):
        case.fault(
            "non-finite",
            names[0][0],
            f"The gradient of the {subject} is not finite at the start.",
            "Look for a square root, logarithm or division at zero in the densities it enters.",
        )


def _shared(case: Examination) -> None:
    """Names that `pyro.param` statements of model and guide share: they are one parameter."""
    for name in case.model.run.params:
        if name in case.guide.run.params:
            case.fault(
                "shared-parameter",
                name,
                f"Model and guide both declare the parameter `{name}`, so they are one and the same.",
                "Give them different names; or, if sharing is meant, make it one `nn.Parameter` of the model.",
            )
