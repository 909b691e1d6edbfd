"""The fields of a `Fit`, and batches in its number type: all that the functions behind it need."""

from __future__ import annotations

__all__ = ["FitRecord", "points_program"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from pyro.infer.autoguide import AutoDelta
from torch import Tensor

from ..data.data import as_data
from ..errors import DataError
from ..guides import build_guide
from ..pair.eval_mode import evaluation_mode
from ..pair.program import Program
from ..pair.sites import Structure

if TYPE_CHECKING:
    import pandas


class _Copied:
    """A field that hands out a copy of its table, so that the owner cannot be changed through it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = f"_{name}"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            raise AttributeError(self.key)  # the dataclass field then has no default
        return instance.__dict__[self.key].copy()

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.key] = value.copy()


def points_program(model: Any, batch: Mapping[str, Tensor]) -> Program:
    """The model with a guide of points, which stored draws are put into."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the points stand for nothing, and are the same when a fit is read back
        return Program(model, build_guide(AutoDelta, model, batch))


@dataclass(frozen=True, repr=False, eq=False)
class FitRecord:
    """What a fit holds; see :class:`jensen.inference.Fit`, which adds what can be done with it."""

    method: str
    config: Mapping[str, Any]
    model: Any
    guide: Callable[..., Any] | None
    history: pandas.DataFrame = _Copied()  # type: ignore[assignment]
    seed: int = 0
    data: Mapping[str, Tensor] | None = None
    data_size: int = 0
    status: str = "finished"
    info: Mapping[str, Any] = field(default_factory=dict)
    draws: Mapping[str, Tensor] | None = None
    sample_stats: Mapping[str, Tensor] | None = None
    prototype: Mapping[str, Tensor] = field(default_factory=dict)
    program: Program = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not self.prototype:
            if self.data is None:
                raise DataError("`prototype` must be given for a fit that does not hold its data: pass `data.head(1)`.")
            first = {name: value[:1].clone() for name, value in self.data.items()}
            object.__setattr__(self, "prototype", first)
        if not self.data_size and self.data is not None:
            object.__setattr__(self, "data_size", len(next(iter(self.data.values()))))
        if self.program is None:
            object.__setattr__(self, "program", Program(self.model, self.guide))
            if self.guide is None and self.draws is not None:
                object.__setattr__(self, "program", points_program(self.model, self.stand_in()))

    @property
    def structure(self) -> Structure:
        """The sites of the pair, as seen on the prototype (on all data, for a guide with parameters per datum)."""
        return self._examined()[1]

    @property
    def has_chains(self) -> bool:
        """Whether its draws are those of Markov chains."""
        return self.draws is not None and "chains" in self.info

    def fewest(self) -> dict[str, Tensor]:
        """The fewest data that the pair can be run on: the prototype, or as many as the fit had.

        A guide with parameters per datum, or a series that looks at the step before, can be run on no part.
        """
        return self._examined()[0]

    def _examined(self) -> tuple[dict[str, Tensor], Structure]:
        few = self.stand_in(len(next(iter(self.prototype.values()))))
        with evaluation_mode(self.program, 0):
            try:
                return few, self.program.structure(few)
            except Exception:  # whatever a program raises that has too few data
                whole = self.stand_in()
                return whole, self.program.structure(whole)

    def batch(self, data: Any = None, *, observed: bool = True) -> dict[str, Tensor]:
        """`data` (the training data if None) as one batch in the fit's number type and on its device.

        Raises:
            DataError: as in :func:`jensen.inference.data.data.as_data`; if `data` is None and none are held.
        """
        dtype, device = self._place()
        if data is not None:
            return as_data(self.model, data, dtype=dtype, device=device, observed=observed).batch()
        if self.data is None:
            raise DataError("`data` must be given: this fit does not hold its training data.")
        return {name: value.to(device) for name, value in self.data.items()}

    def stand_in(self, rows: int | None = None) -> dict[str, Tensor]:
        """A batch of `rows` data to set the pair up with (all `N` if None): the first ones, repeated where not held."""
        if rows is None and self.data is not None:
            return self.batch()
        _, device = self._place()
        few = {name: value.to(device) for name, value in self.prototype.items()}
        if rows is not None and rows <= len(next(iter(few.values()))):
            return {name: value[:rows] for name, value in few.items()}
        size = self.data_size if rows is None else rows
        return {name: value[:1].expand(size, *value.shape[1:]) for name, value in few.items()}

    def _place(self) -> tuple[torch.dtype | None, torch.device]:
        tensors = [*self.program.parameters(), *self.program.buffers(), *self.prototype.values()]
        floating = [value.dtype for value in tensors if value.is_floating_point()]
        return floating[0] if floating else None, tensors[0].device
