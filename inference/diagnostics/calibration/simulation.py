"""One simulation: data drawn from the model, a fit of them, and the ranks of what they were drawn from."""

from __future__ import annotations

__all__ = ["FAILED", "Record", "Simulation"]

import dataclasses
import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...plain_text import printable
from ...seeding import derive_seed
from ...tensors import Tensors
from .generative import GenerativeModel
from .ranks import TestQuantity, independent_draws, places_among, values_of

FAILED = "failed"
_LONGEST = 300  # characters of a message


@dataclasses.dataclass(frozen=True)
class Record:
    """What one simulation told.

    Attributes:
        simulation: its number.
        places: by quantity, where the truth lies among the draws, in (0, 1); empty where the fit failed.
        num_draws: how many draws it was ranked among.
        status: of the fit, or ``"failed"``.
        reliable: what the fit says of its means and standard deviations; None where it says nothing.
        error: why it failed.
        warnings: what it warned of.
    """

    simulation: int
    places: dict[str, float]
    num_draws: int = 0
    status: str = FAILED
    reliable: bool | None = None
    error: str = ""
    warnings: tuple[str, ...] = ()

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Record:
        """The record that :func:`dataclasses.asdict` made plain."""
        return cls(**{**values, "warnings": tuple(values["warnings"])})


@dataclasses.dataclass(frozen=True, eq=False)
class Simulation:
    """All that simulations have in common; each is a function of its number.

    Attributes:
        model, method: what is fitted, and by what.
        batch: data of the shape to simulate, which hold the inputs.
        seed: of all simulations.
        num_draws: `L`, how many draws the truth is ranked among.
        latents: whose numbers are ranked.
        quantities: further ones to rank.
    """

    model: Any
    method: Any
    batch: Tensors
    seed: int
    num_draws: int
    latents: Sequence[str]
    quantities: Mapping[str, TestQuantity]

    @functools.cached_property
    def generative(self) -> GenerativeModel:
        return GenerativeModel(self.model, self.batch)

    def __getstate__(self) -> dict[str, Any]:
        """Without what another process makes for itself."""
        return {name: value for name, value in self.__dict__.items() if name != "generative"}

    def run(self, number: int) -> Record:
        """Simulate, fit and rank. Whatever stops the fit is in the record; Ctrl-C is raised."""
        seed = derive_seed(self.seed, "calibration", number)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                record = self._run(number, seed)
            except Exception as error:  # a record that says why: simulations that fail are counted
                record = Record(number, {}, error=_short(f"{type(error).__name__}: {error}"))
        said = tuple(dict.fromkeys(_short(str(warning.message)) for warning in warned))
        return dataclasses.replace(record, warnings=said)

    def _run(self, number: int, seed: int) -> Record:
        simulated = self.generative.draw(derive_seed(seed, "data"))
        fit = self.method.fit(self.model, dict(simulated.data), seed=derive_seed(seed, "fit"))
        if fit.status == "interrupted":
            raise KeyboardInterrupt
        count = self.num_draws
        if (worth := independent_draws(fit)) is not None:
            count = min(count, worth)
        elif fit.draws is not None:
            count = min(count, len(next(iter(fit.draws.values()))))
        draws = fit.posterior(count, dict(simulated.data), derive_seed(seed, "posterior"))
        own = derive_seed(seed, "likelihood")
        values = values_of(self.generative, simulated, draws, self.latents, self.quantities, own)
        generator = np.random.default_rng(derive_seed(seed, "ties"))
        places = {label: float(places_among(true, among, generator)) for label, (true, among) in values.items()}
        reliable = (fit.info.get("reliability") or {}).get("reliable")
        return Record(number, places, count, fit.status, reliable)


def _short(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
