"""Pyro's autoguides, made ready: run once for their parameters, which stay local; no data is kept inside."""

from __future__ import annotations

__all__ = ["prepare_autoguide", "visible_program"]

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.infer.autoguide import AutoGuide
from torch import Tensor, nn

from jensen.inference.errors import ConfigurationError, ModelError
from jensen.inference.pair.findings.improper import FeasibleValue
from jensen.models.common.parameter_scope import local_parameters, make_local
from jensen.models.common.sampling import default_device_and_dtype

from ..pair.latents import Latents
from .masked import FilledGuide


def visible_program(program: Callable[..., Any], latents: Latents) -> Callable[..., Any]:
    """The program without its discrete latents, which the objective sums out: what an autoguide may see."""
    if latents.discrete:
        program = poutine.block(program, hide=list(latents.discrete))
    improper = any(site.improper for site in latents.continuous)
    return FeasibleValue()(program) if improper else program  # type: ignore[no-any-return]


@torch.no_grad()
def prepare_autoguide(
    guide: AutoGuide, program: Callable[..., Any], batch: Mapping[str, Tensor], latents: Latents
) -> nn.Module:
    """Run an autoguide once so that it has all its parameters, then drop the batch it keeps.

    Args:
        guide: built, perhaps not yet run.
        program: the model, whose parameters fix the device and dtype.
        batch: one batch of data.
        latents: what `examine_latents` found; gives the guide its attribute `local_latents`.

    Raises:
        ModelError: a latent is masked, and its masked values are used.
        ConfigurationError: the autoguide cannot serve this model (its own message is passed on).
    """
    make_local(guide)
    parameters = program.parameters() if isinstance(program, nn.Module) else ()
    try:
        with local_parameters(), default_device_and_dtype(batch, parameters), poutine.block():
            guide(**batch)
    except ConfigurationError:
        raise
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise ConfigurationError(f"`guide` {type(guide).__name__} cannot serve this model: {error}") from error
    for part in guide.modules():
        trace = getattr(part, "prototype_trace", None)
        if trace is not None and "_INPUT" in trace.nodes:
            trace.remove_node("_INPUT")
    guide.local_latents = latents.local
    loose = [site.name for site in latents.continuous if site.loose]
    if loose:
        raise ModelError(
            f"`{loose[0]}` is masked in the model, which takes its prior away, and its masked values are used by other "
            f'sites, so {type(guide).__name__} has no density to aim at. Use the guide "normal", or mask less.'
        )
    return FilledGuide(guide, latents) if any(site.mask is not None for site in latents.continuous) else guide
