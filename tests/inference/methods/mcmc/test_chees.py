"""Draws of many chains against exact posteriors, what they adapt to, and runs that go on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from sampled_fits import killed_and_resumed, mean_errors, regression
from torch.utils._python_dispatch import TorchDispatchMode

from jensen.inference import ChEES, ModelError, NonFiniteError, load
from jensen.inference.methods.mcmc import chees_sampler
from jensen.models import BayesianLinearRegression

QUICK = ChEES(steps=100, num_warmup=100, num_chains=32, progress=False, compile=False, dtype=torch.float64)


def normal(root: torch.Tensor, loc: float = 0.0) -> Any:
    """A program whose posterior is this normal, whatever the data."""

    def model(x: Any) -> None:
        pyro.sample("z", dist.MultivariateNormal(torch.full((len(root),), loc), scale_tril=root))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    return model


@pytest.mark.parametrize("metric", ["dense", "diagonal"])
def test_means_and_second_moments_of_thirty_correlated_numbers(metric: str, float64: None) -> None:
    generator = torch.Generator().manual_seed(3)
    mixing = torch.randn(30, 30, generator=generator)
    scales = torch.logspace(-1, 1, 30)
    covariance = scales[:, None] * (mixing @ mixing.T / 30 + 0.3 * torch.eye(30)) * scales
    root = torch.linalg.cholesky(covariance)
    method = ChEES(steps=200, num_warmup=200, num_chains=64, progress=False, metric=metric, dtype=torch.float64)
    fit = method.fit(normal(root, 5.0), {"x": torch.zeros(2)})
    white = torch.linalg.solve(root, (fit.draws["z"] - 5.0).mT).mT.numpy()
    assert np.abs(mean_errors(white, np.zeros(30), 64)).max() < 4
    assert np.abs(mean_errors(white**2, np.ones(30), 64)).max() < 4
    assert np.abs(mean_errors(white[:, :-1] * white[:, 1:], np.zeros(29), 64)).max() < 4
    assert fit.info["divergences"] == 0


def test_the_length_adapts_to_the_widest_direction(float64: None) -> None:
    """In the unit metric a direction of ten standard deviations takes a trajectory about ten times as long."""
    lengths = []
    for scale in (1.0, 10.0):
        method = ChEES(
            steps=20, num_warmup=250, num_chains=32, metric="unit", progress=False, max_leapfrogs=100, compile=False
        )
        fit = method.fit(normal(torch.diag(torch.tensor([1.0, 1.0, scale]))), {"x": torch.zeros(2)})
        lengths.append(fit.info["trajectory_length"])
    assert 0.7 < lengths[0] < 4.0
    assert 5.0 < lengths[1] / lengths[0] < 20.0


def coin(y: Any) -> None:
    p = pyro.sample("p", dist.Beta(2.0, 3.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Bernoulli(p), obs=y)


TOSSES = torch.tensor([1.0, 1, 0, 1, 1, 1, 0, 1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_draws_of_a_conjugate_posterior_on_a_bounded_support(dtype: torch.dtype, float64: None) -> None:
    fit = dataclasses.replace(QUICK, chain_dtype=dtype).fit(coin, {"y": TOSSES})
    exact = torch.distributions.Beta(8.0, 5.0)
    p = fit.draws["p"].numpy()[:, None]
    assert np.abs(mean_errors(p, np.array([exact.mean]), 32)).max() < 4
    assert np.abs(mean_errors(p**2, np.array([exact.variance + exact.mean**2]), 32)).max() < 4
    assert fit.info["gradients"] >= 200


def test_chains_in_single_precision_go_on_to_the_same_draws(float64: None, tmp_path: Path) -> None:
    method = dataclasses.replace(QUICK, chain_dtype=torch.float32, checkpoint_every=50, log_every=50)

    def interrupt(progress: Any) -> None:
        if progress.step == 150:
            raise KeyboardInterrupt

    assert method.fit(coin, {"y": TOSSES}, checkpoint=tmp_path / "run", callbacks=[interrupt]).status == "interrupted"
    found = method.fit(coin, {"y": TOSSES}, checkpoint=tmp_path / "run")
    assert torch.equal(found.draws["p"], method.fit(coin, {"y": TOSSES}).draws["p"])


@pytest.mark.parametrize("metric", ["dense", "diagonal"])
def test_a_killed_run_goes_on_to_the_same_draws(metric: str, float64: None, tmp_path: Path) -> None:
    method = ChEES(
        steps=40,
        num_warmup=100,
        num_chains=4,
        log_every=10,
        checkpoint_every=10,
        progress=False,
        compile=False,
        metric=metric,
    )
    model, data = BayesianLinearRegression(2), regression()

    steps = (10, 30, 70, 120)  # before, in and after the windows of the warm-up
    found = killed_and_resumed(method, model, data, tmp_path / "run", steps)
    whole = method.fit(model, data, seed=1)
    assert all(torch.equal(found.draws[name], whole.draws[name]) for name in whole.draws)
    assert all(torch.equal(found.sample_stats[name], whole.sample_stats[name]) for name in whole.sample_stats)
    for name in ("gradients", "step_size", "trajectory_length"):
        assert found.info[name] == whole.info[name]
    rows = whole.history.drop(columns="seconds")
    assert found.history.drop(columns="seconds").equals(rows)
    other = method.fit(model, data, seed=2)
    assert not torch.equal(other.draws["w"], whole.draws["w"])


def test_chains_are_kept_apart_in_arviz_and_in_files(float64: None, tmp_path: Path) -> None:
    """Also where there are more chains than draws, of which ArviZ would warn."""
    fit = ChEES(steps=4, num_warmup=40, num_chains=5, progress=False, compile=False).fit(
        BayesianLinearRegression(2), regression()
    )
    fit.save(tmp_path / "fit")
    for each in (fit, load(tmp_path / "fit")):
        tree = each.to_arviz(num=20)
        assert dict(tree.posterior.sizes)["chain"] == 5
        stats = tree.sample_stats
        assert set(stats) == {"acceptance_rate", "diverging", "energy", "n_steps", "step_size"}
        assert stats.diverging.shape == (5, 4)
        assert bool((stats.n_steps == stats.n_steps[0]).all())  # of one transition all chains make as many
        assert int(stats.n_steps[0].sum()) + fit.info["chains"] <= fit.info["gradients"]


class Reads(TorchDispatchMode):
    """Counts what makes the host wait for a number."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.name().split(".")[0] in ("aten::_local_scalar_dense", "aten::item", "aten::equal")
        return func(*args, **(kwargs or {}))


def test_a_transition_reads_nothing_but_what_it_adapts_by(float64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: dict[int, int] = {}
    transition = chees_sampler.ChEESSampler._transition

    def counted(self: Any, i: int) -> Any:
        with Reads() as found:
            ended = transition(self, i)
        reads[i] = found.count
        return ended

    monkeypatch.setattr(chees_sampler.ChEESSampler, "_transition", counted)
    ChEES(steps=20, num_warmup=30, num_chains=4, progress=False, compile=False).fit(
        BayesianLinearRegression(2), regression()
    )
    assert all(reads[i] <= 2 for i in range(30))  # the acceptance and the slope
    assert all(reads[i] == 0 for i in range(30, 50))


def test_a_funnel_has_divergences_and_says_what_to_do(float64: None) -> None:
    def model(x: Any) -> None:
        v = pyro.sample("v", dist.Normal(0.0, 3.0))
        with pyro.plate("parts", 9):
            pyro.sample("z", dist.Normal(0.0, (v / 2).exp()))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    fit = ChEES(steps=60, num_warmup=60, num_chains=4, max_leapfrogs=20, target_acceptance=0.1, progress=False).fit(
        model, {"x": torch.zeros(2)}
    )
    assert fit.info["divergences"] > 0
    assert "target_acceptance" in fit.info["convergence"]["advice"]


def test_two_modes_are_no_convergence(float64: None) -> None:
    def model(x: Any) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 10.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z.abs(), 0.1), obs=x)

    fit = QUICK.fit(model, {"x": torch.full((5,), 8.0)})
    assert fit.status == "not converged"
    assert "modes" in fit.info["convergence"]["advice"]
    signs = fit.draws["z"].reshape(32, -1).sign()
    assert set(signs.mean(1).tolist()) == {-1.0, 1.0}


def test_local_latents_are_refused_by_name(float64: None) -> None:
    def model(x: Any) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ModelError, match="`z` is a latent of each datum"):
        QUICK.fit(model, {"x": torch.zeros(3)})


def test_a_density_without_a_value_is_an_error(float64: None) -> None:
    def model(x: Any) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("lost", -torch.inf * (z**2 + 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(NonFiniteError, match="no chain can begin"):
        QUICK.fit(model, {"x": torch.zeros(3)})


@pytest.mark.parametrize(
    "options",
    [
        {"num_chains": 1},
        {"num_chains": 0},
        {"max_leapfrogs": 0},
        {"chain_dtype": torch.float16},
        {"target_acceptance": 1.5},
        {"metric": "euclid"},
        {"steps": 0},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        ChEES(**options)


@pytest.mark.gpu
def test_draws_on_a_gpu(float64: None, tmp_path: Path) -> None:
    model, data = BayesianLinearRegression(2), regression()
    method = ChEES(steps=200, num_warmup=200, num_chains=256, device="cuda", progress=False, dtype=torch.float64)
    fit = method.fit(model, data)
    other = ChEES(steps=200, num_warmup=200, num_chains=64, device="cpu", progress=False, dtype=torch.float64).fit(
        model, data
    )
    assert fit.draws["w"].is_cuda
    gap = fit.draws["w"].mean(0).cpu() - other.draws["w"].mean(0)
    assert bool((gap.abs() < 5 * other.draws["w"].std(0) / 1_000**0.5).all())
    again = method.fit(model, data)
    assert torch.equal(fit.draws["w"], again.draws["w"])
