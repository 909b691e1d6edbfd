"""Dependence of a fit's latents on the rows they are drawn on."""

from __future__ import annotations

__all__ = ["depends_on_rows", "generator_aside", "given_rows", "is_training_data"]

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ..errors import ConfigurationError, ModelError
from ..pair.densities.site_densities import log_prob_of
from ..pair.findings.pair_sites import in_data_plate, is_ignored
from ..pair.messengers.substitute import Substitute
from ..tensors import Tensors
from .model_outline import Outline, outline
from .record import FitRecord

_ROWS_COMPARED = 2**22  # numbers of the data on which a guide is compared with itself on the first rows
_BROKEN = (ConfigurationError, ModelError, RuntimeError, ValueError, IndexError, TypeError)


def given_rows(fit: FitRecord, data: Any) -> tuple[Tensors, bool]:
    """`data` as a batch (the training data for None), and whether they are the training data.

    Raises:
        DataError: if there are none, or other ones hold a value outside its support.
        ModelError: if the pair cannot be run on them.
    """
    from ..data.observed_values import check_values

    batch = fit.batch(data)
    own = data is None or is_training_data(fit, batch)
    if not own and fit.draws is None:
        fit.program.structure(batch)
        check_values(fit.program, batch, use="draw")
    return batch, own


def is_training_data(fit: FitRecord, batch: Tensors) -> bool:
    """Whether `batch` holds what the fit was fitted to; how often each row counted may be left out."""
    if fit.data is None:
        return False
    weight = getattr(fit.model, "row_weight", None)
    if fit.data.keys() - {weight} != batch.keys() - {weight}:
        return False
    return all(name == weight or _equal(fit.data[name].to(value), value) for name, value in batch.items())


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def depends_on_rows(fit: FitRecord) -> list[str]:
    """Global latents of the guide, and global computed values of the model, that change with the rows they are given.

    Guide and model run on the first rows and on many rows, with the same global values, and are compared.
    """
    few = fit.fewest()
    many = _many_rows(fit, few)
    with generator_aside(few):
        try:
            guide = _guide_nodes(fit, many, {})
            shared = {name: node["value"] for name, node in guide.items() if not in_data_plate(node)}
            again = _guide_nodes(fit, few, shared)
        except _BROKEN:
            return []  # parameters per datum: it is run on all rows
        found = [name for name in shared if name not in again or not _same_density(guide[name], again[name])]
        try:
            model = outline(fit.program, many, {name: node["value"] for name, node in guide.items()})
            shared |= {name: model.nodes[name]["value"] for name in model.latents if not model.is_local(name)}
            first = outline(fit.program, few, shared)
        except _BROKEN:
            return found
    computed = [name for name in model.computed if not model.is_local(name)]
    return [*found, *(name for name in computed if not _same_value(model, first, name))]


def _same_density(a: Any, b: Any) -> bool:
    return a["fn"].batch_shape == b["fn"].batch_shape and _close(log_prob_of(a), log_prob_of(b))


def _same_value(model: Outline, first: Outline, name: str) -> bool:
    return name in first.nodes and _close(model.nodes[name]["value"], first.nodes[name]["value"])


def _guide_nodes(fit: FitRecord, batch: Tensors, given: Tensors) -> dict[str, Any]:
    with Substitute(given):
        trace = poutine.trace(fit.program.guide).get_trace(**batch)
    return {name: node for name, node in trace.nodes.items() if not is_ignored(node) and not node["is_observed"]}


def _many_rows(fit: FitRecord, few: Tensors) -> Tensors:
    """Training rows, evenly spaced; where none are held, rows that differ from the first ones."""
    if fit.data is None:
        return {n: torch.cat([v, v + 0.3 * (1 + v.abs()) if v.is_floating_point() else v]) for n, v in few.items()}
    batch = fit.batch()
    size = len(next(iter(batch.values())))
    rows = max(1, min(size, _ROWS_COMPARED // max(1, sum(value[0].numel() for value in batch.values()))))
    index = torch.linspace(0, size - 1, rows, dtype=torch.float64).round().long()
    return {name: value[index.to(value.device)] for name, value in batch.items()}


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-6, equal_nan=True)


@contextmanager
def generator_aside(batch: Tensors) -> Iterator[None]:
    """What is drawn inside leaves torch's generators as they were."""
    devices = sorted({value.device.index or 0 for value in batch.values() if value.is_cuda})
    with torch.random.fork_rng(devices=devices):
        yield
