r"""Importance-weighted bounds: IWAE, Renyi's alpha bounds, and the doubly reparameterised gradient."""

from __future__ import annotations

__all__ = ["IWAE", "DReG", "Renyi"]

import math
from collections.abc import Callable
from typing import Any

import torch

from ..errors import ConfigurationError, ModelError
from ..pair.site_terms import Terms
from ..pair.sites import Structure
from .base import Bound, Objective, require_unscaled
from .elbo import configuration_of, require_pathwise
from .score_function import without_pathwise


def _unit_weights(terms: Terms, objective: str) -> tuple[torch.Tensor, float, torch.Tensor | None]:
    """The independent log weights ``(K, units)``, the factor of their sum, and what is not weighted at all.

    Without global latents every datum is a unit of its own. With them, or with a global site that may depend on local
    draws, one joint weight per particle covers everything, which is a bound only on the full batch.
    """
    local, shared = terms.log_weight_local, terms.log_weight_global
    structure = terms.structure
    if structure.global_latents or local is None or (shared is not None and structure.is_coupled):
        if terms.scale != 1.0 or terms.share != 1.0:
            kind = "latents" if structure.global_latents else "sites"
            names = ", ".join(f"`{s.name}`" for s in structure.global_latents or structure.select(local=False))
            raise ModelError(
                f"`{objective}` with global {kind} ({names}) is a bound only on the full batch: the log of an "
                f"average of joint weights cannot be estimated from a mini-batch. Drop `batch_size`, or use "
                f"`Trace_ELBO` or `TraceMeanField_ELBO`."
            )
        if terms.row_weight is not None and terms.structure.select(local=True):
            raise ModelError(
                f"`{objective}` weights whole draws, so with global latents a row cannot count more than once: its own "
                f"latents would have to be drawn as often. Leave the row weights out, or use `Trace_ELBO`."
            )
        joint = shared if local is None else local.sum(-1) if shared is None else shared + local.sum(-1)
        if joint is None:
            raise ModelError("The model has no site with a density: nothing to fit. Observe a site with `obs=…`.")
        return joint.unsqueeze(-1), 1.0, None
    return local, terms.scale, shared


class Renyi(Objective):
    r"""Renyi's variational bound, a tempered log-mean of importance weights.

    .. math:: \mathcal L_\alpha = \frac NB \sum_b \frac1{1-\alpha}
       \log \frac1K \sum_k w_{kb}^{1-\alpha}, \qquad w_{kb} = \frac{p(x_b, z_{kb})}{q(z_{kb} \mid x_b)}.

    The weights are never scaled by ``N / B``: the logarithm is taken per datum, then summed, then scaled, so the bound
    stays a bound under mini-batches. ``alpha = 1`` is the ELBO, ``alpha = 0`` is IWAE. With global latents the weight
    is joint over the data, and only the full batch is accepted. Draws without a pathwise gradient use the score
    function with the leave-one-out baseline of VIMCO.

    Args:
        alpha: the order; 0 <= alpha < 1 gives lower bounds between IWAE and the ELBO, alpha < 0 may exceed the
        evidence. num_particles: `K`, the number of importance samples.

    Raises:
        ConfigurationError: if `alpha` is not finite.
        ModelError: with global latents and a mini-batch, with sites that the program itself scales, or with a site
            enumerated in the guide and ``alpha != 0``.

    Reference: Li & Turner, Renyi Divergence Variational Inference, 2016, https://arxiv.org/abs/1602.02311.
    """

    sum_guide = True

    def __init__(self, alpha: float, num_particles: int = 2) -> None:
        super().__init__(num_particles)
        if not math.isfinite(alpha):
            raise ConfigurationError(f"`alpha` must be a finite number, got {alpha!r}.")
        self.alpha = float(alpha)

    def configuration(self) -> dict[str, Any]:
        return configuration_of(self, alpha=self.alpha)

    def check(self, structure: Structure) -> None:
        require_unscaled(structure, type(self).__name__)
        in_guide = [site.name for site in structure.sites.values() if site.enumerated == "guide"]
        if in_guide and self.alpha != 0.0:
            raise ModelError(
                f"`Renyi(alpha={self.alpha})` cannot take the guide's enumerated site `{in_guide[0]}` exactly: "
                f"powers of a weight do not sum over it. Use `IWAE` (alpha = 0), or leave the site out of the guide."
            )

    def _value(self, log_weights: torch.Tensor) -> torch.Tensor:
        """``(units,)``: the bound of each unit from its ``(K, units)`` log weights."""
        order = 1.0 - self.alpha
        if abs(order) < 1e-12:
            return log_weights.mean(0)
        if abs(order) < 1e-3:  # the same value, without the cancellation near alpha = 1
            mean = log_weights.mean(0)
            return mean + torch.log1p(torch.expm1(order * (log_weights - mean)).mean(0)) / order
        tempered = log_weights if order == 1.0 else order * log_weights
        value = torch.logsumexp(tempered, 0) - math.log(log_weights.shape[0])
        return value if order == 1.0 else value / order

    def reduce(self, terms: Terms, weight: torch.Tensor | float) -> Bound:
        log_weights, scale, rest = _unit_weights(terms, type(self).__name__)
        value = self._value(log_weights)
        bound = scale * terms.weighted(value).sum()
        if rest is not None:
            bound = bound + terms.share * rest.mean()
        surrogate = self._surrogate(terms, log_weights, value, scale, bound)
        return Bound(surrogate, bound.detach(), bound.detach())

    def _surrogate(
        self, terms: Terms, log_weights: torch.Tensor, value: torch.Tensor, scale: float, bound: torch.Tensor
    ) -> torch.Tensor:
        sites = without_pathwise(terms)
        if not sites:
            return bound
        signal = terms.weighted(value - self._held_out(log_weights)).detach()
        surrogate = bound
        for site in sites:
            score = site.log_q if site.score is None else site.score
            assert score is not None
            log_q = score if log_weights.shape[-1] > 1 or score.dim() == 1 else score.sum(-1)
            log_q = log_q.unsqueeze(-1) if log_q.dim() == 1 else log_q
            surrogate = surrogate + scale * (log_q * signal).sum()
        return surrogate

    def _held_out(self, log_weights: torch.Tensor) -> torch.Tensor:
        """VIMCO's baseline ``(K, units)``: the bound with each weight replaced by the geometric mean of the others."""
        count = log_weights.shape[0]
        if count == 1:
            return torch.zeros_like(log_weights)
        eye = torch.eye(count, dtype=torch.bool, device=log_weights.device).unsqueeze(-1)
        others = torch.where(eye, 0.0, log_weights.unsqueeze(0)).sum(1) / (count - 1)
        replaced = torch.where(eye, others.unsqueeze(1), log_weights.unsqueeze(0))
        held_out = self._value(replaced.transpose(0, 1))
        return torch.where(torch.isfinite(held_out), held_out, 0.0)  # all the others may be impossible


class IWAE(Renyi):
    r"""The importance-weighted bound, ``E[log (1/K) sum_k p(x, z_k) / q(z_k | x)]``, per datum.

    Tighter in `K` and equal to the ELBO at ``K = 1``. The gradient is autograd's, of the log-mean itself; for the guide
    its signal-to-noise ratio *falls* as ``K ** -0.5``, which :class:`DReG` mends.

    Args:
        num_particles: `K`, the number of importance samples.

    Raises:
        ModelError: with global latents and a mini-batch, or with sites that the program itself scales.

    Reference: Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders, 2016, https://arxiv.org/abs/1509.00519.

    Example:
        >>> IWAE(50)
        IWAE(num_particles=50)
    """

    def __init__(self, num_particles: int = 50) -> None:
        super().__init__(0.0, num_particles)

    def configuration(self) -> dict[str, Any]:
        return configuration_of(self)


class DReG(IWAE):
    r"""The importance-weighted bound with the doubly reparameterised gradient for the guide.

    .. math:: \nabla_\phi = \sum_k \tilde w_k^2 \, \frac{\partial \log w_k}{\partial z_k}
       \frac{\partial z_k}{\partial\phi}, \qquad \tilde w_k = \frac{w_k}{\sum_j w_j},

    with ``log q`` scored at detached parameters; the model's parameters get IWAE's gradient. Unbiased, and its
    signal-to-noise ratio grows with `K`.

    Args:
        num_particles: `K`, the number of importance samples.

    Raises:
        ModelError: as `IWAE`, and if a site of the guide has no pathwise gradient.

    Reference: Tucker et al., Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives, 2019,
    https://arxiv.org/abs/1810.04152.
    """

    detach_guide = True

    def check(self, structure: Structure) -> None:
        super().check(structure)
        require_pathwise(structure, "DReG")

    @property
    def hook_values(self) -> Callable[..., Any]:
        return _scale_by_weights

    def reduce(self, terms: Terms, weight: torch.Tensor | float) -> Bound:
        log_weights, _, _ = _unit_weights(terms, "DReG")
        terms.hooks["weights"] = torch.softmax(log_weights.detach(), 0)
        return super().reduce(terms, weight)


def _scale_by_weights(
    values: dict[str, torch.Tensor], structure: Structure, hooks: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """Multiply the gradient that reaches each draw by its normalised weight, known only after the forward pass.

    The model and the guide's score see the scaled draws; draws that depend on earlier draws inside the guide are linked
    before the scaling, so each path is scaled exactly once.
    """

    def attach(value: torch.Tensor, name: str) -> torch.Tensor:
        if not value.requires_grad or name not in structure.sites:
            return value  # what the guide draws outside of its sites leads nowhere but to them
        site = structure.sites[name]
        if value.dim() - 1 > len(site.batch_shape) + len(site.event_shape):
            raise ModelError(
                f"`DReG` needs one draw of `{name}` per particle, and the guide draws one for every value of a site "
                f"that it enumerates. Use `IWAE`, or sample that site."
            )
        alias = value.view_as(value)

        def scale(gradient: torch.Tensor) -> torch.Tensor:
            weights = hooks["weights"]  # (K, B), or (K, 1) for a joint weight
            shape = [len(weights)] + [1] * (value.dim() - 1)
            if site.data_dim is not None:
                shape[site.data_dim - len(site.event_shape)] = weights.shape[1]
            return gradient * weights.reshape(shape)

        alias.register_hook(scale)
        return alias

    return {name: attach(value, name) for name, value in values.items()}
