"""The inverse autoregressive flow: Pyro's, made safe to copy and clear about what it needs."""

from __future__ import annotations

__all__ = ["AutoIAF"]

from typing import Any

import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoIAFNormal
from torch import Tensor, nn
from torch.distributions import Transform

from jensen.inference.errors import ConfigurationError

from .coordinates import InCoordinates, deviations


class AutoIAF(InCoordinates, AutoIAFNormal):
    r"""Pyro's `AutoIAFNormal`: :math:`u_i = \sigma_i(\epsilon_{<i}) \epsilon_i + \mu_i(\epsilon_{<i})`.

    Where it was whitened, the latents are :math:`c + L (m + s \odot u)` instead, with m and s learned beside the flow.
    Its density is cheap for its own draws only. The transforms keep their last draw to score it without inversion; a
    copy starts without one, since such a tensor belongs to a graph that cannot be copied.

    Raises:
        ConfigurationError: the model has a single latent number, on which the flow is only a shift and a scale.

    Reference: D. Kingma et al., *Improving Variational Inference with Inverse Autoregressive Flow*, 2016,
    https://arxiv.org/abs/1606.04934
    """

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        super()._setup_prototype(*args, **kwargs)
        if self.latent_dim < 2:
            raise ConfigurationError('`guide` "iaf" needs two or more latent numbers, got 1. Use "normal" or "flow".')

    def get_posterior(self, *args: Any, **kwargs: Any) -> dist.TransformedDistribution:
        posterior = super().get_posterior(*args, **kwargs)
        if (affine := self._affine()) is None:
            return posterior
        around = dist.transforms.LowerCholeskyAffine(*affine, cache_size=1)  # the flow inverts no tensor but its own
        return dist.TransformedDistribution(posterior.base_dist, [*posterior.transforms, around])

    def _affine(self) -> tuple[Tensor, Tensor] | None:
        """Place and lower triangular scale around the flow, where there are any."""
        coordinates = self._coordinates()
        if coordinates is None or not hasattr(self, "loc"):
            return coordinates
        centre, root = coordinates
        return centre + root @ self.loc, root * self.log_scale.exp()

    def _loc_scale(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Centre and scale before the flow bends them: what `median` and `quantiles` report."""
        affine = self._affine()
        if affine is None:
            return super()._loc_scale(*args, **kwargs)  # type: ignore[no-any-return]  # which says that it has none
        return affine[0], deviations(affine[1])

    @torch.no_grad()
    def whiten(self, loc: Tensor, scale_tril: Tensor) -> None:
        """Start at a normal over the unconstrained latents, ``(D,)`` and ``(D, D)``, in its coordinates."""
        like = next(self.parameters())
        self._set_coordinates(loc.to(like), scale_tril.to(like))
        self.loc = nn.Parameter(self.centre.new_zeros(self.latent_dim))
        self.log_scale = nn.Parameter(self.centre.new_zeros(self.latent_dim))

    @torch.no_grad()
    def fold(self) -> None:
        """Keep the coordinates for good, where there are any, and what was learned beside the flow in them."""
        if hasattr(self, "loc") and (affine := self._affine()) is not None:
            del self.loc, self.log_scale
            self._set_coordinates(*affine, persistent=True)

    def __getstate__(self) -> Any:
        for part in self.modules():
            if isinstance(part, Transform):
                part._cached_x_y = None, None
            if hasattr(part, "_cached_log_scale"):
                part._cached_log_scale = None  # type: ignore[assignment]
        return super().__getstate__()
