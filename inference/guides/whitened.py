r"""Guides over all latents at once, in coordinates in which a known normal is the standard one.

With :math:`u = \mu_0 + L_0 v`, a guide learns the distribution of v. Where :math:`\mathcal N(\mu_0, L_0 L_0^\top)` is
near the posterior, a step of an optimiser is then as large in every direction as the posterior is wide there, whatever
the units and correlations of the latents are. After the fit the map is folded into the guide's own parameters, or
kept in its buffers where it is a flow.
"""

from __future__ import annotations

__all__ = ["AutoLowRankMultivariateNormal", "AutoMultivariateNormal", "fold", "is_whitenable", "whiten"]

from typing import Any

import pyro.distributions as dist
import torch
from pyro.infer import autoguide
from torch import Tensor, nn

from .flow import AutoFlow
from .iaf import AutoIAF
from .normal import NormalGuide
from .own_draws import MultivariateNormal
from .units import InUnits


class AutoMultivariateNormal(autoguide.AutoMultivariateNormal):
    """Pyro's guide of that name, which can be fitted in whitened coordinates."""

    def whiten(self, loc: Tensor, scale_tril: Tensor) -> None:
        """Start at a normal over the unconstrained latents, ``(D,)`` and ``(D, D)``."""
        self.register_buffer("centre", loc.to(self.loc), persistent=False)
        self.register_buffer("root", scale_tril.to(self.loc), persistent=False)
        with torch.no_grad():
            self.loc.zero_()
            self.scale = torch.ones_like(self.loc)
            self.scale_tril = torch.eye(len(self.loc)).to(self.loc)

    def _normal(self) -> tuple[Tensor, Tensor]:
        loc, scale_tril = self.loc, self.scale.unsqueeze(-1) * self.scale_tril
        if hasattr(self, "root"):
            return self.centre + self.root @ loc, self.root @ scale_tril
        return loc, scale_tril

    def get_posterior(self, *args: Any, **kwargs: Any) -> MultivariateNormal:
        loc, scale_tril = self._normal()
        return MultivariateNormal(loc, scale_tril=scale_tril)

    def get_transform(self, *args: Any, **kwargs: Any) -> Any:
        loc, scale_tril = self._normal()
        return dist.transforms.LowerCholeskyAffine(loc, scale_tril=scale_tril)

    def _loc_scale(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        loc, scale_tril = self._normal()
        return loc, scale_tril.square().sum(-1).sqrt()

    @torch.no_grad()
    def fold(self) -> None:
        """Put the map into the parameters: from now on they are those of the unconstrained latents."""
        if hasattr(self, "root"):
            loc, scale_tril = self._normal()
            del self.centre, self.root
            scale = scale_tril.diagonal()
            self.loc.copy_(loc)
            self.scale = scale
            self.scale_tril = scale_tril / scale.unsqueeze(-1)


class AutoLowRankMultivariateNormal(InUnits, autoguide.AutoLowRankMultivariateNormal):
    """Pyro's guide of that name, which can be fitted in units of the posterior's standard deviations."""

    def whiten(self, loc: Tensor, scale_tril: Tensor) -> None:
        r"""Start at the normal of greatest likelihood :math:`\mathrm{diag}(s)(W W^\top + I)\mathrm{diag}(s)`.

        W comes from the leading eigenvectors of the correlations, as in probabilistic principal components.
        """
        deviations = scale_tril.square().sum(-1).sqrt()
        root = scale_tril / deviations.unsqueeze(-1)
        values, vectors = torch.linalg.eigh(root @ root.mT)
        rank = self.rank
        rest = values[: len(values) - rank].mean().clamp(min=1e-6) if rank < len(values) else values[0].clamp(min=1e-6)
        lengths = (values[-rank:] / rest - 1.0).clamp(min=0.0).sqrt()
        self._set_units(loc.to(self.loc), deviations.to(self.loc))
        with torch.no_grad():
            self.loc.zero_()
            self.scale = rest.sqrt().to(self.loc).expand_as(self.loc).clone()
            self.cov_factor.copy_(vectors[:, -rank:] * lengths)

    def get_posterior(self, *args: Any, **kwargs: Any) -> dist.LowRankMultivariateNormal:
        loc, scale = self._mapped(self.loc, self.scale)
        return dist.LowRankMultivariateNormal(loc, self.cov_factor * scale.unsqueeze(-1), scale * scale)

    def _loc_scale(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        loc, scale = self._mapped(self.loc, self.scale)
        return loc, scale * (self.cov_factor.square().sum(-1) + 1.0).sqrt()

    @torch.no_grad()
    def fold(self) -> None:
        """Put the map into the parameters: from now on they are those of the unconstrained latents."""
        loc, scale = self._mapped(self.loc, self.scale)
        self._drop_units()
        self.loc.copy_(loc)
        self.scale = scale


_KINDS = (NormalGuide, AutoMultivariateNormal, AutoLowRankMultivariateNormal, AutoFlow, AutoIAF)


def is_whitenable(guide: Any) -> bool:
    """Whether `guide` is one that :func:`whiten` can start."""
    return isinstance(guide, _KINDS)


def whiten(guide: nn.Module, loc: Tensor, scale_tril: Tensor) -> None:
    """Start a default guide at a normal over the unconstrained latents.

    Args:
        guide: one that `is_whitenable`.
        loc: ``(D,)``, the latents in the order of the model.
        scale_tril: ``(D, D)``.

    Raises:
        ValueError: the guide has another number of latents (one that depends on the size of the batch).
    """
    if guide.latent_dim != len(loc):
        raise ValueError(f"the guide has {guide.latent_dim} latent numbers, and all the data {len(loc)}")
    guide.whiten(loc, scale_tril)  # type: ignore[operator]


def fold(guide: Any) -> None:
    """Put the map of :func:`whiten` into the guide's own parameters, if it has one."""
    if isinstance(guide, _KINDS):
        guide.fold()
