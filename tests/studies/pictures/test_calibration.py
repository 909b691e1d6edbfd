"""The picture of a calibration: a panel a quantity, the worst first, with its band and what leaves it."""

from __future__ import annotations

import numpy
import pytest

from jensen.inference import Calibration
from jensen.inference.diagnostics.calibration.simulation import Record
from jensen.inference.errors import ConfigurationError
from jensen.studies import pictures


def calibration(power: float, method: str = "NUTS") -> Calibration:
    generator = numpy.random.default_rng(0)
    places = {"flat": generator.random(80), "tilted": generator.random(80) ** power}
    records = [Record(s, {name: float(v[s]) for name, v in places.items()}, 99, "converged") for s in range(80)]
    return Calibration("Line", method, 99, tuple(records))


def dots(axes):
    return sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o")


def test_a_panel_a_quantity_the_worst_first():
    picture = pictures.calibration_bands(calibration(3.0))
    worst, flat = picture.axes
    assert [axes.get_title(loc="left") for axes in picture.axes] == ["tilted", "flat"]
    assert dots(worst) > 10 and dots(flat) == 0
    (line,) = [line for line in worst.lines if line.get_label() == "NUTS"]
    frame = calibration(3.0).ecdf("tilted")
    assert list(line.get_ydata()[1:-1]) == pytest.approx(list(frame["difference"]))
    assert frame["difference"].max() > 0.2  # truths below the draws: the line is above
    assert "80 simulations" in picture.get_suptitle()


def test_methods_share_the_panels():
    both = {"one": calibration(3.0, "one"), "two": calibration(1.0, "two")}
    picture = pictures.calibration_bands(both, ["tilted"])
    assert len(picture.axes) == 1
    labels = [text.get_text() for text in picture.legends[0].get_texts()]
    assert labels == ["95 % of uniform ranks stay inside", "one", "two"]


def test_what_cannot_be_drawn():
    with pytest.raises(ConfigurationError, match="nothing called 'w' was ranked"):
        pictures.calibration_bands(calibration(1.0), ["w"])
    with pytest.raises(ConfigurationError, match="`calibration`: expected at least one"):
        pictures.calibration_bands({})
    with pytest.raises(ConfigurationError, match="`quantities`: expected at least one"):
        pictures.calibration_bands(calibration(1.0), [])
