"""Warnings point to the line that called jensen, not into its loop."""

from __future__ import annotations

import inspect
import threading
import warnings
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import EM, SVI, load
from jensen.inference.warn import warn_user
from jensen.models import GaussianMixture


def _called_from(module: str, inner: Any) -> Any:
    """A function of another module that calls `inner`."""
    space: dict[str, Any] = {"__name__": module, "inner": inner}
    exec(compile("def outer():\n    return inner()", f"<{module}>", "exec"), space)
    return space["outer"]


def _line() -> int:
    """The line of the caller."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def test_it_is_the_innermost_line_outside_of_jensen() -> None:
    warn = _called_from("jensen.inference.step", lambda: warn_user("said", RuntimeWarning))
    warn = _called_from("mine", _called_from("jensen.inference.fit", _called_from("torch.nn", warn)))
    with pytest.warns(RuntimeWarning, match="said") as caught:
        warn()
    assert caught[0].filename == __file__  # the lambda above stands for the user's program, called by jensen


def test_jensens_and_torchs_own_lines_are_passed_over() -> None:
    space: dict[str, Any] = {"__name__": "jensen.inference.step", "warn_user": warn_user}
    exec(compile("def warn():\n    warn_user('said')", "<step>", "exec"), space)
    calls = _called_from("jensen.inference.fit", _called_from("torch.nn", space["warn"]))
    with pytest.warns(UserWarning, match="said") as caught:
        _called_from("mine", calls)()
    assert (caught[0].filename, caught[0].lineno) == ("<mine>", 2)


def test_a_fits_warning_points_to_the_fit() -> None:
    def branching(x: torch.Tensor) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        scale = 1.0 if z > 0 else 2.0
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z, scale), obs=x)

    line = _line() + 2
    with pytest.warns(UserWarning, match=r"traced|vectorised") as caught:
        SVI(steps=2, start="prior", progress=False).fit(branching, torch.randn(5))
    found = [(each.filename, each.lineno) for each in caught]
    assert found and set(found) == {(__file__, line)}, [str(each.message) for each in caught]


def test_a_loads_warning_points_to_the_load(tmp_path: Path) -> None:
    fit = EM(steps=2, progress=False).fit(GaussianMixture(2, 1), torch.randn(20, 1))
    fit.save(tmp_path / "fit")
    line = _line() + 2
    with pytest.warns(RuntimeWarning, match="other arguments") as caught:
        load(tmp_path / "fit", GaussianMixture(2, 1, min_scale=1e-3))
    assert [(each.filename, each.lineno) for each in caught] == [(__file__, line)]


def test_without_a_user_it_is_the_outermost_line() -> None:
    """In a thread of jensen's: nothing fails."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = threading.Thread(target=_called_from("jensen.inference.data", lambda: warn_user("said")))
        thread.start()
        thread.join()
    assert [str(each.message) for each in caught] == ["said"]
