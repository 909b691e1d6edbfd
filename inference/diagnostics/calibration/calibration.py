"""`Calibration`: the ranks of all simulations, whether they are uniform, and what is wrong where they are not."""

from __future__ import annotations

__all__ = ["Calibration"]

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ConfigurationError, nearest_or_all
from .reading import as_text, holm, reading
from .simulation import FAILED, Record
from .uniformity import Envelope

if TYPE_CHECKING:
    import pandas

_LEVEL = 0.95


@dataclass(frozen=True, repr=False, eq=False)
class Calibration:
    r"""What simulation-based calibration found. Printed: the verdict, and the quantities with the worst first.

    A place is a rank `r` among `L` draws spread over its cell, uniform in ``(r / (L + 1), (r + 1) / (L + 1))``. All
    that follows is of places, so that a fit whose chains were worth fewer draws counts like any other.

    Attributes:
        model, method: their names.
        num_draws: `L`, among which a truth is ranked.
        records: one a simulation, in order: what its fit said, why it failed, what it warned of.
        amortised: whether one fit was asked about all simulated data.
        notes: what a reader should know of how it was done.
    """

    model: str
    method: str
    num_draws: int
    records: tuple[Record, ...]
    amortised: bool = False
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def quantities(self) -> list[str]:
        """Names of what was ranked: numbers of latents, and the log likelihood."""
        return list(dict.fromkeys(name for record in self.records for name in record.places))

    @property
    def num_simulations(self) -> int:
        """How many simulations there are ranks of."""
        return sum(bool(record.places) for record in self.records)

    @property
    def failures(self) -> dict[int, str]:
        """Why, by the number of the simulation, fits failed. They are in no rank."""
        return {record.simulation: record.error for record in self.records if record.status == FAILED}

    @property
    def statuses(self) -> dict[str, int]:
        """How many fits ended with each status, ``"failed"`` among them."""
        return dict(Counter(record.status for record in self.records))

    @property
    def num_unreliable(self) -> int:
        """How many fits say of themselves that their means or standard deviations cannot be relied on."""
        return sum(record.reliable is False for record in self.records)

    @property
    def ranks(self) -> pandas.DataFrame:
        """Tidy: one row a simulation and quantity, with `rank` in ``0 … L``, `place` in (0, 1), and `num_draws`, how
        many independent draws the fit had."""
        import pandas

        rows = [
            (record.simulation, name, self._rank(place), place, record.num_draws)
            for record in self.records
            for name, place in record.places.items()
        ]
        return pandas.DataFrame(rows, columns=["simulation", "quantity", "rank", "place", "num_draws"])

    def places(self, quantity: str) -> np.ndarray:
        """Where the true values of a quantity lie among their draws, ``(S,)`` in (0, 1).

        Raises:
            ConfigurationError: for a quantity that was not ranked.
        """
        if quantity not in self.quantities:
            known = nearest_or_all(quantity, self.quantities)
            raise ConfigurationError(f"`quantity`: nothing called {quantity!r} was ranked.{known}")
        return np.array([record.places[quantity] for record in self.records if quantity in record.places])

    @functools.cached_property
    def table(self) -> pandas.DataFrame:
        """One row a quantity, the worst first: `p_value`, exact, of uniform ranks; `p_adjusted` for the number of
        quantities (Holm); `mean_place` (1/2 where right); `spread`, the mean square of places about 1/2 over that of
        uniform ones (1 where right, above where draws are too narrow); and the `reading` in words."""
        import pandas

        rows = []
        for name in self.quantities:
            places = self.places(name)
            envelope = self._envelope(len(places))
            p_value = envelope.p_value(envelope.statistic(self._rank(places)))
            rows.append((name, p_value, places.mean(), 12.0 * np.square(places - 0.5).mean(), reading(places)))
        frame = pandas.DataFrame(rows, columns=["quantity", "p_value", "mean_place", "spread", "reading"])
        frame.insert(2, "p_adjusted", holm(frame["p_value"].to_numpy()))
        return frame.sort_values("p_value", kind="stable", ignore_index=True)

    @property
    def p_value(self) -> float:
        """The chance that ranks of a right posterior look as wrong as the worst of these, over all quantities."""
        return float(self.table["p_adjusted"].iloc[0])

    @property
    def worst(self) -> str:
        """The quantity with the smallest p-value."""
        return str(self.table["quantity"].iloc[0])

    @property
    def calibrated(self) -> bool:
        """Whether ranks are such as a right posterior may have, at 5 % over all quantities."""
        return self.p_value > 1.0 - _LEVEL

    def coverage(self, levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95)) -> pandas.DataFrame:
        r"""How often central intervals hold the truth, by quantity and level.

        Args:
            levels: what they should hold, between 0 and 1.

        Returns:
            Columns `quantity`, `level`, `coverage` (the share of simulations), `stderr` :math:`\sqrt{c (1 - c) / S}`,
            and `lower` and `upper`, a 95 % interval for the share (Wilson).

        Raises:
            ConfigurationError: for a level outside (0, 1).
        """
        import pandas

        for level in levels:
            if not 0.0 < level < 1.0:
                raise ConfigurationError(f"`levels` must be between 0 and 1, got {level!r}.")
        rows = []
        for name in self.quantities:
            distance = 2.0 * np.abs(self.places(name) - 0.5)
            size = len(distance)
            for level in levels:
                share = float((distance < level).mean())
                rows.append((name, level, share, np.sqrt(share * (1.0 - share) / size), *_wilson(share, size)))
        return pandas.DataFrame(rows, columns=["quantity", "level", "coverage", "stderr", "lower", "upper"])

    def ecdf(self, quantity: str, level: float = 0.95) -> pandas.DataFrame:
        """The empirical distribution of the ranks less the uniform one, and the band that holds all of it at once.

        Returns:
            Columns `place` (of the point, in (0, 1)), `difference`, `lower` and `upper`.

        Raises:
            ConfigurationError: for a quantity that was not ranked, or a level outside (0, 1).
        """
        import pandas

        if not 0.0 < level < 1.0:
            raise ConfigurationError(f"`level` must be between 0 and 1, got {level!r}.")
        ranks = self._rank(self.places(quantity))
        envelope = self._envelope(len(ranks))
        lower, upper = envelope.band(level)
        point = envelope.points / (self.num_draws + 1)
        share = {"difference": envelope.counts(ranks), "lower": lower, "upper": upper}
        return pandas.DataFrame({"place": point, **{name: n / len(ranks) - point for name, n in share.items()}})

    def _rank(self, place: np.ndarray | float) -> np.ndarray:
        return np.minimum(np.floor(np.asarray(place) * (self.num_draws + 1)), self.num_draws).astype(int)

    @functools.cached_property
    def _envelopes(self) -> dict[int, Envelope]:
        return {}

    def _envelope(self, size: int) -> Envelope:
        if size not in self._envelopes:
            self._envelopes[size] = Envelope(size, self.num_draws)
        return self._envelopes[size]

    def __repr__(self) -> str:
        return as_text(self)


def _wilson(share: float, size: int) -> tuple[float, float]:
    square = 1.959964**2 / size
    middle = (share + square / 2) / (1 + square)
    half = np.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return float(middle - half), float(middle + half)
