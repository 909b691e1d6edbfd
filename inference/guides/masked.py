r"""Joint guides of latents of which some entries are masked in the model."""

from __future__ import annotations

__all__ = ["FilledGuide"]

from typing import Any

import torch
from pyro.distributions import Delta
from pyro.infer.autoguide import AutoGuide
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import biject_to

from ..pair.findings.masks import FILLS_MASK
from ..pair.latents import Latents, LatentSite


class FilledGuide(nn.Module):
    r"""An automatic guide that draws all latents together, beside a standard normal for what is masked.

    A masked entry has no density in the model, and a joint guide has one for every entry. Its target becomes
    :math:`r(z) = \mathcal N(T^{-1}(z); 0, 1) \, |\det \partial T^{-1}(z) / \partial z|`, which integrates to one: the
    bound stays one on the evidence, and nothing is lost where the guide learns :math:`r`. As the guide is a density of
    images of an unconstrained draw, the site's log density becomes :math:`-\log \mathcal N(T^{-1}(z); 0, 1)` there.

    Args:
        guide: the automatic guide.
        latents: what `examine_latents` found in the model.
    """

    def __init__(self, guide: AutoGuide, latents: Latents) -> None:
        super().__init__()
        self.guide = guide
        self.local_latents = latents.local
        self.sites = {site.name: site for site in latents.continuous if site.mask is not None}
        for index, site in enumerate(self.sites.values()):
            self.register_buffer(f"mask_{index}", site.mask)

    def forward(self, *args: Any, **batch: Any) -> Any:
        masks = {name: getattr(self, f"mask_{index}") for index, name in enumerate(self.sites)}
        with _Fill(self.sites, masks):
            return self.guide(*args, **batch)

    def median(self, *args: Any, **batch: Any) -> dict[str, Tensor]:
        """The median of every latent, where the guide has one."""
        medians: dict[str, Tensor] = self.guide.median(*args, **batch)
        return medians


class _Fill(Messenger):
    """Put the standard normal in the place of the densities of masked entries."""

    def __init__(self, sites: dict[str, LatentSite], masks: dict[str, Tensor]) -> None:
        super().__init__()
        self.sites, self.masks = sites, masks

    def _pyro_sample(self, msg: Any) -> None:
        name, fn = msg["name"], msg["fn"]
        if name not in self.sites or not isinstance(fn, Delta):
            return
        transform = biject_to(self.sites[name].support)
        free = transform.inv(fn.v)
        normal = -0.5 * (free.square() + torch.log(free.new_tensor(2 * torch.pi)))
        normal = normal.sum(tuple(range(-fn.event_dim, 0))) if fn.event_dim else normal
        density = torch.where(self.masks[name], fn.log_density, -normal)
        msg["fn"] = Delta(fn.v, log_density=density, event_dim=fn.event_dim)
        msg["infer"] = {**msg["infer"], FILLS_MASK: True}
