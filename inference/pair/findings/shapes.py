"""Shapes: of a site in model and guide, and of a density against the plates around it."""

from __future__ import annotations

__all__ = ["check_shapes", "check_widths", "same_place"]

from collections.abc import Iterator
from typing import Any

from pyro.distributions.util import broadcast_shape

from ..messengers.minibatch import DATA_PLATE
from .finding import Finding
from .pair_sites import PairSites, in_data_plate, plate_cure


def check_shapes(pair: PairSites) -> Iterator[Finding]:
    """Each shared latent has one shape, and one place inside or outside the data plate."""
    for name, (node, guide_node) in pair.shared.items():
        inside = in_data_plate(node), in_data_plate(guide_node)
        if inside[0] != inside[1]:
            here, there = ("model", "guide") if inside[0] else ("guide", "model")
            yield Finding(
                "plate-mismatch",
                name,
                f"The site `{name}` is inside the plate `{DATA_PLATE}` only in the {here}.",
                f"Put it inside {plate_cure(pair)} in the {there} too, or in neither.",
            )
        elif not same_shape(node, guide_node):
            yield _mismatch(name, node["fn"], guide_node["fn"])


def same_place(node: Any, guide_node: Any) -> bool:
    """Whether a site has the same shape in both programs, on the same side of the data plate."""
    return in_data_plate(node) == in_data_plate(guide_node) and same_shape(node, guide_node)


def same_shape(node: Any, guide_node: Any) -> bool:
    """Whether a site has the same batch and event shape in both programs."""
    p, q = node["fn"], guide_node["fn"]
    return bool(p.batch_shape == q.batch_shape and p.event_shape == q.event_shape)


def _mismatch(name: str, p: Any, q: Any) -> Finding:
    batch, event = (tuple(p.batch_shape), tuple(q.batch_shape)), (tuple(p.event_shape), tuple(q.event_shape))
    message = (
        f"The site `{name}` has batch shape {batch[0]} and event shape {event[0]} in the model, but batch shape "
        f"{batch[1]} and event shape {event[1]} in the guide."
    )
    total = [(*b, *e) for b, e in zip(batch, event, strict=True)]
    if total[0] == total[1]:
        fewer = "guide" if len(event[1]) < len(event[0]) else "model"
        number = abs(len(event[0]) - len(event[1]))
        cure = (
            f"The sizes agree, the split does not: add `.to_event({number})` to the {fewer}'s distribution"
            f"{' (on top of what it has)' if min(map(len, event)) else ''}, or a plate for those dimensions."
        )
    else:
        want = f"Make the parameters of the guide's distribution have the shape {total[0]}"
        cure = f"{want}{f', with `.to_event({len(event[0])})`' if event[0] else ''}."
    return Finding("shape-mismatch", name, message, cure)


def _log_prob_shape(site: Any) -> tuple[int, ...] | None:
    """The shape of the site's log density, or None if value and distribution do not fit."""
    fn, value = site["fn"], site["value"]
    try:  # torch's own `broadcast_shapes` would import sympy, which takes a second
        return tuple(broadcast_shape(fn.batch_shape, value.shape[: value.dim() - fn.event_dim]))
    except ValueError:
        return None


def check_widths(pair: PairSites) -> Iterator[Finding]:
    """Every batch dimension must be a plate's: else terms of one datum cannot be told from those of another."""
    seen: set[str] = set()
    for who, sites in (("model", pair.model), ("guide", pair.guide)):
        for name, site in sites.items():
            if name in seen or (name in pair.shared and not same_place(*pair.shared[name])):
                continue
            finding = _width(pair, who, name, site)
            if finding is not None:
                seen.add(name)
                yield finding


def _width(pair: PairSites, who: str, name: str, site: Any) -> Finding | None:
    shape, own = _log_prob_shape(site), tuple(site["fn"].batch_shape)
    value = tuple(site["value"].shape)
    if shape is None:
        return Finding(
            "hidden-dimension",
            name,
            f"The site `{name}` in the {who} has a value of shape {value}, which does not fit its distribution's batch "
            f"shape {own} and event shape {tuple(site['fn'].event_shape)}.",
            f"Declare the data plate with the size of what it is given, {plate_cure(pair)}, and check `.to_event(…)`.",
        )
    dims = {frame.dim for frame in site["cond_indep_stack"] if frame.vectorized}
    hidden = [dim for dim in range(-len(shape), 0) if dim not in dims and shape[dim] > 1]
    if not hidden:
        return None
    if own != shape:
        return Finding(
            "hidden-dimension",
            name,
            f"The value of `{name}` has shape {value}, its distribution {own}: together they make a log density of "
            f"shape {shape}, every value against every parameter.",
            f"Give the value the shape of the distribution, such as `{name}.squeeze(-1)`; or add `.to_event(1)` and "
            f"parameters of the value's shape.",
        )
    message = (
        f"The log density of `{name}` in the {who} has batch shape {shape}, wider than the plates around it: is its "
        f"dimension of size {', '.join(str(shape[dim]) for dim in hidden)} one vector, or independent draws?"
    )
    if dims:
        return Finding(
            "hidden-dimension",
            name,
            message,
            f"Mark the extra dimensions with `.to_event({len(hidden)})` if they are features of one datum, put last "
            f"(shape ({pair.size}, …)); if they are draws, add a plate for them.",
        )
    cure = f"Add `.to_event({len(hidden)})` to its distribution, or a plate of that size."
    if pair.size is not None and shape[0] == pair.size:
        cure = f"If they are the data, put the site in {plate_cure(pair)}; if they are one vector, add `.to_event(…)`."
    return Finding("hidden-dimension", name, message, cure)
