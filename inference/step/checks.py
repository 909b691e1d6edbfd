"""Checks of the first step: finite terms, and a gradient for every parameter."""

from __future__ import annotations

__all__ = ["check_first_step", "first_bad_site", "shown"]

import math

import torch
from pyro.distributions.constraints import unit_lower_cholesky
from torch.distributions import constraints

from ..errors import ModelError, NonFiniteError
from ..pair.messengers.minibatch import minibatch
from ..pair.randomness.noise import Noise
from ..seeding import derive_seed
from .eager import EagerSteps
from .function import Gradients, StepFunction

_PERTURBATION = 1e-2
_BATCHES = 16  # how many batches a parameter that no term reaches gets: a program may branch on its data
_WITHOUT_FREEDOM = (type(constraints.simplex), type(unit_lower_cholesky))  # if they are of one number
_MOST = 1024  # how many batches of an epoch one that a term does reach gets: rows that teach it may be rare


def check_first_step(engine: EagerSteps, out: Gradients) -> None:
    """Raise if the first step cannot be the start of a fit.

    Raises:
        NonFiniteError: if the bound or a gradient is not finite; names the first bad site or parameter.
        ModelError: if a parameter enters that no step would move, or one receives no gradient: not at its initial
            value, not near it with the annealing done, and not from other rows; names the parameter. One that a term
            reaches gets an epoch to show a gradient, for only labelled rows, say, may teach it; and none is asked of it
            where the rest of its layer learns, for then only zeros went in (`_at_rest`).
    """
    function = engine.function
    if not bool(torch.isfinite(out.bounds).all()):
        raise NonFiniteError(f"The bound is not finite at the first step: {first_bad_site(engine, 0)}")
    gradients = function.unpack(out.gradients)
    for name, gradient in zip(function.names, gradients, strict=True):
        if not bool(torch.isfinite(gradient).all()):
            raise NonFiniteError(
                f"The gradient of the parameter `{shown(name)}` is not finite at the first step, while the bound is "
                f"{float(out.bounds[1]):.6g}. Look for a square root or logarithm at zero in the densities it enters."
            )
    state = engine.state
    if strangers := function.strangers(state.parameters, state.buffers, engine.inputs(0)):
        raise ModelError(
            f"A parameter of shape {tuple(strangers[0].shape)} enters the bound, and belongs neither to the model nor "
            f"to the guide, so no step would move it. Make its network an attribute of the model, or of a guide that "
            f"is an `nn.Module`, or freeze it with `requires_grad_(False)`."
        )
    silent = _silent(function, out, set(function.names) - _constants(function))
    if not silent:
        return
    generator = torch.Generator().manual_seed(derive_seed(engine.seed, "perturbation"))
    moved = [
        p + _PERTURBATION * torch.randn(p.shape, generator=generator, dtype=p.dtype, device="cpu").to(p.device)
        for p in engine.state.parameters
    ]
    state = engine.state.with_tensors([*moved, *engine.state.tensors[len(moved) :]])
    unreached: set[str] = set()
    seen = 0
    while silent and seen < _batches(engine, bool(silent & unreached)):
        silent = _silent(function, engine.gradients(seen, state, annealed=False), silent)
        if seen == 0 and silent:
            unreached = function.unreached(state.parameters, state.buffers, engine.inputs(0, annealed=False))
        silent = silent - _at_rest(function, silent, unreached)
        seen += 1
    if not silent:
        return
    name = next(name for name in function.names if name in silent)
    raise ModelError(
        f"The parameter `{shown(name)}` receives no gradient from `{function.objective!r}` on {seen} "
        f"batch{'' if seen == 1 else 'es'} of the data. Either no term of the bound depends on it (remove it, or "
        f"freeze it with `requires_grad_(False)`), or no datum shows its effect (a label that none has, a layer that "
        f"data on their raw scale saturate), or this objective cannot see it: a guide without pathwise gradients needs "
        f"`Trace_ELBO`, and a guide over enumerated sites has none in an importance-weighted bound."
    )


def _batches(engine: EagerSteps, unreached: bool) -> int:
    """How many batches the silent parameters are judged on; one where every step sees all the data."""
    if engine.feed.shared is not None:
        return 1
    if unreached:
        return _BATCHES
    epoch = math.ceil(engine.function.data_size / (engine.feed.size(0) * engine.function.processes))
    return min(max(epoch, _BATCHES), _MOST)


def shown(name: str) -> str:
    """A parameter's name as its owner knows it: the model's own as they are, a guide's after ``guide.``."""
    return name.removeprefix("model_module.").replace("guide_module.", "guide.").removeprefix("pyro_params.")


def _silent(function: StepFunction, out: Gradients, names: set[str]) -> set[str]:
    """Those of `names` whose gradient is zero everywhere."""
    pairs = zip(function.names, function.unpack(out.gradients), strict=True)
    return {name for name, g in pairs if name in names and g.numel() and not bool((g != 0).any())}


def _at_rest(function: StepFunction, silent: set[str], unreached: set[str]) -> set[str]:
    """Silent parameters that a term reaches, of a layer whose other parameters do get a gradient.

    The layer is then in use and sees: what multiplied its weight was zero in every datum, such as the seen pixels where
    the masks hide all. A model's own parameters, side by side in no layer, say nothing about each other.
    """
    roots = ("", "model_module", "guide_module", "pyro_params")
    learning = {_owner(name) for name in function.names if name not in silent}.difference(roots)
    return {name for name in silent - unreached if _owner(name) in learning}


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _constants(function: StepFunction) -> set[str]:
    """Parameters that their constraint leaves no freedom: the proportions of one component, the factor of a number."""
    names = set()
    for path, module in function.program.named_modules():
        for key, (constraint, _) in getattr(module, "_pyro_params", {}).items():
            name = ".".join(filter(None, (path, f"{key}_unconstrained")))
            free = function.parameters.get(name)  # None if it is frozen
            if free is not None and isinstance(constraint, _WITHOUT_FREEDOM) and free.shape[-1] == 1:
                names.add(name)
    return names


def first_bad_site(engine: EagerSteps, step: int) -> str:
    """A sentence that names the first site (in the order of the model) whose terms are not finite at `step`."""
    function, given = engine.function, engine.inputs(step)
    batch = function.transformed(given.batch, given.noise)
    parameters = function.unpack([p.detach() for p in engine.state.parameters])
    for name, value in zip(function.names, parameters, strict=True):
        if not bool(torch.isfinite(value).all()):
            return f"the parameter `{shown(name)}` is not finite."
    noise = Noise(given.noise.normal, given.noise.uniform)
    with torch.no_grad(), function.holding(parameters, engine.state.buffers), minibatch(function.data_size):
        terms = function.objective.evaluate(function.program, batch, noise=noise)
    for site in terms.sites.values():
        for part, term in (("log p", site.log_p), ("log q", site.log_q), ("KL", site.kl)):
            if term is not None and not bool(torch.isfinite(term).all()):
                bad = int((~torch.isfinite(term)).sum())
                draw = terms.values.get(site.name)
                hint = "" if draw is None or bool(torch.isfinite(draw).all()) else " (its draw is not finite)"
                if site.name in terms.structure.moving:
                    hint += f"; its support depends on {terms.structure.moving[site.name]}"
                return (
                    f"`{part}` of the site `{site.name}` is the first that is not finite ({bad} of {term.numel()} "
                    f"terms){hint}. Check its scale and support, and the learning rate."
                )
    gradients = function.unpack(engine.gradients(step).gradients)
    for name, value in zip(function.names, gradients, strict=True):
        if not bool(torch.isfinite(value).all()):
            return (
                f"every site's terms are finite, but the gradient of the parameter `{shown(name)}` is not. Lower `lr`, "
                f"or set `clip_norm`."
            )
    return "every site's terms and every gradient are finite, but the update overflows. Lower `lr`."
