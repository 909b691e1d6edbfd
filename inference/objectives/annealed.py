r"""Bounds with the KL reweighted: a weight or schedule (beta), or a target capacity."""

from __future__ import annotations

__all__ = ["BetaELBO", "CapacityELBO"]

import math
from collections.abc import Callable
from typing import Any

import torch

from ..errors import ConfigurationError, ModelError
from ..pair.site_terms import Terms
from ..pair.sites import Structure
from .base import Bound, Objective
from .elbo import configuration_of, require_pathwise, total
from .schedules import Constant, Linear, as_schedule, describe


class _Reweighted(Objective):
    """A likelihood part and a KL part, kept apart."""

    analytic_kl = True
    enumerate_guide = True

    def check(self, structure: Structure) -> None:
        require_pathwise(structure, type(self).__name__)
        summed = [site.name for site in structure.sites.values() if site.enumerated == "model"]
        if summed:
            raise ModelError(
                f"`{type(self).__name__}` needs the KL of every latent by itself, and `{summed[0]}` is summed out of "
                f"the model together with the likelihood. Sample it in the guide, or use `TraceEnum_ELBO`."
            )

    @staticmethod
    def _parts(terms: Terms, likelihood: bool, local: bool) -> torch.Tensor | None:
        value = None
        for site in terms.sites.values():
            if (site.kind == "observed") is likelihood and site.local is local:
                term = site.log_ratio * site.weight
                value = term if value is None else value + term
        return value


class BetaELBO(_Reweighted):
    r"""The evidence lower bound with its KL weighted, ``E_q[log p(x | z)] - beta KL(q(z | x) || p(z))``.

    The latents' terms are weighted in model and guide alike, the observed ones never. The plain bound (beta = 1) is
    reported beside the weighted objective.

    Args:
        beta: a number, or a schedule: a function of the fraction of training done (`Linear`, `Cyclical`, any callable).
        num_particles: `K`, draws of the guide per step.

    Raises:
        ConfigurationError: if `beta` is negative or not finite.
        ModelError: if a latent is summed out of the model, or has no pathwise gradient.

    Reference: Higgins et al., beta-VAE, 2017; Bowman et al., Generating Sentences from a Continuous Space, 2016,
    https://arxiv.org/abs/1511.06349.

    Example:
        >>> from jensen.inference import Linear
        >>> BetaELBO(Linear(0.0, 1.0, until=0.3)).schedule(0.15)
        0.5
    """

    def __init__(self, beta: float | Callable[[float], float] = 1.0, num_particles: int = 1) -> None:
        super().__init__(num_particles)
        self.beta = as_schedule(beta, "beta")

    def configuration(self) -> dict[str, Any]:
        return configuration_of(self, beta=describe(self.beta))

    def schedule(self, fraction: float) -> float:
        return float(self.beta(fraction))

    @property
    def is_scheduled(self) -> bool:
        return not isinstance(self.beta, Constant)

    def reduce(self, terms: Terms, weight: torch.Tensor | float) -> Bound:
        likelihood = total_or_zero(terms, self._parts(terms, True, True), self._parts(terms, True, False))
        negative_kl = total_or_zero(terms, self._parts(terms, False, True), self._parts(terms, False, False))
        objective = likelihood + weight * negative_kl
        return Bound(objective, objective.detach(), (likelihood + negative_kl).detach())


class CapacityELBO(_Reweighted):
    r"""The evidence lower bound with its KL held at a target, ``E_q[log p(x | z)] - gamma |KL - C|``.

    `KL` is the mean over the mini-batch, in nats per datum; the penalty is a total over the `N` data like the
    likelihood. Its absolute value makes the mini-batch estimate biased in the last place, as in the paper. Rows with a
    weight count by it in the mean, and a mini-batch whose rows all weigh 0 adds nothing.

    Args:
        capacity: `C` in nats per datum, a number or a schedule (the paper: ``Linear(0, 25, until=1.0)``).
        gamma: weight of the penalty.
        num_particles: `K`, draws of the guide per step.

    Raises:
        ConfigurationError: if `capacity` or `gamma` is negative or not finite.
        ModelError: if the pair has global latents, a latent summed out of the model, or one without a pathwise
        gradient.

    Reference: Burgess et al., Understanding disentangling in beta-VAE, 2018, https://arxiv.org/abs/1804.03599.
    """

    def __init__(
        self, capacity: float | Callable[[float], float] | None = None, gamma: float = 1000.0, num_particles: int = 1
    ) -> None:
        super().__init__(num_particles)
        self.capacity = as_schedule(Linear(0.0, 25.0, until=1.0) if capacity is None else capacity, "capacity")
        if not (math.isfinite(gamma) and gamma >= 0.0):
            raise ConfigurationError(f"`gamma` must be finite and not negative, got {gamma!r}.")
        self.gamma = float(gamma)

    def configuration(self) -> dict[str, Any]:
        return configuration_of(self, capacity=describe(self.capacity), gamma=self.gamma)

    def check(self, structure: Structure) -> None:
        super().check(structure)
        if structure.global_latents:
            raise ModelError(
                f"`CapacityELBO` holds the KL per datum at a target, and `{structure.global_latents[0].name}` is a "
                f"global latent. Use `BetaELBO` or `TraceMeanField_ELBO`."
            )

    def schedule(self, fraction: float) -> float:
        return float(self.capacity(fraction))

    @property
    def is_scheduled(self) -> bool:
        return not isinstance(self.capacity, Constant)

    @property
    def is_sum_over_data(self) -> bool:
        return False

    def reduce(self, terms: Terms, weight: torch.Tensor | float) -> Bound:
        likelihood = total_or_zero(terms, self._parts(terms, True, True), self._parts(terms, True, False))
        negative_kl = self._parts(terms, False, True)
        if negative_kl is None:
            raise ModelError("`CapacityELBO` needs a latent in the plate `data`, and the pair has none.")
        # |KL - C| over the batch as a total, for a batch whose rows all weigh 0 has no mean
        batch = negative_kl.shape[-1] if terms.row_weight is None else terms.row_weight.sum()
        total_kl = -terms.weighted(negative_kl).sum(-1).mean()
        objective = likelihood - self.gamma * terms.scale * (total_kl - weight * batch).abs()
        bound = likelihood - terms.scale * total_kl
        return Bound(objective, objective.detach(), bound.detach())


def total_or_zero(terms: Terms, local: torch.Tensor | None, shared: torch.Tensor | None) -> torch.Tensor:
    if local is None and shared is None:
        return torch.zeros(())
    return total(terms, local, shared)
