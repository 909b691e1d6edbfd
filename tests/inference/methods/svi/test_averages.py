"""The moving average of the parameters: no weight on the start, and the history shows what the fit returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import SVI, Trace_ELBO, TraceMeanField_ELBO
from jensen.inference.run.early_stopping import bound_on
from jensen.models import LatentVariableModel

OPTIONS: dict[str, Any] = {"lr": 0.05, "log_every": 50, "device": "cpu", "progress": False}


class FarMean(LatentVariableModel):
    """x_n ~ N(m, 1) with m ~ N(0, 100^2), fitted from m = -20; the posterior mean is the data's, up to 1e-4."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(-20.0))

    def model(self, x: torch.Tensor | None = None) -> torch.Tensor:
        m = pyro.sample("m", dist.Normal(0.0, 100.0))
        with pyro.plate("data", 1 if x is None else len(x)):
            return pyro.sample("x", dist.Normal(m, 1.0), obs=x)

    def guide(self, x: torch.Tensor | None = None) -> None:
        pyro.sample("m", dist.Normal(self.loc, 0.1))


@pytest.fixture
def far() -> tuple[Any, dict[str, torch.Tensor]]:
    return FarMean(), {"x": 20.0 + torch.randn(100, generator=torch.Generator().manual_seed(0)).double()}


@pytest.mark.parametrize("mode", [False, "trace"])
def test_a_long_memory_gives_the_start_no_weight(far: Any, mode: Any) -> None:
    """With decay 0.99, 100 steps are one memory: an average that began at the start kept 37 % of it."""
    model, data = far
    steps, decay = 100, 0.99
    svi = {**OPTIONS, "steps": steps, "lr": 2.0, "compile": mode, "log_every": 1}
    path: list[float] = []
    SVI(TraceMeanField_ELBO(), **svi).fit(
        model, data, callbacks=[lambda progress: path.append(progress.program.model_owner.loc.item())]
    )
    weights = decay ** torch.arange(steps - 1, -1, -1.0)
    expected = (weights * torch.tensor(path)).sum() / weights.sum()
    fit = SVI(TraceMeanField_ELBO(), average=decay, **{**svi, "log_every": 50}).fit(model, data)
    assert fit.model.loc.item() == pytest.approx(expected.item(), rel=1e-9)
    assert abs(fit.model.loc.item() - float(data["x"].mean())) < 6.0  # the way there counts; -20 would move it by 15


@pytest.mark.parametrize("mode", [False, "trace"])
def test_the_history_shows_the_bound_of_the_average(linear: Any, mode: Any) -> None:
    """The last row, on the batch and the draws of the last steps, is the bound of the fit that is returned."""
    model, data = linear
    fit = SVI(TraceMeanField_ELBO(), average=0.99, steps=60, compile=mode, **{**OPTIONS, "log_every": 20}).fit(
        model, data, validation=data
    )
    last = fit.history.iloc[-1]
    value, stderr = bound_on(fit.program, TraceMeanField_ELBO(), data, seed=1, repeats=200)
    spread = stderr * 200**0.5  # of one draw; a row is the mean of eight
    assert abs(last["bound"] - value) < 5 * spread / 8**0.5
    assert last["bound_per_datum"] == last["bound"] / len(data["x"])
    assert abs(-last["loss"] - value) > 5 * spread / 8**0.5, "the steps are ahead of their average"
    assert last["validation_bound"] == pytest.approx(
        bound_on(fit.program, TraceMeanField_ELBO(), data, seed=0)[0], rel=1e-12
    )


def test_the_best_average_is_returned_with_the_weights_of_its_own_step(vae: Any) -> None:
    model, data = vae
    train, held_out = {"x": data["x"][:10]}, {"x": data["x"][10:]}  # so few that it soon overfits
    svi = SVI(TraceMeanField_ELBO(), average=0.95, steps=200, patience=1000, **{**OPTIONS, "lr": 0.1, "log_every": 10})
    fit = svi.fit(model, train, validation=held_out)
    best = fit.history["validation_bound"].max()
    assert best > fit.history["validation_bound"].iloc[-1]
    assert bound_on(fit.program, TraceMeanField_ELBO(), held_out, seed=0)[0] == pytest.approx(best, rel=1e-12)


def test_an_interrupted_average_goes_on_as_if_it_had_not_been(
    vae: Any, tmp_path: Path, same: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(progress: Any) -> None:
        if progress.step == 25:
            raise KeyboardInterrupt

    svi = SVI(Trace_ELBO(), average=0.99, batch_size=16, steps=40, compile="trace", **{**OPTIONS, "log_every": 5})
    part = svi.fit(*vae, checkpoint=tmp_path, callbacks=[interrupt])
    assert part.status == "interrupted"
    same(svi.fit(*vae, checkpoint=tmp_path), svi.fit(*vae))
