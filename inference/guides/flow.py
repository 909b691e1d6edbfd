"""A neural spline flow over all latents at once: the most flexible of the default guides."""

from __future__ import annotations

__all__ = ["AutoFlow"]

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from pyro.infer.autoguide.guides import AutoContinuous
from pyro.infer.autoguide.initialization import init_to_median
from torch import Tensor, nn
from torch.distributions import constraints

from .coordinates import InCoordinates, deviations


class FlowDistribution(TorchDistribution):
    r"""The density of :math:`u = c + L (\mu + \sigma \odot f(\epsilon))`, :math:`\epsilon \sim \mathcal N(0, I_D)`.

    .. math:: \log q(u) = \log \mathcal N(\epsilon; 0, I) - \log |\det f'(\epsilon)| - \sum_i \log (\sigma_i L_{ii})

    Args:
        transform: the bijection f, a zuko transform (it can give its value and log determinant in one pass).
        loc, scale: :math:`\mu, \sigma`, ``(D,)``.
        coordinates: c ``(D,)`` and L ``(D, D)``, lower triangular; None for zero and one.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # torch's own interface
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, transform: Any, loc: Tensor, scale: Tensor, coordinates: tuple[Tensor, Tensor] | None = None
    ) -> None:
        self.transform, self.loc, self.scale, self.coordinates = transform, loc, scale, coordinates
        self._drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(torch.Size(), loc.shape, validate_args=False)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw ``(*sample_shape, D)``; the density of the draw comes with it and is kept for `log_prob`."""
        noise = torch.randn(*sample_shape, *self.loc.shape, dtype=self.loc.dtype, device=self.loc.device)
        moved, log_det = self.transform.call_and_ladj(noise)
        value = self.loc + self.scale * moved
        if self.coordinates is not None:
            centre, root = self.coordinates
            value = centre + value @ root.mT
        self._drawn = value, self._log_density(noise, log_det)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of ``(..., D)``; a value that was not drawn here is first mapped back to its noise."""
        if self._drawn is not None and value is self._drawn[0]:
            return self._drawn[1]
        if self.coordinates is not None:
            centre, root = self.coordinates
            off = (value - centre).unsqueeze(-1)
            value = torch.linalg.solve_triangular(root.expand(*off.shape[:-2], *root.shape), off, upper=False)
            value = value.squeeze(-1)
        noise = self.transform.inv((value - self.loc) / self.scale)
        return self._log_density(noise, self.transform.call_and_ladj(noise)[1])

    def _log_density(self, noise: Tensor, log_det: Tensor) -> Tensor:
        normal = torch.distributions.Normal(torch.zeros_like(noise), 1.0, validate_args=False)
        stretch = self.scale if self.coordinates is None else self.scale * self.coordinates[1].diagonal()
        return normal.log_prob(noise).sum(-1) - log_det - stretch.log().sum(-1)


class AutoFlow(InCoordinates, AutoContinuous):
    r"""Neural spline flow posterior over the flattened, unconstrained latents.

    Drawn as one auxiliary site and handed to the latents by `Delta` sites, like Pyro's own continuous autoguides.
    Coupling layers make both directions cheap: drawing, and the density of a value drawn elsewhere.

    Args:
        model: a Pyro model.
        init_scale: scale of the flow's output at the start; its location starts near the prior's medians.
        transforms: number of coupling layers.
        hidden: widths of the hidden layers of each.
        bins: knots of each spline.
        init_loc_fn: where its location starts, one of Pyro's functions of a site.

    Reference: C. Durkan et al., *Neural Spline Flows*, 2019, https://arxiv.org/abs/1906.04032
    """

    def __init__(
        self,
        model: Callable[..., Any],
        init_scale: float = 0.1,
        transforms: int = 3,
        hidden: tuple[int, ...] = (64, 64),
        bins: int = 8,
        init_loc_fn: Callable[..., Any] = init_to_median,
    ) -> None:
        super().__init__(model, init_loc_fn=init_loc_fn)
        self.init_scale, self.transforms, self.hidden, self.bins = init_scale, transforms, hidden, bins

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        import zuko

        super()._setup_prototype(*args, **kwargs)
        self.loc = nn.Parameter(self._init_loc())
        self.log_scale = nn.Parameter(torch.full_like(self.loc, self.init_scale).log())
        passes = 2 if self.latent_dim > 1 else None
        self.flow = zuko.flows.NSF(
            self.latent_dim, transforms=self.transforms, hidden_features=self.hidden, bins=self.bins, passes=passes
        ).to(self.loc)

    def get_posterior(self, *args: Any, **kwargs: Any) -> FlowDistribution:
        """The distribution of the flattened, unconstrained latents."""
        return FlowDistribution(self.flow.transform(), self.loc, self.log_scale.exp(), self._coordinates())

    def _loc_scale(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Centre and scale before the flow bends them: what `median` and `quantiles` report."""
        loc, scale = self.loc, self.log_scale.exp()
        if (coordinates := self._coordinates()) is None:
            return loc, scale
        centre, root = coordinates
        return centre + root @ loc, deviations(root * scale)

    @torch.no_grad()
    def whiten(self, loc: Tensor, scale_tril: Tensor) -> None:
        """Start at a normal over the unconstrained latents, ``(D,)`` and ``(D, D)``, in its coordinates."""
        self._set_coordinates(loc.to(self.loc), scale_tril.to(self.loc))
        self.loc.zero_()
        self.log_scale.zero_()

    @torch.no_grad()
    def fold(self) -> None:
        """Keep the coordinates for good, where there are any: `loc` is zero in them, and L has a diagonal of ones."""
        if (coordinates := self._coordinates()) is not None:
            centre, root = coordinates
            scaled = root * self.log_scale.exp()
            scale = scaled.diagonal()
            self._set_coordinates(centre + root @ self.loc, scaled / scale, persistent=True)
            self.loc.zero_()
            self.log_scale.copy_(scale.log())
