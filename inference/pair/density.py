r"""The log density of a model's continuous latents, as a function of one unconstrained vector.

.. math:: \log \tilde p(u) = \underbrace{\log p(z) + \log |\det \partial T(u) / \partial u|}_{\text{prior}}
   + \underbrace{\log p(x \mid z)}_{\text{likelihood}}, \qquad z = T(u)

with T the bijection from the reals to the latents' supports, and discrete latents summed out exactly.
"""

from __future__ import annotations

__all__ = ["LatentDensity"]

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import biject_to

from .latents import Latents
from .program import Program
from .supports.circle import wrapped
from .terms import evaluate

Batch = Mapping[str, Tensor]


class LatentDensity:
    r"""The unnormalised posterior density of :math:`u \in \mathbb R^D` given one batch of data.

    Parameters of the model are held at their present values; what a plate ``"data"`` holds is summed, each datum as
    often as its row weight says.

    Args:
        model: the program, on the device and in the number type of `batch`.
        batch: the data.
        latents: what :func:`~jensen.inference.pair.latents.examine_latents` found in the model.

    Attributes:
        dim: D.
        start: ``(D,)`` near the centre of the prior.
    """

    def __init__(self, model: Callable[..., Any], batch: Batch, latents: Latents) -> None:
        self.batch, self.sites = dict(batch), latents.continuous
        starts = [site.free(site.start.to(torch.get_default_dtype())) for site in self.sites]
        self.shapes = [start.shape for start in starts]
        self.start = torch.cat([start.reshape(-1) for start in starts])
        self.dim = len(self.start)
        self.program = Program(model, self._point)
        self.program.structure(self.batch)

    def _point(self, *args: Any, **batch: Any) -> None:
        """A guide for the names of the latents; their values are given."""
        plates: dict[str, Any] = {}
        for site in self.sites:
            with ExitStack() as stack:
                site.enter_plates(stack, plates)
                start = site.start.to(torch.get_default_dtype())
                pyro.sample(site.name, dist.Delta(start, event_dim=site.event_dim))

    def latents(self, u: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        r"""The latents ``(K, *shape)`` at ``u (K, D)``, and :math:`\log |\det \partial T / \partial u|`, ``(K,)``."""
        values, log_det = {}, u.new_zeros(len(u))
        parts = u.split([math.prod(shape) for shape in self.shapes], dim=-1)
        for site, shape, part in zip(self.sites, self.shapes, parts, strict=True):
            free = part.reshape(len(u), *shape)
            if site.circular:
                values[site.name] = wrapped(free)
                continue
            transform = biject_to(site.support)
            values[site.name] = transform(free)
            if not site.is_real:
                ladj = transform.log_abs_det_jacobian(free, values[site.name])
                log_det = log_det + ladj.reshape(len(u), -1).sum(-1)
        return values, log_det

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Log prior and log likelihood ``(K,)`` of ``u (K, D)``, in nats over all data. Differentiable."""
        values, prior = self.latents(u)
        terms = evaluate(self.program, self.batch, num_particles=len(u), values=values)
        likelihood = torch.zeros_like(prior)
        for site in terms.sites.values():
            if site.log_p is None:
                continue
            log_p = terms.weighted(site.log_p).sum(-1) if site.local else site.log_p
            log_p = log_p * site.weight
            if site.kind == "latent":
                prior = prior + log_p
            else:
                likelihood = likelihood + log_p
        return prior, likelihood
