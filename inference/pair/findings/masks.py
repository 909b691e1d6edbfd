r"""Masks of latents: the same in model and guide, and no value used that has lost its prior.

A mask takes log p of an entry out of the bound. If log q of it stays, the entropy of a value that nothing holds is
maximised without limit; so both are masked, or the guide gives the entry a density of its own that integrates to one.
"""

from __future__ import annotations

__all__ = ["FILLS_MASK", "check_masks", "mask_of", "mask_tensor", "masked_and_used"]

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import MaskedDistribution
from torch import Tensor

from ..densities.site_densities import log_prob_of
from ..messengers.substitute import Substitute
from .finding import Finding
from .pair_sites import PairSites, is_ignored
from .shapes import same_place

FILLS_MASK = "fills_mask"
"""Key in a site's `infer`: its guide gives what is masked a density that the model's side need not have."""


def mask_tensor(site: Any) -> Tensor | None:
    """The mask of the site over its batch shape, or None without one."""
    fn, mask = site["fn"], site["mask"]
    if isinstance(fn, MaskedDistribution):
        inner = torch.as_tensor(fn._mask)
        mask = inner if mask is None else inner & torch.as_tensor(mask)
    if mask is None or mask is True:
        return None
    return torch.as_tensor(mask, device=site["value"].device).expand(fn.batch_shape)


def mask_of(site: Any) -> Tensor | None:
    """Which entries of the site count, over its batch shape; None if all do."""
    mask = mask_tensor(site)
    return None if mask is None or bool(mask.all()) else mask


def check_masks(pair: PairSites) -> Iterator[Finding]:
    """Compare the masks of each shared latent; say which masked values are used all the same."""
    for name, (node, guide_node) in pair.shared.items():
        if same_place(node, guide_node) and not guide_node["infer"].get(FILLS_MASK):
            here, there = mask_of(node), mask_of(guide_node)
            if here is not there and (here is None or there is None or not torch.equal(here, there)):
                yield _mismatch(name, here, there)
    for name in pair.used_masked:
        yield Finding(
            "improper-mask",
            name,
            f"`{name}` is masked in the model, which takes its prior away, and its masked values are used by other "
            f"sites: there is no evidence, for what would be integrated over has no density.",
            f"Mask what is missing instead, or give `{name}` a prior.",
            severity="fault",
            stops=frozenset(("score",)),
        )


def _mismatch(name: str, here: Tensor | None, there: Tensor | None) -> Finding:
    def said(mask: Tensor | None) -> str:
        return "none" if mask is None else f"{int((~mask).sum())} of {mask.numel()}"

    return Finding(
        "mask-mismatch",
        name,
        f"The mask of `{name}` hides {said(here)} of its values in the model and {said(there)} in the guide, so that "
        f"the bound counts one density of a value without the other, and is none.",
        f"Put the same `pyro.poutine.mask(mask=…)` around `{name}` in the guide (of `obs_mask=m` that is `mask=~m`, "
        f'around the latent "…_unobserved"), or use a default guide, which takes the model\'s masks.',
    )


def masked_and_used(
    model: Callable[..., Any], trace: Any, args: tuple[Any, ...], batch: Mapping[str, Any]
) -> list[str]:
    """Latents of which masked values change the density of some site: one more run for each latent with a mask.

    Args:
        model: the program, without gradients and outside of other handlers.
        trace: a run of it.
        args, batch: what it was given.
    """
    nodes = {name: node for name, node in trace.nodes.items() if not is_ignored(node)}
    latents = {name: node for name, node in nodes.items() if not node["is_observed"]}
    values = {name: node["value"] for name, node in latents.items()}
    used = []
    for name, node in latents.items():
        mask = mask_of(node)
        if mask is None or not node["value"].is_floating_point():
            continue
        event = (1,) * node["fn"].event_dim
        other = torch.where(mask.reshape(mask.shape + event), node["value"], node["fn"].sample())
        again = poutine.trace(Substitute({**values, name: other})(model)).get_trace(*args, **batch)
        if any(n in again and not _same(site, again.nodes[n]) for n, site in nodes.items()):
            used.append(name)
    return used


def _same(first: Any, second: Any) -> bool:
    here, there = log_prob_of(first), log_prob_of(second)
    return here.shape == there.shape and torch.allclose(here, there, rtol=1e-5, atol=1e-6, equal_nan=True)
