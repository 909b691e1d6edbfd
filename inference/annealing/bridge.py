r"""The path of densities from one that can be drawn from to the posterior.

.. math:: \log f_\beta(u) = \log b(u) + \beta\, g(u), \qquad
   g(u) = \begin{cases} \log p(x \mid z) & b = \text{the prior} \\
   \log \tilde p(u) - \log q(u) & b = q, \text{ a normal} \end{cases}

so that :math:`f_0 = b` has the integral one and that of :math:`f_1 = \tilde p` is the evidence. With the prior this is
the geometric path :math:`p(z)\, p(x \mid z)^\beta`, with a normal it is :math:`q^{1 - \beta} \tilde p^\beta`.
"""

from __future__ import annotations

__all__ = ["Bridge", "NormalBase", "build_bridge"]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from ..devices import exact_dtype, run_on
from ..errors import ModelError
from ..pair.capabilities import unsupported_method
from ..pair.density import LatentDensity
from ..pair.function_program import own_copy
from ..pair.latents import Latents, examine_latents
from ..pair.particles import map_particles
from ..pair.terms import evaluate
from ..seeding import derive_seed
from ..storage.atomic import fingerprint
from ..tensors import Tensors

_NUMBERS_AT_ONCE = 2**22  # of data, times the draws that are made together
_NEVER = -1e30  # the log of a density where there is none: what it is added to stays a number


@dataclass(frozen=True, eq=False, repr=False)
class NormalBase:
    r""":math:`\mathcal N(\mu, L L^\top)` over the unconstrained latents.

    Attributes:
        names: of the latents, in the model's order.
        loc: ``(D,)``.
        scale_tril: L, ``(D, D)``.
    """

    names: tuple[str, ...]
    loc: Tensor
    scale_tril: Tensor

    def plain(self) -> dict[str, Any]:
        """What a stored configuration says of it."""
        parts = {"loc": self.loc, "scale_tril": self.scale_tril}
        return {"normal": list(self.names), "sha256": fingerprint(parts)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NormalBase) and self.plain() == other.plain()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<normal of {', '.join(self.names)}>"


class Bridge:
    """The two parts of the path's log density with their gradients, and draws from where it begins.

    Args:
        density: of the model's latents.
        base: where the path begins; None for the prior.

    Attributes:
        dim: D.
        device, dtype: of the particles.
    """

    def __init__(self, density: LatentDensity, base: NormalBase | None = None) -> None:
        self.density, self.dim = density, density.dim
        self.device, self.dtype = density.start.device, density.start.dtype
        self.base = base
        if base is not None:
            self._loc, root = base.loc.to(density.start), base.scale_tril.to(density.start)
            self._root, eye = root, torch.eye(self.dim).to(density.start)
            self._whiten = torch.linalg.solve_triangular(root, eye, upper=False)
            self._constant = float(-root.diagonal().log().sum() - 0.5 * self.dim * math.log(2.0 * math.pi))

    def terms(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log base and gain ``(K,)`` of ``u (K, D)``, and their gradients ``(K, D)``; all are finite numbers.

        Where there is no density both are :data:`_NEVER`, without a gradient.
        """
        with torch.enable_grad(), run_on(u.device, u.dtype), self.density.program.environment():
            leaf = u.detach().requires_grad_()
            base, gain = self.density(leaf)
            if self.base is not None:
                white = (leaf - self._loc) @ self._whiten.mT
                base, total = self._constant - 0.5 * white.square().sum(-1), base + gain
                gain = total - base
            nothing = 0.0 * leaf.sum()  # of a part that does not depend on the latents
            (base_slope,) = torch.autograd.grad(base.sum() + nothing, leaf, retain_graph=True)
            (gain_slope,) = torch.autograd.grad(gain.sum() + nothing, leaf)
        base, gain = base.detach(), gain.detach()
        return _finite(base, _NEVER), _finite(gain, _NEVER), _finite(base_slope, 0.0), _finite(gain_slope, 0.0)

    def draw(self, count: int, seed: int, purpose: str) -> Tensor:
        """``(count, D)`` independent draws from where the path begins."""
        own = derive_seed(seed, "annealing", purpose)
        if self.base is not None:
            generator = torch.Generator(self.device).manual_seed(own)
            noise = torch.randn(count, self.dim, generator=generator, dtype=self.dtype, device=self.device)
            return self._loc + noise @ self._root.mT
        program, batch = self.density.program, self.density.batch
        names = [site.name for site in self.density.sites]

        def one(_: Tensors) -> Tensors:
            nodes = poutine.trace(program.model).get_trace(**batch).nodes
            return {name: nodes[name]["value"] for name in names}

        rows = []
        most = max(1, _NUMBERS_AT_ONCE // sum(value.numel() for value in batch.values()))
        with torch.no_grad(), run_on(self.device, self.dtype), program.environment(), pyro.validation_enabled(False):
            torch.manual_seed(own)
            for part in range(0, count, most):
                rows.append(self.free(map_particles(program, one, min(most, count - part), None, {})))
        return torch.cat(rows)

    def free(self, values: Mapping[str, Tensor]) -> Tensor:
        """Latents ``(K, *shape)`` by site, unconstrained, ``(K, D)``."""
        parts = []
        for site, shape in zip(self.density.sites, self.density.shapes, strict=True):
            value = values[site.name].to(self.device, self.dtype)
            free = site.free(value.reshape(len(value), *site.start.shape))
            parts.append(free.reshape(len(value), math.prod(shape)))
        return torch.cat(parts, -1)


def _finite(value: Tensor, otherwise: float) -> Tensor:
    return torch.where(value.abs() < -_NEVER, value, otherwise)


def build_bridge(method: str, model: Any, batch: Mapping[str, Tensor], base: NormalBase | None = None) -> Bridge:
    """The bridge of a model's global latents given all the data, in float64, on a copy of the model.

    Args:
        method: who asks, for messages.
        model: a program.
        batch: all the data.
        base: where the path begins; None for the prior.

    Raises:
        ModelError: the model has no global latents, or also latents of each datum; latents are masked, have no prior
            that integrates to one, or one that a discrete latent which is summed out is part of (from the prior only).
    """
    device = next(iter(batch.values())).device
    dtype = exact_dtype(device)
    own = own_copy(model, device, dtype)
    if isinstance(own, torch.nn.Module):
        own.requires_grad_(False)
    data: Tensors = {name: v.to(dtype) if v.is_floating_point() else v for name, v in batch.items()}
    with run_on(device, dtype):
        torch.manual_seed(0)  # latents of a prior without a median begin at a draw, which no path depends on
        latents = examine_latents(own, data)
        _check_latents(method, model, latents, base)
        density = LatentDensity(own, data, latents)
        if base is None:
            _check_prior(method, density)
    names = tuple(site.name for site in density.sites)
    if base is not None and (base.names != names or len(base.loc) != density.dim):
        raise ModelError(
            f"{method}: `base` is a fit of {', '.join(base.names)} ({len(base.loc)} numbers), and the model's latents "
            f"are {', '.join(names)} ({density.dim} numbers). Fit the same model."
        )
    return Bridge(density, base)


def _check_latents(method: str, model: Any, latents: Latents, base: NormalBase | None) -> None:
    needs = "global latents alone, each with a prior that integrates to one"
    reason = ""
    if latents.local:
        reason = f"`{latents.local[0]}` is a latent of each datum"
    elif not latents.continuous:
        reason = "there are no continuous latents"
    for site in latents.continuous:
        if site.mask is not None:
            reason = reason or f"`{site.name}` is masked"
        if site.improper:
            reason = reason or f"the prior of `{site.name}` has no integral, so that there is no evidence"
        if site.circular and base is not None:
            reason = reason or f"`{site.name}` is an angle, which no normal is a density of; leave `base` out"
    if reason:
        raise unsupported_method(method, model, f"{needs} ({reason})")


def _check_prior(method: str, density: LatentDensity) -> None:
    """The prior's density must be that of its draws: no latent's may be summed together with a discrete one's."""
    with torch.no_grad():
        values, _ = density.latents(density.start.unsqueeze(0))
        terms = evaluate(density.program, density.batch, values=values)
    for site in density.sites:
        found = terms.sites.get(site.name)
        if found is None or found.log_p is None:
            raise ModelError(
                f"{method}: the prior of `{site.name}` depends on a discrete latent, which is summed out together with "
                f"it, so that the path cannot begin at the prior. Begin at a fit: `base=Pathfinder().fit(model, data)`."
            )
