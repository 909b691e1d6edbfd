"""The continuous latents of a model, from one run: names, supports, shapes and values near the prior's centre."""

from __future__ import annotations

__all__ = ["LatentSite", "Latents", "draw_latents", "examine_latents"]

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer.autoguide.initialization import InitMessenger, init_to_feasible, init_to_median
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn
from torch.distributions import biject_to, constraints

from jensen.models.common.parameter_scope import local_parameters
from jensen.models.common.sampling import default_device_and_dtype
from jensen.models.distributions.recentred import Recentred

from ..errors import ModelError
from .capabilities import check_has_evidence
from .findings.circles import is_circular
from .findings.improper import FeasibleValue, is_improper
from .findings.masks import mask_tensor, masked_and_used
from .supports.support_sets import base_of, prior_support


@dataclass(frozen=True)
class LatentSite:
    """A continuous latent of the model.

    Attributes:
        name: the site's name.
        plates: enclosing plates, outermost first: (name, size, batch dimension).
        event_dim: number of event dimensions.
        support: the constraint its values satisfy.
        start: a typical value under the prior, in the site's full shape.
        mask: which entries count in the model, over the batch shape; None if all do.
        loose: whether masked entries are used by other sites, although they have no prior.
        circular: whether it is an angle.
        improper: whether nothing can be drawn from its prior.
    """

    name: str
    plates: tuple[tuple[str, int, int], ...]
    event_dim: int
    support: constraints.Constraint
    start: Tensor
    mask: Tensor | None = None
    loose: bool = False
    circular: bool = False
    improper: bool = False

    @property
    def local(self) -> bool:
        """Whether it lives inside the plate ``"data"``."""
        return any(name == "data" for name, _, _ in self.plates)

    @property
    def is_real(self) -> bool:
        """Whether it is unconstrained, so that a normal density needs no transform."""
        support = self.support
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        return support is constraints.real

    @property
    def unconstrained_start(self) -> Tensor:
        """The start mapped to unconstrained space."""
        return self.free(self.start).clone()

    def enter_plates(self, stack: ExitStack, plates: dict[str, Any]) -> None:
        """Enter the site's plates; `plates` holds those made so far, for one of a name may be made only once."""
        for name, size, dim in self.plates:
            if name not in plates:
                plates[name] = pyro.plate(name, size, dim=dim)
            stack.enter_context(plates[name])

    def free(self, value: Tensor) -> Tensor:
        """A value mapped to unconstrained space."""
        return value if self.circular else biject_to(self.support).inv(value).detach()


@dataclass(frozen=True)
class Latents:
    """The latents of a model: those a guide must draw, and the discrete ones that an objective sums out."""

    continuous: tuple[LatentSite, ...]
    discrete: tuple[str, ...]

    @property
    def local(self) -> tuple[str, ...]:
        """Names of the continuous latents inside the plate ``"data"``."""
        return tuple(site.name for site in self.continuous if site.local)


@torch.no_grad()
def examine_latents(program: Callable[..., Any], batch: Mapping[str, Tensor]) -> Latents:
    """Run `program` once on `batch`, eagerly, and return its latents with starts near their prior medians.

    Raises:
        ModelError: a discrete latent has no finite support, or a continuous one no bijection from the reals; or the
            model bounds no evidence.
    """
    check_has_evidence(program)
    parameters = program.parameters() if isinstance(program, nn.Module) else ()
    with (
        local_parameters(),
        default_device_and_dtype(batch, parameters),
        poutine.block(),
        pyro.get_param_store().scope(),
        InitMessenger(_centre),
        FeasibleValue(),
    ):
        trace = poutine.trace(program).get_trace(**batch)
        loose = masked_and_used(program, trace, (), batch)
    continuous, discrete = [], []
    site: Any
    for name, site in trace.nodes.items():
        if site["type"] != "sample" or site["is_observed"] or site_is_subsample(site):
            continue
        if site["fn"].support.is_discrete:
            if not site["fn"].has_enumerate_support:
                raise ModelError(
                    f"`{name}` is a discrete latent without finite support ({type(site['fn']).__name__}): it can "
                    "neither be summed out nor drawn by a default guide. Marginalise it, or write a `guide` for it."
                )
            discrete.append(name)
        else:
            continuous.append(_latent_site(name, site, name in loose))
    return Latents(tuple(continuous), tuple(discrete))


@torch.no_grad()
def draw_latents(program: Callable[..., Any], batch: Mapping[str, Tensor], latents: Latents, count: int) -> Tensor:
    """``(count, D)`` draws from the prior of the continuous latents, unconstrained, one after the other.

    What the model makes of them is not checked: under a wide prior, a rate may well overflow.
    """
    parameters = program.parameters() if isinstance(program, nn.Module) else ()
    rows = []
    for _ in range(count):
        with (
            local_parameters(),
            default_device_and_dtype(batch, parameters),
            poutine.block(),
            pyro.get_param_store().scope(),
            pyro.validation_enabled(False),
            FeasibleValue(),
        ):
            nodes = poutine.trace(program).get_trace(**batch).nodes
        rows.append(torch.cat([site.free(nodes[site.name]["value"]).reshape(-1) for site in latents.continuous]))
    return torch.stack(rows)


def _centre(site: Any) -> Tensor:
    """A value in the middle of the prior: its median where that is known, else its mean, else the median of draws."""
    fn = site["fn"]
    if isinstance(base_of(fn), Recentred):
        return init_to_feasible(site)  # type: ignore[no-any-return]
    for known in (lambda: _median(base_of(fn)), lambda: fn.mean):
        try:
            value = known().expand(fn.shape()).detach()
            if bool(torch.isfinite(value).all()) and bool(torch.isfinite(biject_to(fn.support).inv(value)).all()):
                return value  # type: ignore[no-any-return]
        except (NotImplementedError, RuntimeError, ValueError, AttributeError, TypeError):
            continue
    try:
        return init_to_median(site)  # type: ignore[no-any-return]
    except NotImplementedError:
        return fn.sample().detach()  # type: ignore[no-any-return]


def _median(base: Any) -> Tensor:
    return base.icdf(torch.full(base.batch_shape + base.event_shape, 0.5))  # type: ignore[no-any-return]


def _latent_site(name: str, site: Any, loose: bool) -> LatentSite:
    frames = sorted((frame for frame in site["cond_indep_stack"]), key=lambda frame: frame.dim or 0)
    for frame in frames:
        if not frame.vectorized:
            raise ModelError(
                f"`{name}` is inside the sequential plate `{frame.name}`, which default guides cannot follow. Use "
                "`with pyro.plate(...)` instead of iterating over it, or write a `guide`."
            )
    support = prior_support(site["fn"])
    try:
        biject_to(support)
    except NotImplementedError:
        raise ModelError(
            f"`{name}` has support {support}, which has no bijection from the reals. Write a `guide` for this model."
        ) from None
    plates = tuple((frame.name, frame.size, frame.dim) for frame in frames)
    fn, start = site["fn"], site["value"].detach()
    return LatentSite(
        name,
        plates,
        fn.event_dim,
        support,
        start,
        mask=mask_tensor(site),
        loose=loose,
        circular=is_circular(fn),
        improper=is_improper(fn),
    )
