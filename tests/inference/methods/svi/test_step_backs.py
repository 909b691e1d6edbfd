"""Steps that are taken back: one bad batch, or a rate that is too large, cannot throw a fit away."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import SVI, NonFiniteError, Progress
from jensen.models import LatentVariableModel


class Mean(LatentVariableModel):
    """x_n ~ N(m, 1); at `bad` of the steps, counted by a buffer, the gradient of m is enormous or not finite."""

    def __init__(self, bad: tuple[int, ...] = (), size: float = 1e4, kind: str = "throw") -> None:
        super().__init__()
        self.m = nn.Parameter(torch.tensor(0.0))
        self.kind, self.size = kind, size
        self.register_buffer("made", torch.zeros(()))
        self.register_buffer("bad", torch.tensor(bad, dtype=torch.get_default_dtype()))

    def model(self, x: torch.Tensor) -> None:
        hit = (self.bad == self.made).any().to(self.m.dtype)
        if self.training:
            self.made.add_(1.0)
        pull = self.size * hit * (self.m - self.m.detach())  # no value, but a gradient
        pyro.factor("pull", pull if self.kind == "throw" else pull + torch.where(hit > 0, torch.nan, 0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(self.m, 1.0), obs=x)


DATA = {"x": torch.linspace(1.0, 3.0, 20)}
OPTIONS: dict[str, Any] = {
    "optimizer": torch.optim.SGD,
    "lr": 1e-3,
    "compile": "trace",
    "progress": False,
    "device": "cpu",
}


def test_a_step_that_throws_the_fit_away_is_taken_back() -> None:
    with pytest.warns(UserWarning, match=r"By step 600 the bound fell by .* went back to step 500 .* half") as caught:
        fit = SVI(**OPTIONS).fit(Mean((550,), 1e4), DATA)
    assert len([w for w in caught if "went back" in str(w.message)]) == 1
    assert fit.status == "converged"
    assert fit.model.m.item() == pytest.approx(2.0, abs=0.15)  # 0.3 nats
    assert fit.info["step_backs"] >= 1


def test_a_step_that_is_not_finite_is_made_again_at_half_the_rate() -> None:
    """The noise and the batch are those of before, so what goes wrong whatever the rate stays an error."""

    class Overshooting(LatentVariableModel):
        """x_n ~ N(0, exp(s)) with steps so large that the scale underflows."""

        def __init__(self) -> None:
            super().__init__()
            self.s = nn.Parameter(torch.tensor(10.0))

        def model(self, x: torch.Tensor) -> None:
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(0.0, self.s.exp(), validate_args=False), obs=x)

    options = {**OPTIONS, "lr": 0.4}
    with pytest.warns(UserWarning, match=r"stopped being finite, so the fit went back to step 0"):
        fit = SVI(**options).fit(Overshooting(), DATA)
    assert fit.info["step_backs"] >= 1
    with pytest.raises(NonFiniteError, match="stopped being finite at step"):
        SVI(**options, steps=500).fit(Overshooting(), DATA)


def test_a_fault_at_any_rate_is_the_error_that_it_was() -> None:
    svi, model, words = SVI(**OPTIONS), Mean((550,), 1.0, "not finite"), "`log p` of the site `pull`"
    with pytest.warns(UserWarning, match="went back"), pytest.raises(NonFiniteError, match=words):
        svi.fit(model, DATA)


def test_given_steps_are_not_taken_back() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = SVI(**OPTIONS, steps=1_000).fit(Mean((550,), 1e4), DATA)
    assert "step_backs" not in fit.info
    assert (fit.history["lr"] == 1e-3).all()
    assert fit.history["bound"].iloc[5] < -100.0


def test_the_history_shows_the_rates() -> None:
    with pytest.warns(UserWarning, match="went back"):
        fit = SVI(**OPTIONS).fit(Mean((550,), 1e4), DATA)
    rates = fit.history["lr"]
    assert rates.iloc[0] == 1e-3 and (rates.diff().dropna() <= 0).all()
    assert list(fit.history["step"]) == list(range(100, fit.info["steps"] + 1, 100))


def test_data_that_change_are_not_the_rates_fault() -> None:
    """Two halvings do not help where a stream comes to other data: the rate is then put back."""

    class Later(Mean):
        def model(self, x: torch.Tensor) -> None:
            if self.training:
                self.made.add_(1.0)
            shift = torch.where(self.made > 700.0, 50.0, 0.0).detach()
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(self.m + shift * 0.0, 1.0), obs=x + shift - shift * 0.0)

    with pytest.warns(UserWarning, match="went back"):
        fit = SVI(**{**OPTIONS, "lr": 1e-6}).fit(Later(), DATA, callbacks=[lambda progress: progress.step >= 1_000])
    assert fit.history["lr"].iloc[8] == 1e-6
    assert fit.info["step_backs"] == 0


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path: Path, same: Callable[..., None]) -> None:
    def stop(progress: Progress) -> None:
        if progress.step >= 900:
            raise RuntimeError("killed")

    def enough(progress: Progress) -> bool:
        return progress.step >= 1_200

    method = SVI(**OPTIONS, checkpoint_every=100)
    with pytest.warns(UserWarning, match="went back"):
        whole = method.fit(Mean((550, 850), 1e4), DATA, callbacks=[enough])
    with pytest.warns(UserWarning, match="went back"), pytest.raises(RuntimeError, match="killed"):
        method.fit(Mean((550, 850), 1e4), DATA, checkpoint=tmp_path, callbacks=[stop])
    again = method.fit(Mean((550, 850), 1e4), DATA, checkpoint=tmp_path, callbacks=[enough])
    same(again, whole)
    assert again.info["step_backs"] == whole.info["step_backs"] >= 2
