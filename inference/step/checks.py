"""What the first step must show before a fit goes on: finite terms, and a gradient for every parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import ModelError, NonFiniteError
from ..seeding import derive_seed
from .function import Gradients

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["check_first_step", "first_bad_site"]

_PERTURBATION = 1e-2


def check_first_step(engine: Engine, out: Gradients) -> None:
    """Raise if the first step cannot be the start of a fit.

    Raises:
        NonFiniteError: if the bound or a gradient is not finite; names the first bad site or parameter.
        ModelError: if a parameter receives no gradient, at its initial value and near it; names the parameter.
    """
    function = engine.function
    if not bool(torch.isfinite(out.bounds).all()):
        raise NonFiniteError(f"The bound is not finite at the first step: {first_bad_site(engine, 0)}")
    gradients = function.unpack(out.gradients)
    for name, gradient in zip(function.names, gradients, strict=True):
        if not bool(torch.isfinite(gradient).all()):
            raise NonFiniteError(
                f"The gradient of the parameter `{name}` is not finite at the first step, while the bound is "
                f"{float(out.bounds[1]):.6g}. Look for a square root or logarithm at zero in the densities it enters."
            )
    silent = {n for n, g in zip(function.names, gradients, strict=True) if g.numel() and not bool((g != 0).any())}
    if not silent:
        return
    generator = torch.Generator().manual_seed(derive_seed(engine.seed, "perturbation"))
    moved = [
        p + _PERTURBATION * torch.randn(p.shape, generator=generator, dtype=p.dtype, device="cpu").to(p.device)
        for p in engine.state.parameters
    ]
    state = engine.state.with_tensors([*moved, *engine.state.tensors[len(moved) :]])
    again = function.unpack(engine.gradients(0, state).gradients)
    for name, gradient in zip(function.names, again, strict=True):
        if name in silent and not bool((gradient != 0).any()):
            raise ModelError(
                f"The parameter `{name}` receives no gradient from `{function.objective!r}`. Either no term of the "
                f"bound depends on it (remove it, or freeze it with `requires_grad_(False)`), or this objective "
                f"cannot see it: a guide without pathwise gradients needs `Trace_ELBO`, and a guide over enumerated "
                f"sites has none in an importance-weighted bound."
            )


def first_bad_site(engine: Engine, step: int) -> str:
    """A sentence that names the first site (in the order of the model) whose terms are not finite at `step`."""
    from ..minibatch import minibatch
    from ..noise import Noise
    from ..terms import evaluate

    function, batch = engine.function, engine.feed.batch(step)
    noise = engine._noise_of(step, len(next(iter(batch.values()))))
    parameters = function.unpack([p.detach() for p in engine.state.parameters])
    for name, value in zip(function.names, parameters, strict=True):
        if not bool(torch.isfinite(value).all()):
            return f"the parameter `{name}` is not finite."
    objective = function.objective
    with torch.no_grad(), function._swapped(parameters, engine.state.buffers), minibatch(function.data_size):
        terms = evaluate(
            function.program,
            batch,
            num_particles=objective.num_particles,
            noise=None if function.transform is not None else Noise(noise.normal, noise.uniform),
            analytic_kl=objective.analytic_kl,
            enumerate_guide=objective.enumerate_guide,
            sum_guide=objective.sum_guide,
        )
    for site in terms.sites.values():
        for part, term in (("log p", site.log_p), ("log q", site.log_q), ("KL", site.kl)):
            if term is not None and not bool(torch.isfinite(term).all()):
                bad = int((~torch.isfinite(term)).sum())
                draw = terms.values.get(site.name)
                hint = "" if draw is None or bool(torch.isfinite(draw).all()) else " (its draw is not finite)"
                return (
                    f"`{part}` of the site `{site.name}` is the first that is not finite ({bad} of {term.numel()} "
                    f"terms){hint}. Check its scale and support, and the learning rate."
                )
    return "every site's terms are finite there; the gradient overflowed. Lower `lr`, or set `clip_norm`."
