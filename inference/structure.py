"""One eager, validated run of a pair, and every fault it can show before a fit begins."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch.distributions import constraints

from .errors import ModelError, nearest
from .minibatch import DATA_PLATE
from .program import Batch, Program, Site, Structure

__all__ = ["examine_structure", "is_ignored"]


def is_ignored(site: dict[str, Any]) -> bool:
    """Whether a trace node carries no density: plates' index sites and `pyro.deterministic`."""
    return (
        site["type"] != "sample"
        or isinstance(site["fn"], _Subsample)
        or bool(site["infer"].get("_deterministic", False))
    )


def examine_structure(program: Program, batch: Batch, args: tuple[Any, ...] = ()) -> Structure:
    """Run guide and model once, with Pyro's validation on, and describe their sites.

    Raises:
        ModelError: if the guide lacks a latent that cannot be summed out, samples a site that the model lacks (and that
            is not marked auxiliary), samples an observed site or observes one itself, disagrees in shape or scale, if a
            site is wider than the plates around it, or the data plate is not vectorised.
    """
    cuda = {v.device for v in [*batch.values(), *args] if isinstance(v, torch.Tensor) and v.is_cuda}
    validated, given = pyro.validation_enabled(True), _GivenRows()
    with torch.random.fork_rng(devices=list(cuda)), program.environment(), validated, torch.no_grad():
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            with poutine.block(hide_fn=lambda msg: msg["type"] == "sample"), _kept_buffers(program):
                guide_trace = poutine.trace(program.guide).get_trace(*args, **batch)
                replayed = poutine.replay(given(program.model), trace=guide_trace)
                model_trace = poutine.trace(replayed).get_trace(*args, **batch)
    guide_nodes = {name: site for name, site in guide_trace.nodes.items() if not is_ignored(site)}
    model_nodes = {name: site for name, site in model_trace.nodes.items() if not is_ignored(site)}
    _check_names(guide_nodes, model_nodes)
    _check_rows(guide_trace, given.rows)
    nodes = [*model_nodes.values(), *guide_nodes.values()]
    sizes = _data_sizes(nodes)
    sites: dict[str, Site] = {}
    for name, node in model_nodes.items():
        kind = "observed" if node["is_observed"] else "latent"
        sites[name] = _site(name, kind, node, guide_nodes.get(name))
    for name, node in guide_nodes.items():
        if name not in model_nodes and not node["is_observed"]:
            sites[name] = _site(name, "auxiliary", node, node)
    dims = [frame.dim for node in nodes for frame in node["cond_indep_stack"] if frame.vectorized]
    order = tuple(name for name in guide_nodes if name in sites)
    return Structure(sites, order, -min(dims) if dims else 0, sizes.pop() if sizes else None)


def _data_sizes(nodes: list[dict[str, Any]]) -> set[int]:
    frames = [frame for node in nodes for frame in node["cond_indep_stack"] if frame.name == DATA_PLATE]
    sizes = {frame.full_size or frame.size for frame in frames}  # a model's plate takes over its guide's rows
    if len(sizes) > 1:
        raise ModelError(
            f"The plate `{DATA_PLATE}` has different sizes in model and guide: {sorted(sizes)}. Declare it in both "
            f"with the size of what they are given, `len(x)`."
        )
    return {frame.size for frame in frames}


class _GivenRows(Messenger):
    """Note the rows that a program gives to its plates, before a replay puts the guide's in their place."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Any] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], _Subsample) and msg["value"] is not None:
            self.rows[msg["name"]] = torch.as_tensor(msg["value"])


def _check_rows(guide_trace: Any, given: dict[str, torch.Tensor]) -> None:
    """A guide must not pick rows at random for a plate whose rows the model is given."""
    for name, rows in given.items():
        node = guide_trace.nodes.get(name)
        if node is not None and not torch.equal(torch.as_tensor(node["value"]), rows):
            raise ModelError(
                f"The guide's plate `{name}` has other rows than the model's, which is given its own by `subsample=…`, "
                f"so they would see different data. Write the model for the batch it is given, "
                f"`with pyro.plate({name!r}, len(x)):`, and pass `batch_size` to the fit."
            )


@contextmanager
def _kept_buffers(program: Program) -> Iterator[None]:
    """Running statistics of the pair's networks are afterwards what they were."""
    before = [(buffer, buffer.clone()) for buffer in program.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)


def _check_names(guide_nodes: dict[str, Any], model_nodes: dict[str, Any]) -> None:
    latents = [name for name, node in model_nodes.items() if not node["is_observed"]]
    for name, node in guide_nodes.items():
        if node["is_observed"]:
            raise ModelError(
                f"The guide observes `{name}`. A guide has nothing to observe, and the site would not count: remove "
                f"the statement from the guide, or its `obs=…`."
            )
        if name in model_nodes and model_nodes[name]["is_observed"]:
            raise ModelError(
                f"The guide samples `{name}`, which the model observes. Remove the site from the guide, or do not pass "
                f"data for it."
            )
        if name not in model_nodes and not node["infer"].get("is_auxiliary"):
            raise ModelError(
                f"The guide samples `{name}`, which the model does not have.{nearest(name, latents)} Rename it, or "
                "mark "
                f'it `infer={{"is_auxiliary": True}}` if it is meant to be an auxiliary variable.'
            )
    for name in latents:
        if name not in guide_nodes and not model_nodes[name]["fn"].has_enumerate_support:
            raise ModelError(
                f"The guide lacks the model's latent site `{name}`.{nearest(name, guide_nodes)} Add "
                f"`pyro.sample({name!r}, …)` to the guide, or pass an automatic guide such as "
                f'`SVI(…, guide="normal")`.'
            )


def _site(name: str, kind: str, node: dict[str, Any], guide_node: dict[str, Any] | None) -> Site:
    fn: TorchDistributionMixin = node["fn"]
    frames = node["cond_indep_stack"]
    data = [frame for frame in frames if frame.name == DATA_PLATE]
    if data and not data[0].vectorized:
        raise ModelError(
            f"The plate `{DATA_PLATE}` around `{name}` is a sequential loop. Write it as a context, "
            f'`with pyro.plate("{DATA_PLATE}", len(x)):`, so that all data are evaluated at once.'
        )
    for each in (node, guide_node):
        if each is not None:
            _check_width(name, each)
    enumerated = None
    if guide_node is None and kind == "latent":
        enumerated = "model"
    elif guide_node is not None and guide_node["infer"].get("enumerate") == "parallel":
        enumerated = "guide"
    if guide_node is not None and kind == "latent":
        _check_shapes(name, node, guide_node)
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
        distribution=_class_name(fn),
        guide_distribution=_class_name(guide_fn) if guide_fn is not None else None,
        scaled=scaled,
    )


def _check_width(name: str, node: dict[str, Any]) -> None:
    """Every batch dimension must be a plate's: else terms of one datum cannot be told from those of another."""
    fn, value = node["fn"], node["value"]
    rows = value.shape[: value.dim() - fn.event_dim]
    try:
        shape = torch.broadcast_shapes(fn.batch_shape, rows)
    except RuntimeError as error:
        raise ModelError(
            f"The site `{name}` has values of batch shape {tuple(rows)} and a distribution of batch shape "
            f"{tuple(fn.batch_shape)}. Declare the data plate with the size of what it is given, "
            f'`with pyro.plate("{DATA_PLATE}", len(x)):`, and check `.to_event(…)`.'
        ) from error
    plates = {frame.dim for frame in node["cond_indep_stack"] if frame.vectorized}
    if any(size > 1 and i - len(shape) not in plates for i, size in enumerate(shape)):
        raise ModelError(
            f"The log density of `{name}` has shape {tuple(shape)}, wider than the plates around it. Mark the extra "
            f"dimensions with `.to_event(…)`, or add a plate for them."
        )


def _check_shapes(name: str, model_node: dict[str, Any], guide_node: dict[str, Any]) -> None:
    model_fn, guide_fn = model_node["fn"], guide_node["fn"]
    if model_fn.event_shape != guide_fn.event_shape or model_fn.batch_shape != guide_fn.batch_shape:
        raise ModelError(
            f"The site `{name}` has batch shape {tuple(model_fn.batch_shape)} and event shape "
            f"{tuple(model_fn.event_shape)} in the model but batch shape {tuple(guide_fn.batch_shape)} and event shape "
            f"{tuple(guide_fn.event_shape)} in the guide. Both must agree: check `.to_event(…)` and the plates "
            "around it."
        )
    scales = [node["scale"] / node.get("minibatch_scale", 1.0) for node in (model_node, guide_node)]
    if float(abs(scales[0] - scales[1])) > 1e-6 * float(abs(scales[0])):
        raise ModelError(
            f"The site `{name}` is scaled by {float(scales[0]):g} in the model and by {float(scales[1]):g} in the "
            f"guide. Scale both alike (`poutine.scale` around the pair's latents), or neither."
        )
    plates = [{f.name for f in node["cond_indep_stack"]} for node in (model_node, guide_node)]
    if (DATA_PLATE in plates[0]) != (DATA_PLATE in plates[1]):
        where = "model" if DATA_PLATE in plates[0] else "guide"
        raise ModelError(
            f"The site `{name}` is inside the plate `{DATA_PLATE}` only in the {where}. Put it inside that plate in "
            f"both, or in neither."
        )


def _class_name(fn: Any) -> str:
    while fn.__class__.__name__ in ("Independent", "MaskedDistribution", "ExpandedDistribution"):
        fn = fn.base_dist
    return "Delta" if isinstance(fn, Delta) else fn.__class__.__name__
