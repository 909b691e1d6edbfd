"""What every metric does first: check its arguments, find the data, and set the fitted pair up for scoring."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ..data import MemoryData, as_data
from ..errors import ConfigurationError, DataError, ModelError
from ..program import Program, Structure

__all__ = ["Scored", "check_count", "random_sites", "refuse_point_masses", "scored"]

Batch = dict[str, Tensor]


class Scored:
    """A fitted pair and the data to score it on.

    Attributes:
        program: the bound pair, in evaluation mode (no dropout, running batch-norm statistics).
        data: tensors keyed by the model's argument names, wherever they lie.
        size: ``N``.
        device: where the pair's parameters are; pieces of the data are moved there.
        structure: the pair's sites, as seen on a few data.
        sliceable: whether the pair also runs on a part of the data (not so for a guide with parameters per datum).
    """

    def __init__(self, program: Program, data: Batch) -> None:
        self.program, self.data = program, data
        self.size = len(next(iter(data.values())))
        self.device = _device(program, data)
        self.sliceable, self.structure = _sliceable(self)

    def rows(self, rows: slice | None = None) -> Batch:
        """The batch of these rows (all by default), on the pair's device."""
        return {n: (v if rows is None else v[rows]).to(self.device) for n, v in self.data.items()}


@contextmanager
def scored(fit: Any, data: Any = None, *, draw_discrete: bool = False) -> Iterator[Scored]:
    """The fitted pair of `fit` on `data` (by default its training data), without gradients, in evaluation mode.

    Every module's mode, the default dtype and the default device are as before on leaving. With `draw_discrete`, sites
    that the guide enumerates are drawn instead: terms averaged over them are no importance weights.

    Raises:
        DataError: if `data` is None and the fit kept no data, or the data do not fit the model.
    """
    program: Program = fit.program
    modes = {module: module.training for module in program.modules()}
    dtype = torch.get_default_dtype()
    try:
        program.eval()
        batch = _data(fit, data)
        floating = [t for t in (*program.parameters(), *batch.values()) if t.is_floating_point()]
        if floating:
            torch.set_default_dtype(floating[0].dtype)
        with torch.no_grad(), torch.device(_device(program, batch)):
            yield Scored(_drawing(program) if draw_discrete else program, batch)
    finally:
        torch.set_default_dtype(dtype)
        for module, training in modes.items():
            module.training = training


def _data(fit: Any, data: Any) -> Batch:
    if data is None:
        if fit.data is None:
            raise DataError("`data` must be given: this fit did not keep its training data (they were streamed).")
        return dict(fit.data)
    dtype = next((p.dtype for p in fit.program.parameters() if p.is_floating_point()), None)
    prepared = as_data(fit.model, data, dtype=dtype, device="cpu")
    if not isinstance(prepared, MemoryData):
        raise DataError("`data` must be in memory to be scored, got a stream. Pass tensors, arrays or a `Dataset`.")
    return prepared.batch()


def _drawing(program: Program) -> Program:
    """The same pair, sharing all its parts, with a guide that asks for no enumeration."""
    drawing = copy.copy(program)
    drawing._structure = {}
    guide = poutine.infer_config(program.guide, config_fn=lambda site: {"enumerate": None})
    drawing._guide = replace(program._guide, owner=None, name=None, callable=guide)
    return drawing


def _device(program: Program, data: Batch) -> torch.device:
    """Where the parameters are; where the data are, if there are none."""
    for tensor in (*program.parameters(), *program.buffers(), *data.values()):
        return tensor.device
    return torch.device("cpu")


def _sliceable(scored: Scored) -> tuple[bool, Structure]:
    """Whether the pair can run on a part of the data, and its structure on what it can run on."""
    few = min(2, scored.size)
    if few < scored.size:
        try:
            structure = scored.program.structure(scored.rows(slice(0, few)))
            if structure.batch_size == few:
                return True, structure
        except (ModelError, RuntimeError, ValueError, IndexError):
            pass  # then the whole data set must work, or its error is the one to show
    structure = scored.program.structure(scored.rows())
    return few == scored.size and structure.batch_size == few, structure


def random_sites(structure: Structure) -> list[str]:
    """The sites that are drawn: latent or auxiliary, and neither enumerated nor a point mass."""
    return [
        site.name
        for site in structure.sites.values()
        if site.kind != "observed" and not site.enumerated and site.guide_distribution != "Delta"
    ]


def refuse_point_masses(structure: Structure, metric: str) -> None:
    """An importance weight needs a guide with a density.

    Raises:
        ModelError: if a latent's guide is a `Delta` that is not the image of an auxiliary draw.
    """
    if structure.select("auxiliary"):
        return
    for site in structure.select("latent"):
        if site.guide_distribution == "Delta":
            raise ModelError(
                f"`{metric}` needs a guide with a density, but the guide of `{site.name}` is a point mass (Delta), as "
                f'in a MAP fit. Use a guide such as "normal", or make `{site.name}` a parameter of the model.'
            )


def check_count(name: str, value: int, least: int = 1) -> int:
    """`value` as an integer of at least `least`.

    Raises:
        ConfigurationError: otherwise.
    """
    if isinstance(value, bool) or int(value) != value or value < least:
        raise ConfigurationError(f"`{name}` must be an integer of at least {least}, got {value!r}.")
    return int(value)
