"""The first step of every metric: check the arguments, find the data, and set the fitted pair up for scoring."""

from __future__ import annotations

__all__ = ["Scored", "check_fit", "random_sites", "refuse_point_masses", "scored"]

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ...data.base import MemoryData
from ...data.data import as_data
from ...data.observed_values import check_values
from ...errors import ConfigurationError, DataError, ModelError
from ...pair.coupling import examine_coupling, few_rows
from ...pair.eval_mode import evaluation_mode
from ...pair.findings import raise_first
from ...pair.program import Program
from ...pair.sites import Structure
from ...tensors import Tensors


class Scored:
    """A fitted pair and the data to score it on.

    Attributes:
        program: the bound pair, in evaluation mode (no dropout, running batch-norm statistics).
        data: tensors keyed by the model's argument names, wherever they lie.
        size: ``N``.
        device: where the pair's parameters are; pieces of the data are moved there.
        structure: the pair's sites, as seen on a few data.
        coupled: whether the draws of different data depend on each other, or a global site on them: weights are then
            those of whole draws, over all the data.
        sliceable: whether the pair gives the same terms on a part of the data (not so for a guide with parameters per
            datum, or for a program that compares the rows it is given).
    """

    def __init__(self, program: Program, data: Tensors, device: torch.device) -> None:
        self.program, self.data, self.device = program, data, device
        self.size = len(next(iter(data.values())))
        self.sliceable, self.structure = _sliceable(self)
        raise_first(self.structure.findings, "score")
        coupling = examine_coupling(program, few_rows(program, self.rows()) if self.sliceable else self.rows())
        self.coupled = bool(coupling.of_draws)
        self.sliceable = self.sliceable and not (self.coupled or coupling.context)

    def take(self, rows: torch.Tensor) -> None:
        """Score only these rows from now on; for a pair that is `sliceable`."""
        self.data = {name: value[rows.to(value.device)] for name, value in self.data.items()}
        self.size = len(rows)

    def rows(self, rows: slice | None = None) -> Tensors:
        """The batch of these rows (all by default), on the pair's device."""
        return {n: (v if rows is None else v[rows]).to(self.device) for n, v in self.data.items()}


@contextmanager
def scored(fit: Any, data: Any = None, *, draw_discrete: bool = False) -> Iterator[Scored]:
    """The fitted pair of `fit` on `data` (by default its training data), without gradients, in evaluation mode.

    Every module's mode, the random state, the default dtype and device are as before on leaving. With `draw_discrete`,
    sites that the guide enumerates are drawn instead: terms averaged over them are no importance weights.

    Raises:
        ConfigurationError: if `fit` is no fit.
        DataError: if `data` is None and the fit kept no data, or the data do not fit the model.
        ModelError: if a finding about the pair makes scores of it wrong, such as a scale that it sets by hand.
    """
    check_fit(fit)
    program: Program = fit.program
    batch = _data(fit, data)
    with evaluation_mode(program, seed=0) as device:
        if data is not None:
            check_values(program, batch, use="score", device=device)
        yield Scored(program.sample_enumerated() if draw_discrete else program, batch, device)


def check_fit(fit: Any) -> None:
    """Raise a `ConfigurationError` unless `fit` holds a fitted pair."""
    if not isinstance(getattr(fit, "program", None), Program):
        raise ConfigurationError(f"`fit` must be a Fit, which a method's `fit` returns, got {_kind(fit)}.")


def _kind(thing: Any) -> str:
    return "None" if thing is None else f"a {type(thing).__name__}"


def _data(fit: Any, data: Any) -> Tensors:
    if data is None:
        if fit.data is None:
            raise DataError("`data` must be given: this fit did not keep its training data (they were streamed).")
        return dict(fit.data)
    held = [*fit.program.parameters(), *fit.program.buffers()]  # a guide of closed forms has buffers alone
    dtype = next((tensor.dtype for tensor in held if tensor.is_floating_point()), None)
    prepared = as_data(fit.model, data, dtype=dtype, device="cpu")
    if not isinstance(prepared, MemoryData):
        raise DataError("`data` must be in memory to be scored, got a stream. Pass tensors, arrays or a `Dataset`.")
    return prepared.batch()


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
    for finding in structure.findings:
        if finding.code == "point-mass":
            raise ModelError(
                f"`{metric}` needs a guide with a density, but the guide of `{finding.where}` is a point mass (Delta), "
                f"as in a MAP fit (`AutoDelta`, `AutoLaplaceApproximation`) or in stored draws. Use a guide such as "
                f'"normal", or make `{finding.where}` a parameter.'
            )
