"""Posterior probabilities of each discrete latent."""

from __future__ import annotations

__all__ = ["Marginal", "marginals"]

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError
from ..fit.draws import pick, pieces
from ..fit.latent_draws import LatentDraws
from ..fit.model_outline import Outline
from ..fit.row_dependence import given_rows
from ..options import check_count
from ..pair.eval_mode import evaluation_mode
from ..seeding import derive_seed
from .weights.scoring import check_fit


@dataclass(frozen=True, repr=False, eq=False)
class Marginal:
    """The distribution of one discrete site, element by element.

    Attributes:
        probs: ``(*batch shape, C)``: the probability of each value; sums to one.
        stderr: the Monte Carlo standard error of `probs`; 0 where they are exact.
        support: ``(C, *event shape)``: the values.
    """

    probs: Tensor
    stderr: Tensor
    support: Tensor

    @property
    def mode(self) -> Tensor:
        """The most probable value of each element, ``(*batch shape, *event shape)``."""
        return self.support[self.probs.argmax(-1)]

    @property
    def mean(self) -> Tensor:
        """The expected value of each element; of a Bernoulli, the probability of 1."""
        return torch.tensordot(self.probs, self.support.to(self.probs.dtype), 1)

    def __repr__(self) -> str:
        return f"Marginal(probs={tuple(self.probs.shape)}, stderr<={float(self.stderr.max()):.1g})"


def marginals(fit: Any, data: Any = None, *, seed: int = 0, num_particles: int = 100) -> dict[str, Marginal]:
    r"""Posterior probabilities of every discrete latent: responsibilities, inclusion probabilities, smoothed states.

    .. math:: p(z_i = c \mid x) = \mathbb E_{q(\theta \mid x)}\, p(z_i = c \mid x, \theta)

    with all other discrete latents summed out exactly, in plates and along `pyro.markov` chains alike, and an average
    over the draws of the other latents :math:`\theta`. Without any (a mixture fitted by EM) the answer is exact. For a
    latent that the guide itself draws or enumerates, the probabilities are the guide's, :math:`q(z_i \mid x)`.

    Args:
        fit: a fit of a model with discrete latents.
        data: the data `x`; the training data if None. Global latents always are those of the training data.
        seed: of the draws.
        num_particles: how many draws of the other latents to average over.

    Returns:
        By site, a :class:`Marginal` of shape ``(*batch shape, C)``, in the fit's number type; ``(N, C)`` in a data
        plate at dimension -1. A site with an `obs_mask` comes under its own name, with probability one for what was
        observed.

    Raises:
        ModelError: if the model has no discrete latents.
        DataError: if the data are needed and not held, or outside a support.
        ConfigurationError: if `num_particles` is not positive, or `fit` no fit.

    Reference: F. Obermeyer et al., *Tensor Variable Elimination for Plated Factor Graphs*, 2019,
    https://arxiv.org/abs/1902.03210

    Example:
        >>> from jensen.inference import EM
        >>> from jensen.models import GaussianMixture
        >>> fit = EM().fit(GaussianMixture(2, 1), torch.tensor([[0.0], [0.1], [9.9], [10.0]]))
        >>> marginals(fit)["assignment"].probs.shape
        torch.Size([4, 2])
    """
    num = check_count("num_particles", num_particles)
    check_fit(fit)
    program = fit.program
    with evaluation_mode(program, derive_seed(seed, "marginals")), program.environment():
        batch, own = given_rows(fit, data)
        stored = None if fit.draws is None else pick(fit.draws, min(num, len(next(iter(fit.draws.values())))))
        latents = LatentDraws(fit, batch, own, stored=stored)
        if not any(site.enumerable for site in latents.sites):
            raise ModelError(
                f"`marginals` needs a model with discrete latents, and `{type(fit.model).__name__}` has none. For "
                f"continuous latents use `fit.posterior()`."
            )
        num = 1 if not latents.random else num if stored is None else min(num, len(next(iter(stored.values()))))
        seen = latents.outline()
        mean: dict[str, Tensor] = {}
        square: dict[str, Tensor] = {}
        for start, count in pieces(num, latents.num_numbers()):
            for name, probs in latents.marginals(start, count).items():
                wide = probs.double()
                mean[name] = mean.get(name, 0) + wide.sum(0)
                square[name] = square.get(name, 0) + wide.square().sum(0)
        dtype = next((v.dtype for v in [*program.parameters(), *batch.values()] if v.is_floating_point()), None)
        return dict(_finish(seen, mean, square, num, dtype or torch.get_default_dtype()))


def _finish(
    seen: Outline, mean: dict[str, Tensor], square: dict[str, Tensor], num: int, dtype: torch.dtype
) -> Iterator[tuple[str, Marginal]]:
    whole = {unobserved: name for name, (_, unobserved) in seen.filled.items()}
    for name, total in mean.items():
        probs = total / num
        spread = (square[name] / num - probs.square()).clamp_min(0.0)
        stderr = (spread / max(num - 1, 1)).sqrt()
        node = seen.nodes[name]
        support = node["fn"].enumerate_support(expand=False)
        support = support.reshape(len(support), *node["fn"].event_shape)
        if name in whole:
            part = seen.nodes[seen.filled[whole[name]][0]]
            given = (part["value"].unsqueeze(-1 - node["fn"].event_dim) == support).double()
            given = given.flatten(given.dim() - node["fn"].event_dim).all(-1) if node["fn"].event_dim else given
            mask = torch.as_tensor(part["mask"]).expand(probs.shape[:-1]).unsqueeze(-1)
            probs, stderr = torch.where(mask, given.double(), probs), torch.where(mask, 0.0, stderr)
        yield whole.get(name, name), Marginal(probs.to(dtype), stderr.to(dtype), support)
