r"""A bound with a loss of the model's own added to it, such as a classifier's cross-entropy."""

from __future__ import annotations

__all__ = ["AuxiliaryELBO"]

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from jensen.models.protocols import HasAuxiliaryLoss

from ..errors import ConfigurationError, ModelError
from ..pair.program import Program
from ..pair.randomness.noise import Noise, NoiseLayout, witness_draws
from ..pair.site_terms import Terms
from ..pair.sites import Structure
from ..tensors import Batch
from .base import Bound, Objective
from .elbo import TraceEnum_ELBO


class AuxiliaryELBO(Objective):
    r"""A bound minus a weighted loss that the model declares for each datum.

    .. math:: \mathcal J = \mathcal L - w \, \frac NB \sum_{b=1}^{B} \ell_\phi(x_b, y_b),

    where :math:`\mathcal L` is the wrapped objective's and :math:`\ell` is what the model's method
    ``auxiliary_loss(**batch) -> (B,)`` returns, in nats and without randomness. It is scaled by ``N / B`` like the
    local terms of the bound, so mini-batches estimate the full-data objective without bias. It is part of the objective
    only: the bound in the history, and every evidence, stay those of the model.

    Args:
        objective: the bound that is raised.
        weight: `w`; for `SemiSupervisedVAE` the paper's is 0.1.

    Raises:
        ConfigurationError: if `objective` is not an objective or has such a loss itself, or `weight` is negative or not
            finite.
        ModelError: if the model has no `auxiliary_loss`, or it returns another shape than ``(B,)``.

    Reference: D. Kingma, D. Rezende, S. Mohamed and M. Welling, *Semi-supervised Learning with Deep Generative Models*,
    2014, equation 9, https://arxiv.org/abs/1406.5298.

    Example:
        >>> AuxiliaryELBO(weight=0.1)
        AuxiliaryELBO(num_particles=1, weight=0.1, bound={'objective': 'TraceEnum_ELBO', 'num_particles': 1})
    """

    def __init__(self, objective: Objective | None = None, weight: float = 0.1) -> None:
        wrapped = TraceEnum_ELBO() if objective is None else objective
        if not isinstance(wrapped, Objective):
            raise ConfigurationError(
                f"`objective` must be a jensen objective such as `TraceEnum_ELBO()`, got {objective!r}."
            )
        if isinstance(wrapped, AuxiliaryELBO):
            raise ConfigurationError(
                f"`objective` must be a plain bound, for the model declares one loss and it is added once, got "
                f"{wrapped!r}. Pass its bound, {wrapped.objective!r}, with the `weight` that the loss is to have."
            )
        if not (math.isfinite(weight) and weight >= 0.0):
            raise ConfigurationError(f"`weight` must be finite and not negative, got {weight!r}.")
        super().__init__(wrapped.num_particles)
        self.objective: Objective = wrapped
        self.weight = float(weight)
        self.analytic_kl, self.detach_guide = wrapped.analytic_kl, wrapped.detach_guide
        self.enumerate_guide, self.sum_guide = wrapped.enumerate_guide, wrapped.sum_guide

    def configuration(self) -> dict[str, Any]:
        return {**super().configuration(), "weight": self.weight, "bound": self.objective.configuration()}

    def check(self, structure: Structure) -> None:
        self.objective.check(structure)

    def schedule(self, fraction: float) -> float:
        return self.objective.schedule(fraction)

    @property
    def is_scheduled(self) -> bool:
        return self.objective.is_scheduled

    @property
    def is_sum_over_data(self) -> bool:
        return self.objective.is_sum_over_data

    @property
    def hook_values(self) -> Callable[..., Any] | None:
        return self.objective.hook_values

    def reduce(self, terms: Terms, weight: torch.Tensor | float) -> Bound:
        """The wrapped objective's reduction, without the loss: terms do not hold the batch."""
        return self.objective.reduce(terms, weight)

    def bound(
        self,
        program: Program,
        batch: Batch,
        *,
        args: tuple[Any, ...] = (),
        noise: Noise | NoiseLayout | None = None,
        weight: torch.Tensor | float = 1.0,
        share: float = 1.0,
    ) -> Bound:
        terms = self.evaluate(program, batch, args=args, noise=noise, share=share)
        found = self.objective.reduce(terms, weight)
        model = program.model_owner
        if not isinstance(model, HasAuxiliaryLoss):
            raise ModelError(
                f"`AuxiliaryELBO` needs a model with a method `auxiliary_loss(**batch)` that returns one loss a datum, "
                f"and `{type(model).__name__}` has none. Add it, or pass the bound itself: "
                f"{self.objective!r}."
            )
        # its draws (dropout in a classifier) are made once, not for each particle: from the step's own generator
        drawing = witness_draws(noise) if isinstance(noise, NoiseLayout) else nullcontext()
        with program.environment(), drawing:
            values = model.auxiliary_loss(*args, **batch)
        size = terms.structure.batch_size
        if values.dim() != 1 or (size is not None and len(values) != size):
            raise ModelError(
                f"`auxiliary_loss` must return one loss per datum, shape ({size},), got {tuple(values.shape)}."
            )
        penalty = self.weight * terms.scale * terms.weighted(values).sum()
        return Bound(found.surrogate - penalty, found.objective - penalty.detach(), found.bound)
