"""One eager, validated run of a pair: its sites, and every fault that they show before a fit begins."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import nn
from torch.distributions import constraints

from .findings import PairSites, class_name, data_frames, find
from .findings.masks import masked_and_used
from .findings.pair_sites import is_ignored, still_points
from .program import Batch, Program, Site, Structure

__all__ = ["EagerRun", "examine_structure", "kept_buffers", "run_pair"]


@dataclass(frozen=True)
class EagerRun:
    """What one eager run of a pair recorded: both programs' sites with a density, the rows of each plate in both, the
    latents that the guide puts at the same point in every run, and those of which masked values are used."""

    model: dict[str, Any]
    guide: dict[str, Any]
    model_rows: dict[str, torch.Tensor]
    guide_rows: dict[str, torch.Tensor]
    still: frozenset[str] = frozenset()
    used_masked: tuple[str, ...] = ()


def run_pair(program: Program, batch: Batch, args: tuple[Any, ...] = ()) -> EagerRun:
    """Run guide and model once, eagerly and with Pyro's validation on; nothing of the pair is changed."""
    cuda = {v.device for v in [*batch.values(), *args] if isinstance(v, torch.Tensor) and v.is_cuda}
    validated, given = pyro.validation_enabled(True), _GivenRows()
    with torch.random.fork_rng(devices=list(cuda)), program.environment(), validated, torch.no_grad():
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            with poutine.block(hide_fn=lambda msg: msg["type"] == "sample"), kept_buffers(program):
                guide_trace = poutine.trace(program.guide).get_trace(*args, **batch)
                replayed = poutine.replay(given(program.model), trace=guide_trace)
                model_trace = poutine.trace(replayed).get_trace(*args, **batch)
                used_masked = masked_and_used(program.model, model_trace, args, batch)
                still: frozenset[str] = frozenset()
                if any(not is_ignored(n) and class_name(n["fn"]) == "Delta" for n in guide_trace.nodes.values()):
                    torch.manual_seed(1)
                    again = poutine.trace(program.guide).get_trace(*args, **batch)
                    still = still_points(_with_density(guide_trace), _with_density(again))
    chosen = {name: torch.as_tensor(guide_trace.nodes[name]["value"]) for name in given.rows if name in guide_trace}
    sites = _with_density(model_trace), _with_density(guide_trace)
    return EagerRun(*sites, given.rows, chosen, still, tuple(used_masked))


def examine_structure(program: Program, batch: Batch, args: tuple[Any, ...] = ()) -> Structure:
    """Run guide and model once, with Pyro's validation on, and describe their sites and what is wrong with them."""
    run = run_pair(program, batch, args)
    model_nodes, guide_nodes = run.model, run.guide
    pair = PairSites(
        run.model,
        run.guide,
        batch,
        run.model_rows,
        run.guide_rows,
        still=run.still,
        used_masked=run.used_masked,
    )
    findings = find(pair)
    nodes = [*model_nodes.values(), *guide_nodes.values()]
    sizes = {frame.size for node in nodes for frame in data_frames(node)}
    sites: dict[str, Site] = {}
    for name, node in model_nodes.items():
        kind = "observed" if node["is_observed"] else "latent"
        sites[name] = _site(name, kind, node, guide_nodes.get(name))
    for name, node in guide_nodes.items():
        if name not in model_nodes and not node["is_observed"]:
            sites[name] = _site(name, "auxiliary", node, node)
    dims = [frame.dim for node in nodes for frame in node["cond_indep_stack"] if frame.vectorized]
    order = tuple(name for name in guide_nodes if name in sites)
    nesting = -min(dims) if dims else 0
    return Structure(sites, order, nesting, sizes.pop() if sizes else None, tuple(findings))


def _with_density(trace: Any) -> dict[str, Any]:
    return {name: site for name, site in trace.nodes.items() if not is_ignored(site)}


class _GivenRows(Messenger):
    """Note the rows that a program gives to its plates, before a replay puts the guide's in their place."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, torch.Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], _Subsample) and msg["value"] is not None:
            self.rows[msg["name"]] = torch.as_tensor(msg["value"])


@contextmanager
def kept_buffers(module: nn.Module) -> Iterator[None]:
    """Running statistics of the networks are afterwards what they were."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)


def _site(name: str, kind: str, node: dict[str, Any], guide_node: dict[str, Any] | None) -> Site:
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
    )
