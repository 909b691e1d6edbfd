r"""Auxiliary draws and point masses of a guide: whether its sites make up a density of the latents.

A guide may draw an auxiliary :math:`u \sim q(u)` and give latents as images :math:`z = T(u)`, as Pyro's automatic
guides do; then :math:`q(z) = q(u) \, |\det \partial u / \partial z|`, and the map must be one to one. Numbers of
dimensions tell. More of `u` than of `z`, and the entropy of what is left over would be counted as if it were the
posterior's, without limit; fewer, and some of `z` is a point.
"""

from __future__ import annotations

__all__ = ["check_auxiliary"]

from collections.abc import Iterator
from typing import Any

import torch
from torch.distributions import biject_to

from .finding import Finding
from .pair_sites import PairSites, class_name


def check_auxiliary(pair: PairSites) -> Iterator[Finding]:
    """Count the dimensions of auxiliary draws and of what they are mapped to."""
    drawn = [n for n, node in pair.guide.items() if _is_auxiliary(pair, n) and class_name(node["fn"]) != "Delta"]
    points = [name for name, (_, guide_node) in pair.shared.items() if class_name(guide_node["fn"]) == "Delta"]
    images = [name for name in points if name not in pair.still]
    from_draws, of_images = sum(pair.guide[n]["value"].numel() for n in drawn), sum(_free(pair, n) for n in images)
    if from_draws > of_images:
        listed = ", ".join(f"`{name}`" for name in drawn)
        onto = "to any latent"
        if images:
            onto = f"onto {', '.join(f'`{name}`' for name in images)} ({of_images} dimensions)"
        yield Finding(
            "unmapped-auxiliary",
            drawn[0],
            f"The guide's auxiliary draws {listed} ({from_draws} dimensions) are not mapped one to one {onto}: their "
            f"entropy would count as if it were that of the latents, and the bound is none.",
            f"Give them a reverse density: sample `{drawn[0]}` in the model too, after the latents, from a "
            f"distribution given them (it may be learned). Or remove them from the guide.",
        )
    for name in points if from_draws < of_images else [name for name in points if name in pair.still]:
        yield Finding(
            "point-mass",
            name,
            f"The guide of `{name}` is a point mass (Delta): it has no density.",
            f'Evidence and k-hat need one: use a guide such as "normal", or make `{name}` a parameter.',
            severity="note",
            stops=frozenset(),
        )


def _is_auxiliary(pair: PairSites, name: str) -> bool:
    node = pair.guide[name]
    return name not in pair.model and not node["is_observed"] and bool(node["infer"].get("is_auxiliary"))


def _free(pair: PairSites, name: str) -> int:
    """How many numbers determine a value of the latent: those of its unconstrained form."""
    value: torch.Tensor = pair.guide[name]["value"]
    support: Any = pair.model[name]["fn"].support
    try:
        return int(biject_to(support).inv(value).numel())
    except (NotImplementedError, RuntimeError, ValueError):
        return value.numel()
