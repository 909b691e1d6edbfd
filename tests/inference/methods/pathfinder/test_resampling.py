"""Resampled paths: the masses of modes, the shapes that no normal has, and fits that hold draws."""

from __future__ import annotations

import math
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from jensen.inference import ConfigurationError, Pathfinder, Progress, load
from jensen.inference.methods.pathfinder.normal import Normal
from jensen.inference.methods.pathfinder.resampling import resampled
from jensen.studies.arms.fingerprint import fingerprint

pytestmark = pytest.mark.usefixtures("float64")


def _normal(at: float, sd: float = 1.0) -> Normal:
    return Normal(torch.tensor([at]), torch.tensor([[sd]]))


def _two(u: Tensor) -> tuple[Tensor, Tensor]:  # 0.8 N(-6, 1) + 0.2 N(6, 1), unnormalised
    logs = torch.stack([math.log(0.8) - 0.5 * (u[:, 0] + 6) ** 2, math.log(0.2) - 0.5 * (u[:, 0] - 6) ** 2])
    return logs.logsumexp(0), torch.zeros_like(u)


@pytest.mark.parametrize("others", [1, 3])
def test_a_mode_counts_by_its_mass_however_many_paths_found_it(others: int) -> None:
    normals = [_normal(-6.0), *[_normal(6.0)] * others]
    found = resampled(_two, normals, 4_000, torch.Generator().manual_seed(0))
    assert float((found.u < 0).double().mean()) == pytest.approx(0.8, abs=0.03)
    assert found.pareto_k < 0.5


def test_log_density_of_a_normal() -> None:
    root = torch.tensor([[2.0, 0.0], [-1.0, 0.5]])
    normal, u = Normal(torch.tensor([1.0, -3.0]), root), torch.randn(5, 2)
    torch.testing.assert_close(normal.log_prob(u), dist.MultivariateNormal(normal.loc, scale_tril=root).log_prob(u))


def test_a_normal_too_narrow_is_unreliable() -> None:
    wide = lambda u: (-0.5 * u[:, 0] ** 2 / 100, u)  # noqa: E731
    found = resampled(wide, [_normal(0.0)], 1_000, torch.Generator().manual_seed(1))
    assert found.pareto_k > found.threshold


def counts(x: Tensor) -> None:
    rate = pyro.sample("rate", dist.Gamma(0.6, 0.4))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Poisson(rate), obs=x)


DATA = {"x": torch.tensor([0.0, 1.0])}


def test_draws_have_the_skew_that_the_normal_lacks() -> None:
    fit = Pathfinder(draws=1_000, progress=False).fit(counts, DATA)
    exact = dist.Gamma(1.6, 2.4)
    draws = fit.posterior(1_000)["rate"]
    assert fit.info["pareto_k"] < fit.info["pareto_k_threshold"]
    assert float(draws.mean()) == pytest.approx(float(exact.mean), abs=4 * float(exact.stddev) / 30)
    assert float((draws < 0.1).double().mean()) == pytest.approx(float(exact.cdf(torch.tensor(0.1))), abs=0.04)
    assert fit.predict(num=50)["x"].shape == (50, 2)
    with pytest.raises(ConfigurationError, match="the fit holds 1000 draws"):
        fit.posterior(2_000)


def test_without_draws_nothing_changes() -> None:
    assert "draws" not in Pathfinder().configuration() and Pathfinder().fit(counts, DATA).draws is None
    assert fingerprint(Pathfinder(draws=5)) != fingerprint(Pathfinder())
    with pytest.raises(ConfigurationError, match="`draws` must be a positive whole number"):
        Pathfinder(draws=0)


def test_a_killed_fit_goes_on_to_the_same_draws_and_is_saved(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 2:
            raise RuntimeError("killed")

    method = Pathfinder(draws=200, progress=False, checkpoint_every=1)
    whole = method.fit(counts, DATA)
    with pytest.raises(RuntimeError, match="killed"):
        method.fit(counts, DATA, checkpoint=tmp_path / "run", callbacks=[stop])
    again = method.fit(counts, DATA, checkpoint=tmp_path / "run")
    assert whole.draws is not None and again.draws is not None
    assert torch.equal(again.draws["rate"], whole.draws["rate"])
    again.save(tmp_path / "fit")
    found = load(tmp_path / "fit", model=counts)
    assert torch.equal(found.posterior(100)["rate"], whole.posterior(100)["rate"])
    assert found.guide is not None
