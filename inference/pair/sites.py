"""`Site` and `Structure`: what one run of a pair tells about its sites."""

from __future__ import annotations

__all__ = ["Site", "Structure"]

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch.distributions import constraints

from .findings import Finding, Moving


@dataclass(frozen=True)
class Site:
    """What one run of the pair told about a sample site.

    Attributes:
        name: the site's name.
        kind: ``"observed"``, ``"latent"`` (in the model) or ``"auxiliary"`` (in the guide only).
        local: whether the site is inside the vectorised plate ``"data"``.
        data_dim: the negative batch dimension of that plate, or None.
        plates: names of the enclosing plates, outermost first, with their sizes.
        batch_shape, event_shape: of the site's distribution in the model (in the guide for auxiliary sites).
        support: the constraint of the model's distribution.
        enumerated: ``None``, ``"model"`` (summed out exactly) or ``"guide"`` (expectation taken exactly).
        enumerable: whether the guide's distribution (the model's where the guide lacks the site) has finite support.
        reparameterized: whether the guide's draw carries a pathwise gradient.
        distribution, guide_distribution: class names, for reports.
        scaled: whether the program itself scales the site (`poutine.scale` or a subsampling plate).
        guarded: whether a value may lie outside the support, which moves or is not known to hold the guide's: the
            density is then asked for, and is zero there.
        precise: whether its density is evaluated in float64, for its terms are large and cancel.
    """

    name: str
    kind: str
    local: bool
    data_dim: int | None
    plates: tuple[tuple[str, int], ...]
    batch_shape: tuple[int, ...]
    event_shape: tuple[int, ...]
    support: constraints.Constraint
    enumerated: str | None
    enumerable: bool
    reparameterized: bool
    distribution: str
    guide_distribution: str | None
    scaled: bool
    guarded: bool = False
    precise: bool = False


@dataclass(frozen=True)
class Structure:
    """The static structure of a pair: its sites in the order of the model, then the guide's auxiliary sites.

    Attributes:
        sites: by name.
        guide_order: names of the guide's sites in the order they are drawn.
        max_plate_nesting: how many batch dimensions, from the right, plates occupy.
        batch_size: size of the plate ``"data"``, or None when there is none.
        findings: what is wrong with the pair; none of them stops every use of it.
        moving: the model's sites whose support depends on latents or parameters, and on which.
    """

    sites: dict[str, Site]
    guide_order: tuple[str, ...]
    max_plate_nesting: int
    batch_size: int | None
    findings: tuple[Finding, ...] = ()
    moving: Mapping[str, Moving] = field(default_factory=dict)

    def select(self, kind: str | None = None, local: bool | None = None) -> list[Site]:
        return [
            site
            for site in self.sites.values()
            if (kind is None or site.kind == kind) and (local is None or site.local == local)
        ]

    @property
    def enumerated(self) -> list[Site]:
        return [site for site in self.sites.values() if site.enumerated]

    @property
    def is_coupled(self) -> bool:
        """Whether a global site comes after a local draw, in the model or the guide, and so may depend on it."""
        model_order = [name for name, site in self.sites.items() if site.kind != "auxiliary"]
        for order in (model_order, self.guide_order):
            drawn = [name for name in order if self.sites[name].local and self.sites[name].kind != "observed"]
            if drawn and any(not self.sites[name].local for name in order[order.index(drawn[0]) :]):
                return True
        return False

    @property
    def global_latents(self) -> list[Site]:
        return [site for site in self.sites.values() if site.kind != "observed" and not site.local]
