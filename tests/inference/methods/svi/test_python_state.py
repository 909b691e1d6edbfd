"""What a program keeps in Python: counters, what callbacks set, other libraries' draws. Traces must not freeze it."""

from __future__ import annotations

import itertools
import os
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import STL, SVI, ConfigurationError, Trace_ELBO
from jensen.inference.pair.plain_state import PlainState
from jensen.models import LatentVariableModel

OPTIONS: dict[str, Any] = {"lr": 0.05, "log_every": 10, "device": "cpu", "progress": False}
X = torch.linspace(-1.0, 3.0, 20, dtype=torch.float64)


class Slope(LatentVariableModel):
    """x_n ~ N(a, tau(t)^2): a parameter, and a scale that `kind` changes with the calls, or a callback sets."""

    def __init__(self, kind: str = "attribute") -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.3))
        self.kind, self.tau = kind, 1.0
        self.counts, self.counter = {"calls": 0}, itertools.count()
        self.register_buffer("steps", torch.tensor(0.0))
        self.register_buffer("floor", torch.tensor(0.0))

    def scale(self) -> Any:
        if self.kind == "counter":
            self.calls += 1
            return 1.0 + 0.1 * self.calls
        if self.kind == "item":
            self.counts["calls"] += 1
            return 1.0 + 0.1 * self.counts["calls"]
        if self.kind == "itertools":
            return 1.0 + 0.1 * next(self.counter)
        if self.kind == "class":
            Slope.total += 1
            return 1.0 + 0.1 * (Slope.total % 7)
        if self.kind == "numpy":
            return 1.0 + np.random.rand()  # noqa: NPY002
        if self.kind == "random":
            return 1.0 + random.random()
        if self.kind == "buffer":
            self.steps += 1.0
            return 1.0 + 0.1 * self.steps
        if self.kind == "environment":
            return float(os.environ.get("JENSEN_TEST_TAU", "1"))
        if self.kind == "own generator":
            return 1.0 + torch.rand((), generator=self.generator)
        if self.kind == "late":
            self.calls += self.counts["calls"]
            return 1.0 + 0.1 * self.calls
        return self.tau

    calls = total = 0

    def model(self, x: torch.Tensor | None = None) -> None:
        scale = self.scale() + self.floor
        with pyro.plate("data", 1 if x is None else len(x)):
            pyro.sample("x", dist.Normal(self.a, scale), obs=x)


def quiet(model: Any, **options: Any) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = SVI(Trace_ELBO(), **{**OPTIONS, **options}).fit(model, {"x": X})
    return fit, [str(item.message) for item in caught]


COUNTERS = {
    "counter": "`model.calls`",
    "item": r"`model.counts['calls']`",
    "itertools": "`model.counter`",
    "class": "`Slope.total`",
    "numpy": "`numpy.random`",
    "random": "`random`",
}


@pytest.mark.parametrize("kind", COUNTERS)
def test_what_each_run_changes_is_named_and_runs_eagerly(kind: str) -> None:
    fit, messages = quiet(Slope(kind), steps=30, compile="trace")
    assert len(messages) == 1
    assert COUNTERS[kind] in messages[0]
    assert "so the steps run eagerly" in messages[0]
    assert fit.info["compile"] == "eager"
    assert quiet(Slope(kind), steps=3, compile=False)[1] == []


@pytest.mark.parametrize("mode", [False, "trace"])
@pytest.mark.parametrize("kind", ["counter", "item"])
def test_a_counter_counts_steps_and_nothing_else(mode: Any, kind: str) -> None:
    """Not the search for its structure, nor the comparison with a trace, nor validation: step t is the t-th run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        svi = SVI(Trace_ELBO(), steps=25, compile=mode, average=0.5, **OPTIONS)
        fit = svi.fit(Slope(kind), {"x": X}, validation={"x": X})
    assert (fit.model.calls, fit.model.counts["calls"]) == ((25, 0) if kind == "counter" else (0, 25))


def test_a_counter_s_bounds_are_those_by_hand() -> None:
    """With the optimiser standing still, the bound of step t is that of its own scale."""
    fit, _ = quiet(Slope("counter"), steps=20, lr=1e-12, log_every=1, compile="trace")
    scales = 1.0 + 0.1 * torch.arange(1.0, 21.0)
    expected = dist.Normal(0.3, scales[:, None]).log_prob(X).sum(-1)
    np.testing.assert_allclose(fit.history["bound"], expected, rtol=1e-6)


def test_a_counter_goes_on_after_a_resume(tmp_path: Path, same: Callable[..., None]) -> None:
    def interrupt(progress: Any) -> None:
        if progress.step == 20:
            raise KeyboardInterrupt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        svi = SVI(Trace_ELBO(), steps=40, compile="trace", **OPTIONS)
        svi.fit(Slope("counter"), {"x": X}, checkpoint=tmp_path, callbacks=[interrupt])
        resumed, whole = svi.fit(Slope("counter"), {"x": X}, checkpoint=tmp_path), svi.fit(Slope("counter"), {"x": X})
    assert resumed.model.calls == whole.model.calls == 40
    same(resumed, whole)


def test_a_buffer_is_followed_by_the_trace(same: Callable[..., None]) -> None:
    traced, messages = quiet(Slope("buffer"), steps=30, compile="trace")
    assert (messages, traced.info["compile"]) == ([], "trace")
    assert float(traced.model.steps) == 30.0
    same(traced, quiet(Slope("buffer"), steps=30, compile=False)[0], rtol=1e-9, atol=1e-12)


def test_a_counter_in_a_closure_is_named() -> None:
    calls = 0

    def model(x: torch.Tensor) -> None:
        nonlocal calls
        calls += 1
        a = pyro.param("a", torch.tensor(0.3))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(a, 1.0 + 0.1 * calls), obs=x)

    fit, messages = quiet(model, steps=12, compile="trace")
    assert "`model.calls`" in messages[0] and fit.info["compile"] == "eager"
    assert calls == 12


def test_a_generator_of_ones_own_is_named() -> None:
    model = Slope("own generator")
    model.generator = torch.Generator().manual_seed(0)
    fit, messages = quiet(model, steps=5, compile="trace")
    assert len(messages) == 1 and "generator" in messages[0]
    assert fit.info["compile"] == "eager"


@pytest.mark.parametrize("mode", [False, "trace"])
@pytest.mark.parametrize("times", [1, 5])
def test_what_a_callback_sets_counts_from_the_next_step_on(mode: Any, times: int) -> None:
    def set_tau(progress: Any) -> None:
        if progress.step <= 10 * times:
            progress.program.model_owner.tau = 1.0 + progress.step / 10

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        svi = SVI(Trace_ELBO(), steps=70, compile=mode, **{**OPTIONS, "lr": 1e-12})
        fit = svi.fit(Slope(), {"x": X}, callbacks=[set_tau])
    scales = torch.tensor([1.0 + min(row, times) for row in range(7)])
    expected = dist.Normal(0.3, scales[:, None]).log_prob(X).sum(-1)
    np.testing.assert_allclose(fit.history["bound"], expected, rtol=1e-6)
    messages = [str(item.message) for item in caught]
    assert len(messages) == (1 if mode and times > 2 else 0)
    assert all("Callbacks change `model.tau` again and again" in message for message in messages)


@pytest.mark.parametrize("mode", [False, "trace"])
def test_what_a_callback_set_is_there_after_a_resume(tmp_path: Path, mode: Any, same: Callable[..., None]) -> None:
    def set_tau(progress: Any) -> None:
        if progress.step == 10:
            progress.program.model_owner.tau = 2.0

    def interrupt(progress: Any) -> None:
        if progress.step == 20:
            raise KeyboardInterrupt

    svi = SVI(Trace_ELBO(), steps=40, compile=mode, **OPTIONS)
    svi.fit(Slope(), {"x": X}, checkpoint=tmp_path, callbacks=[set_tau, interrupt])
    same(svi.fit(Slope(), {"x": X}, checkpoint=tmp_path), svi.fit(Slope(), {"x": X}, callbacks=[set_tau]))


@pytest.mark.parametrize("mode", [False, "trace"])
def test_buffers_and_parameters_that_a_callback_sets_are_gone_on_from(mode: Any) -> None:
    def set_them(progress: Any) -> None:
        owner = progress.program.model_owner
        if progress.step == 10:
            owner.floor.fill_(1.0)
            owner.a.data.fill_(-1.0)
        if progress.step == 20:
            owner.floor = torch.tensor(3.0)

    svi = SVI(Trace_ELBO(), steps=30, compile=mode, **{**OPTIONS, "lr": 1e-12})
    fit = svi.fit(Slope(), {"x": X}, callbacks=[set_them])
    means, scales = torch.tensor([[0.3], [-1.0], [-1.0]]), torch.tensor([[1.0], [2.0], [4.0]])
    np.testing.assert_allclose(fit.history["bound"], dist.Normal(means, scales).log_prob(X).sum(-1), rtol=1e-6)
    assert (float(fit.model.floor), fit.model.a.item()) == (3.0, pytest.approx(-1.0))


def test_a_parameter_that_is_averaged_cannot_be_set() -> None:
    svi = SVI(Trace_ELBO(), steps=30, average=0.9, compile="trace", **OPTIONS)
    with pytest.raises(ConfigurationError, match=r"A callback sets the parameter `model_module\.a`.*moving average"):
        svi.fit(Slope(), {"x": X}, callbacks=[lambda progress: progress.program.model_owner.a.data.fill_(0.0)])


def test_what_changes_later_and_out_of_sight_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback sets an environment variable that the program reads: the trace and the program differ from there."""
    monkeypatch.setenv("JENSEN_TEST_TAU", "1")

    def set_tau(progress: Any) -> None:
        if progress.step == 20:
            monkeypatch.setenv("JENSEN_TEST_TAU", "3")

    with pytest.warns(UserWarning, match="gives another bound than its trace, so the steps run eagerly"):
        fit = SVI(Trace_ELBO(), steps=60, compile="trace", **{**OPTIONS, "lr": 1e-12}).fit(
            Slope("environment"), {"x": X}, callbacks=[set_tau]
        )
    expected = dist.Normal(0.3, 3.0).log_prob(X).sum().item()
    assert fit.history["bound"].iloc[-1] == pytest.approx(expected, rel=1e-6)


def test_a_guide_that_counts_is_scored_at_the_count_that_it_drew_at() -> None:
    """STL runs the guide twice: the second run must see the first one's temperature."""

    class Counting(LatentVariableModel):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0
            self.loc = nn.Parameter(torch.tensor(0.1))

        def model(self, x: torch.Tensor | None = None) -> None:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("data", 1 if x is None else len(x)):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

        def guide(self, x: torch.Tensor | None = None) -> None:
            self.calls += 1
            pyro.sample("z", dist.Normal(self.loc, 1.0 / self.calls))

    histories = []
    for objective in (STL(), Trace_ELBO()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = SVI(objective, steps=12, **{**OPTIONS, "lr": 1e-12, "log_every": 1}).fit(Counting(), {"x": X})
        assert fit.model.calls == 12
        histories.append(fit.history["bound"].to_numpy())
    np.testing.assert_allclose(*histories, rtol=1e-8)


def test_plain_values_are_found_wherever_they_are() -> None:
    class Settings:
        __slots__ = ("rate",)

        def __init__(self) -> None:
            self.rate = 1.0

    settings, model = Settings(), Slope()
    model.settings, model.many, model.rng = settings, [1, {"two": (2, 3)}], np.random.default_rng(0)
    before = PlainState({"model": model})
    assert PlainState({"model": model}).changed(before) == []
    settings.rate = 2.0
    model.many[1]["two"] = (2, 4)
    model.rng.random()
    model.held = torch.zeros(2)
    after = PlainState({"model": model})
    assert set(after.changed(before)) == {"model.settings.rate", "model.many[1]['two'][1]", "model.rng"}
    assert "model.held" in after.changed(before, tensors=True)
    model.held.add_(1.0)
    assert PlainState({"model": model}).changed(after, tensors=True) == ["model.held"]


def test_modes_give_the_same_numbers_whatever_the_program_keeps(same: Callable[..., None]) -> None:
    """An activation kept for inspection changes nothing, and is no reason to leave the trace."""

    class Keeping(Slope):
        def model(self, x: torch.Tensor | None = None) -> None:
            self.kept = self.a * 2.0
            super().model(x)

    traced, messages = quiet(Keeping(), steps=20, compile="trace")
    assert (messages, traced.info["compile"]) == ([], "trace")
    same(traced, quiet(Keeping(), steps=20, compile=False)[0], rtol=1e-9, atol=1e-12)
