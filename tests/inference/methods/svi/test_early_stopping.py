"""The validation bound: fixed draws, a standard error, and the best parameters after the warm-up (DESIGN 4.9)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import IWAE, SVI, ConfigurationError, Trace_ELBO, TraceMeanField_ELBO
from jensen.inference.pair.program import Program
from jensen.inference.run.early_stopping import EarlyStopping, bound_on
from jensen.models import LatentVariableModel

OPTIONS: dict[str, Any] = {
    "steps": 60,
    "lr": 0.05,
    "log_every": 5,
    "validate_every": 10,
    "device": "cpu",
    "compile": "trace",
}


def test_the_bound_and_its_error_are_in_the_history(linear: Any) -> None:
    model, data = linear
    fit = SVI(Trace_ELBO(), validation_draws=30, **OPTIONS).fit(model, data, validation={"x": data["x"][:20]})
    rows = fit.history.dropna(subset=["validation_bound"])
    assert list(rows["step"]) == [10, 20, 30, 40, 50, 60]
    assert (rows["validation_stderr"] > 0).all()
    exact = fit.model.log_evidence({"x": data["x"][:20]}).sum().item()
    last = rows.iloc[-1]
    assert last["validation_bound"] < exact + 4 * last["validation_stderr"]


def test_the_draws_are_the_same_every_time(linear: Any) -> None:
    model, data = linear
    fit = SVI(TraceMeanField_ELBO(), **OPTIONS).fit(model, data)
    rng = torch.get_rng_state()
    values = [bound_on(fit.program, TraceMeanField_ELBO(), data, seed=3, repeats=4) for _ in range(2)]
    assert values[0] == values[1]
    assert torch.equal(torch.get_rng_state(), rng)
    assert values[0] != bound_on(fit.program, TraceMeanField_ELBO(), data, seed=4, repeats=4)


def test_chunks_add_up_to_the_whole(linear: Any) -> None:
    model, data = linear
    fit = SVI(TraceMeanField_ELBO(), **OPTIONS).fit(model, data)
    fit.model.set_exact_guide()
    exact = fit.model.log_evidence(data).sum().item()
    for chunk in (7, 2048):  # at the exact posterior every draw of the bound is the evidence
        value, stderr = bound_on(fit.program, IWAE(3), data, seed=0, repeats=3, chunk=chunk)
        assert value == pytest.approx(exact, rel=1e-10)
        assert stderr < 1e-9


class Weighted(LatentVariableModel):
    """x_n ~ N(m, 1) in the plate, and outside of it what `extra` adds; m is a parameter, so every bound is exact."""

    def __init__(self, extra: str) -> None:
        super().__init__()
        self.extra = extra
        self.m = nn.Parameter(torch.tensor(0.5))

    def model(self, x: torch.Tensor) -> None:
        if self.extra == "factor":
            pyro.factor("penalty", -100.0 - self.m**2)
        if self.extra == "total":  # of the rows that the program is given
            pyro.sample("total", dist.Normal(self.m * len(x), 1.0), obs=x.sum())
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(self.m, 1.0), obs=x)


@pytest.mark.parametrize("objective", [Trace_ELBO(), IWAE(3)])
@pytest.mark.parametrize("extra", ["factor", "total"])
def test_a_global_term_counts_once_whatever_the_chunks(objective: Any, extra: str) -> None:
    x = torch.linspace(-1.0, 2.0, 10) ** 3
    exact = dist.Normal(0.5, 1.0).log_prob(x).sum().item()
    exact += -100.25 if extra == "factor" else dist.Normal(5.0, 1.0).log_prob(x.sum()).item()
    for chunk in (3, 5, 2048):
        value, stderr = bound_on(Program(Weighted(extra)), objective, {"x": x}, seed=0, repeats=2, chunk=chunk)
        assert value == pytest.approx(exact, rel=1e-12)
        assert stderr == 0.0


def test_a_site_that_ties_all_local_draws_keeps_them_together(linear: Any) -> None:
    """z_n ~ N(0, 1) and t ~ N(sum_n z_n, 1): a piece of the rows has another sum. Exact: t ~ N(0, N + 1)."""
    size, t = 6, 2.0

    class Tied(LatentVariableModel):
        def model(self, x: torch.Tensor) -> None:
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)
            pyro.sample("t", dist.Normal(z.sum(), 1.0), obs=torch.tensor(t))

        def guide(self, x: torch.Tensor) -> None:
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(t / (size + 1), (size / (size + 1)) ** 0.5))

    data = {"x": torch.zeros(size)}
    values = [bound_on(Program(Tied()), Trace_ELBO(), data, seed=0, repeats=4, chunk=chunk) for chunk in (2, 2048)]
    assert values[0] == values[1]
    # E_q log p(x, z, t) - log q(z), term by term
    mean, variance = t / (size + 1), size / (size + 1)
    gap = (t - size * mean) ** 2 + size * variance + size * (variance + mean**2 - 1 - math.log(variance))
    bound = -0.5 * (gap + (size + 1) * math.log(2 * math.pi))
    found = bound_on(Program(Tied()), Trace_ELBO(64), data, seed=0, repeats=64)
    assert abs(found[0] - bound) < 4 * found[1]


def test_it_stops_and_returns_the_best_parameters(vae: Any, same: Callable[..., None]) -> None:
    model, data = vae
    train, held_out = {"x": data["x"][:10]}, {"x": data["x"][10:]}  # so few that it soon overfits
    svi = SVI(TraceMeanField_ELBO(), **{**OPTIONS, "steps": 2000, "lr": 0.1, "patience": 3, "warm_up": 0.01})
    fit = svi.fit(model, train, validation=held_out)
    assert fit.status == "stopped early"
    rows = fit.history.dropna(subset=["validation_bound"])
    best = rows["validation_bound"].idxmax()
    assert list(rows.index).index(best) == len(rows) - 1 - 3
    value, stderr = bound_on(fit.program, TraceMeanField_ELBO(), held_out, seed=0, repeats=16)
    assert value == pytest.approx(rows.loc[best, "validation_bound"], rel=1e-12)
    assert stderr == pytest.approx(rows.loc[best, "validation_stderr"], rel=1e-9)


def test_the_best_parameters_are_returned_after_the_last_step_and_after_a_resume(
    vae: Any, tmp_path: Path, same: Callable[..., None]
) -> None:
    model, data = vae
    train, held_out = {"x": data["x"][:10]}, {"x": data["x"][10:]}
    svi = SVI(TraceMeanField_ELBO(), **{**OPTIONS, "steps": 120, "lr": 0.1, "patience": 1000, "checkpoint_every": 10})
    fit = svi.fit(model, train, validation=held_out)
    assert fit.status in ("converged", "not converged", "unknown")
    best = fit.history["validation_bound"].max()
    assert best > fit.history["validation_bound"].iloc[-1]
    assert bound_on(fit.program, TraceMeanField_ELBO(), held_out, seed=0)[0] == pytest.approx(best, rel=1e-12)

    def interrupt(progress: Any) -> None:
        if progress.step == 90:
            raise KeyboardInterrupt

    svi.fit(model, train, validation=held_out, checkpoint=tmp_path, callbacks=[interrupt])
    same(svi.fit(model, train, validation=held_out, checkpoint=tmp_path), fit)
    same(svi.fit(model, train, validation=held_out, checkpoint=tmp_path), fit)


def test_intervals_that_do_not_divide_each_other_still_come_round(linear: Any) -> None:
    model, data = linear
    options = {**OPTIONS, "log_every": 10, "validate_every": 14}
    fit = SVI(Trace_ELBO(), **options).fit(model, data, validation=data)
    rows = fit.history.dropna(subset=["validation_bound"])
    assert list(rows["step"]) == [20, 30, 50, 60]  # the first rows at or after 14, 28, 42 and 56


def test_nothing_is_best_during_the_warm_up() -> None:
    stopping = EarlyStopping(patience=2, warm_up=50)
    assert not stopping.update(10, 5.0)
    assert not stopping.update(49, 4.0)
    assert stopping.best == -math.inf
    assert stopping.update(50, 1.0)
    assert not stopping.update(60, 0.5)
    assert not stopping.should_stop
    assert not stopping.update(70, math.nan)
    assert stopping.should_stop


def test_patience_needs_validation_data(linear: Any) -> None:
    with pytest.raises(ConfigurationError, match="`patience` watches the bound on validation data: pass `validation"):
        SVI(Trace_ELBO(), patience=3, **OPTIONS).fit(*linear)
