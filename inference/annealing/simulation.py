"""Data and latents drawn from a model together: the latents are then one exact draw of the data's posterior."""

from __future__ import annotations

__all__ = ["Simulated", "simulate"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from jensen.models.common.parameter_scope import local_parameters

from ..devices import exact_dtype, run_on
from ..errors import ModelError
from ..pair.function_program import own_copy
from ..seeding import derive_seed


@dataclass(frozen=True)
class Simulated:
    """One draw from a model's joint density.

    Attributes:
        data: the batch with what the model observes replaced by draws.
        latents: the draws of the latents that these were made with, by site.
    """

    data: dict[str, Tensor]
    latents: dict[str, Tensor]


@torch.no_grad()
def simulate(model: Any, batch: Mapping[str, Tensor], seed: int) -> Simulated:
    """Run the model once on the batch's inputs, in float64, drawing what it observes.

    Args:
        model: a program.
        batch: data whose outcomes are replaced; their inputs and shapes are kept.
        seed: of the draw.

    Raises:
        ModelError: what a site observes is not an argument of the model as it was given, or only a part of it is.
    """
    like = next(iter(batch.values()))
    dtype = exact_dtype(like.device)
    batch = {name: v.to(dtype) if v.is_floating_point() else v for name, v in batch.items()}
    own = own_copy(model, like.device, dtype)
    with run_on(like.device, dtype), local_parameters(), pyro.get_param_store().scope(), poutine.block():
        torch.manual_seed(derive_seed(seed, "annealing", "simulation"))
        nodes = poutine.trace(poutine.uncondition(own)).get_trace(**batch).nodes
    data, latents, drawn = dict(batch), {}, 0
    for name, node in nodes.items():
        if node["type"] != "sample" or site_is_subsample(node):
            continue
        if "was_observed" not in node["infer"]:
            latents[name] = node["value"].detach()
            continue
        key = _argument(name, node, batch)
        data[key] = node["value"].detach().to(batch[key].dtype).reshape(batch[key].shape)
        drawn += 1
    if not drawn:
        raise ModelError("`simulated` needs a model that observes its data, and this one observes nothing.")
    return Simulated(data, latents)


def _argument(site: str, node: Any, batch: Mapping[str, Tensor]) -> str:
    """The name of the argument that a site observes."""
    given = node["infer"].get("obs")
    for name, value in batch.items():
        if given is value:
            return name
    found = batch.get(site)
    if isinstance(given, Tensor) and found is not None and found.numel() == given.numel() == node["value"].numel():
        if torch.equal(found.reshape(-1), given.reshape(-1).to(found.dtype)):
            return site
    raise ModelError(
        f"`simulated` replaces the arguments that the model observes, but `{site}` observes a value made from them. "
        f"Draw data yourself, and pass a converged `reference` for them."
    )
