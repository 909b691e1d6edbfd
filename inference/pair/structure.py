"""One eager, validated run of a pair: its sites, and every fault that they show before a fit begins."""

from __future__ import annotations

__all__ = ["examine_structure"]

from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch.distributions import constraints

from ..tensors import Batch
from .bound_pair import BoundPair
from .densities.double_precision import cancels, is_large
from .eager_run import run_pair
from .findings import PairSites, class_name, data_frames, find
from .findings.supports import is_known_to_fit
from .moving_supports import find_moving
from .sites import Site, Structure


def examine_structure(program: BoundPair, batch: Batch, args: tuple[Any, ...] = ()) -> Structure:
    """Run guide and model once, with Pyro's validation on, and describe their sites and what is wrong with them."""
    run = run_pair(program, batch, args)
    model_nodes, guide_nodes = run.model, run.guide
    moving, elsewhere = find_moving(program, run, batch, args)
    pair = PairSites(
        run.model,
        run.guide,
        batch,
        run.model_rows,
        run.guide_rows,
        still=run.still,
        used_masked=run.used_masked,
        moving=moving,
        elsewhere=elsewhere,
    )
    findings = find(pair)
    nodes = [*model_nodes.values(), *guide_nodes.values()]
    sizes = {frame.size for node in nodes for frame in data_frames(node)}
    sites: dict[str, Site] = {}
    for name, node in model_nodes.items():
        kind = "observed" if node["is_observed"] else "latent"
        guarded = name in moving or not is_known_to_fit(node, guide_nodes.get(name))
        sites[name] = _site(name, kind, node, guide_nodes.get(name), guarded)
    for name, node in guide_nodes.items():
        if name not in model_nodes and not node["is_observed"]:
            sites[name] = _site(name, "auxiliary", node, node, False)
    dims = [frame.dim for node in nodes for frame in node["cond_indep_stack"] if frame.vectorized]
    order = tuple(name for name in guide_nodes if name in sites)
    nesting = -min(dims) if dims else 0
    return Structure(sites, order, nesting, sizes.pop() if sizes else None, tuple(findings), moving)


def _site(name: str, kind: str, node: dict[str, Any], guide_node: dict[str, Any] | None, guarded: bool) -> Site:
    fn: TorchDistributionMixin = node["fn"]
    frames = node["cond_indep_stack"]
    data = data_frames(node)
    enumerated = None
    if guide_node is None and kind == "latent":
        enumerated = "model"
    elif guide_node is not None and guide_node["infer"].get("enumerate") == "parallel":
        enumerated = "guide"
    guide_fn = guide_node["fn"] if guide_node is not None else None
    factor = node.get("minibatch_scale", 1.0)
    scale = node["scale"]
    scaled = isinstance(scale, torch.Tensor) or abs(float(scale) - factor) > 1e-12 * abs(factor)
    try:
        support = fn.support
    except NotImplementedError:
        support = constraints.real
    return Site(
        name=name,
        kind=kind,
        local=bool(data),
        data_dim=data[0].dim if data else None,
        plates=tuple((frame.name, frame.size) for frame in sorted(frames, key=lambda f: f.dim or 0)),
        batch_shape=tuple(fn.batch_shape),
        event_shape=tuple(fn.event_shape),
        support=support,
        enumerated=enumerated,
        enumerable=bool((guide_node or node)["fn"].has_enumerate_support),
        reparameterized=guide_fn is not None and bool(guide_fn.has_rsample),
        distribution=class_name(fn),
        guide_distribution=class_name(guide_fn) if guide_fn is not None else None,
        scaled=scaled,
        guarded=guarded,
        precise=any(cancels(n["fn"]) and is_large(n["fn"], n["value"]) for n in (node, guide_node) if n is not None),
    )
