"""The mean-field guide: an independent normal for every latent, drawn directly under its own name."""

from __future__ import annotations

__all__ = ["NormalGuide"]

from contextlib import ExitStack
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.distributions import biject_to

from jensen.inference.errors import ModelError
from jensen.models.common.parameter_scope import local_parameters, module_parameters

from ..pair.latents import Latents, LatentSite
from ..pair.supports.circle import wrapped
from .wrapped_normal import WrappedNormal


class NormalGuide(PyroModule):
    r"""Factorised normal in unconstrained space.

    .. math::
        q(z) = \prod_i \mathcal N(T_i^{-1}(z_i); \mu_i, \operatorname{diag} \sigma_i^2)
        \left| \det \frac{\partial T_i^{-1}}{\partial z_i} \right|

    with :math:`T_i` the bijection from the reals to the support of latent :math:`i`. A real latent is a plain `Normal`
    under its own name (no auxiliary site, no `Delta`), so its KL divergence from a normal prior stays analytic. An
    angle (VonMises) gets a normal wrapped around the circle.

    Args:
        latents: what `examine_latents` found in the model.
        init_scale: :math:`\sigma` at the start, in unconstrained space; locations start near the prior's medians.

    Attributes:
        local_latents: latents with one factor a datum; with any, the guide fits the full batch only.
    """

    def __init__(self, latents: Latents, init_scale: float = 0.1) -> None:
        with local_parameters():
            super().__init__("NormalGuide")
        self.sites = latents.continuous
        self.local_latents = latents.local
        for site in self.sites:
            start = site.unconstrained_start
            setattr(self, "loc_" + _key(site.name), nn.Parameter(start))
            setattr(self, "log_scale_" + _key(site.name), nn.Parameter(torch.full_like(start, init_scale).log()))
            if site.mask is not None:
                self.register_buffer("mask_" + _key(site.name), site.mask)

    def forward(self, *args: Any, **batch: Any) -> dict[str, Tensor]:
        """Draw every latent; the batch is only asked for its size."""
        values = {}
        plates: dict[str, Any] = {}  # entered again for each latent: a plate of one name may be made only once
        for site in self.sites:
            with ExitStack() as stack:
                for name, size, _ in site.plates:
                    if name == "data":
                        _check_rows(site.name, size, args, batch)
                site.enter_plates(stack, plates)
                if site.mask is not None:  # what has no prior has no entropy either
                    stack.enter_context(pyro.poutine.mask(mask=getattr(self, "mask_" + _key(site.name))))
                # q(z_i)
                values[site.name] = pyro.sample(site.name, self.factor(site))
        return values

    def __call__(self, *args: Any, **batch: Any) -> Any:
        """Run `forward` with this module's own parameters: Pyro's global store is left alone."""
        with module_parameters(self):
            return super().__call__(*args, **batch)

    def factor(self, site: LatentSite) -> TorchDistributionMixin:
        r"""The distribution :math:`q(z_i)`, in the support of the latent."""
        loc, scale = self._loc_scale(site)
        if site.circular:
            return WrappedNormal(loc, scale).to_event(site.event_dim)
        if site.is_real:
            return dist.Normal(loc, scale).to_event(site.event_dim)
        transform = biject_to(site.support)
        base = dist.Normal(loc, scale).to_event(transform.domain.event_dim)
        return dist.TransformedDistribution(base, [transform]).to_event(site.event_dim - transform.codomain.event_dim)

    def _loc_scale(self, site: LatentSite) -> tuple[Tensor, Tensor]:
        loc, scale = getattr(self, "loc_" + _key(site.name)), getattr(self, "log_scale_" + _key(site.name)).exp()
        unit = getattr(self, "unit_" + _key(site.name), None)
        return (loc, scale) if unit is None else (getattr(self, "centre_" + _key(site.name)) + unit * loc, unit * scale)

    @property
    def latent_dim(self) -> int:
        """How many numbers the latents have together, unconstrained."""
        return sum(self._sizes)

    @property
    def _sizes(self) -> list[int]:
        return [getattr(self, "loc_" + _key(site.name)).numel() for site in self.sites]

    @torch.no_grad()
    def whiten(self, loc: Tensor, scale_tril: Tensor) -> None:
        r"""Start at the factorised normal that is nearest to :math:`\mathcal N(\mu, L L^\top)`, in its own units.

        That of least :math:`\mathrm{KL}(q \| p)`: its variances are the inverse diagonal of the precision.

        Args:
            loc: :math:`\mu`, ``(D,)``, the unconstrained latents in the order of the model.
            scale_tril: L, ``(D, D)``.
        """
        scale = torch.cholesky_inverse(scale_tril).diagonal().rsqrt()
        for site, place, unit in zip(self.sites, loc.split(self._sizes), scale.split(self._sizes), strict=True):
            parameter = getattr(self, "loc_" + _key(site.name))
            for name, value in (("centre_", place), ("unit_", unit)):
                self.register_buffer(name + _key(site.name), value.reshape(parameter.shape).to(parameter), False)
            parameter.zero_()
            getattr(self, "log_scale_" + _key(site.name)).zero_()

    @torch.no_grad()
    def fold(self) -> None:
        """Put the units into the parameters: from now on they are those of the unconstrained latents."""
        for site in self.sites:
            key = _key(site.name)
            if hasattr(self, "unit_" + key):
                loc, scale = self._loc_scale(site)
                delattr(self, "unit_" + key)
                delattr(self, "centre_" + key)
                getattr(self, "loc_" + key).copy_(loc)
                getattr(self, "log_scale_" + key).copy_(scale.log())

    @torch.no_grad()
    def median(self) -> dict[str, Tensor]:
        """The median of every latent (of the unconstrained value, mapped to its support)."""
        places = {s.name: self._loc_scale(s)[0] for s in self.sites}
        return {
            s.name: wrapped(places[s.name]) if s.circular else biject_to(s.support)(places[s.name]) for s in self.sites
        }


def _key(name: str) -> str:
    """A site's name as part of an attribute's name."""
    return name.replace(".", "__")


def _check_rows(site: str, size: int, args: tuple[Any, ...], batch: dict[str, Any]) -> None:
    tensors = [value for value in (*args, *batch.values()) if isinstance(value, Tensor) and value.ndim]
    if tensors and len(tensors[0]) != size:
        raise ModelError(
            f"`{site}` is a local latent with one factor for each of the {size} data this guide was built for, got "
            f"{len(tensors[0])}. Fit the full batch (`batch_size=None`), or give the model an amortised `guide`."
        )
