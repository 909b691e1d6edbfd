"""The evidence and the draws of annealed particles against exact ones; runs that go on; what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from sampled_fits import killed_and_resumed, regression

from jensen.inference import AIS, NUTS, ModelError, NonFiniteError, Pathfinder, load, log_evidence
from jensen.models import BayesianLinearRegression

QUICK = AIS(steps=100, num_particles=128, progress=False, compile=False, dtype=torch.float64)


def coin(y: Any) -> None:
    p = pyro.sample("p", dist.Beta(2.0, 3.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Bernoulli(p), obs=y)


Y = torch.tensor([1.0, 1, 0, 1, 1, 1, 0, 1], dtype=torch.float64)
COIN = math.lgamma(8) + math.lgamma(5) - math.lgamma(13) - math.lgamma(2) - math.lgamma(3) + math.lgamma(5)


@pytest.mark.parametrize("resampling", [False, True])
def test_the_evidence_of_a_conjugate_model(resampling: bool, float64: None) -> None:
    """How often errors cover is asked in `tests/inference/annealing/test_weights.py`."""
    method = replace(QUICK, steps=40, resampling=resampling)
    for seed in range(2):
        found = log_evidence(method.fit(coin, {"y": Y}, seed=seed))
        assert abs(found.value - COIN) < 4 * found.stderr
        assert 0.005 < found.stderr < 0.2
        assert found.n == 8


def test_draws_are_those_of_the_posterior(float64: None) -> None:
    fit = AIS(steps=60, num_particles=1_024, progress=False, compile=False, dtype=torch.float64).fit(coin, {"y": Y})
    assert fit.status == "converged"
    p, exact = fit.draws["p"], torch.distributions.Beta(8.0, 5.0)
    number = fit.info["evidence"]["details"]["ess"]
    assert abs(float(p.mean() - exact.mean)) < 4 * float(exact.stddev) / math.sqrt(number)
    assert abs(float(p.std() / exact.stddev) - 1.0) < 4 / math.sqrt(2 * number)


@pytest.mark.parametrize("resampling", [False, True])
def test_a_killed_run_goes_on_to_the_same_numbers(resampling: bool, float64: None, tmp_path: Path) -> None:
    method = AIS(
        steps=60,
        num_particles=32,
        resampling=resampling,
        log_every=7,
        checkpoint_every=7,
        progress=False,
        compile=False,
    )
    model, data = BayesianLinearRegression(2), regression()

    steps = (7, 35)
    found = killed_and_resumed(method, model, data, tmp_path / "run", steps)
    whole = method.fit(model, data, seed=1)
    assert found.info["log_evidence"] == whole.info["log_evidence"]
    assert all(torch.equal(found.draws[name], whole.draws[name]) for name in whole.draws)
    again = method.fit(model, data, seed=1, checkpoint=tmp_path / "run")
    assert again.info["log_evidence"] == whole.info["log_evidence"]
    assert method.fit(model, data, seed=2).info["log_evidence"] != whole.info["log_evidence"]
    assert found.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))


def test_a_fit_is_read_back_with_its_evidence(float64: None, tmp_path: Path) -> None:
    model, data = BayesianLinearRegression(2), regression()
    base = Pathfinder(progress=False).fit(model, data)
    fit = AIS(steps=10, num_particles=32, base=base, progress=False, compile=False).fit(model, data)
    fit.save(tmp_path / "fit")
    found = load(tmp_path / "fit")
    assert found.config["base"] == fit.config["base"] and "sha256" in fit.config["base"]
    assert log_evidence(found).value == log_evidence(fit).value == fit.info["log_evidence"]
    assert log_evidence(found).k_hat == log_evidence(fit).k_hat


def test_from_a_fit_the_way_is_short(float64: None) -> None:
    data = {"y": Y}
    base = Pathfinder(progress=False, dtype=torch.float64).fit(coin, data)
    far, near = (AIS(steps=10, base=b, progress=False, compile=False).fit(coin, data) for b in (None, base))
    assert abs(log_evidence(near).value - COIN) < 4 * log_evidence(near).stderr
    assert log_evidence(near).stderr < 0.5 * log_evidence(far).stderr
    assert AIS(base=base) == AIS(base=base) and AIS(base=base) != AIS()


def test_the_fit_says_what_its_evidence_is_worth(float64: None) -> None:
    options = {"progress": False, "compile": False}
    model, data = BayesianLinearRegression(2), regression()
    good, poor = (AIS(steps=steps, **options).fit(model, data) for steps in (300, 1))
    assert "log evidence" in str(good) and good.status == "converged"
    assert poor.status == "not converged" and "`steps`" in poor.info["convergence"]["advice"]
    assert "unreliable" in str(log_evidence(poor))
    assert {"beta", "ess", "acceptance", "log_evidence"} <= set(good.history)
    assert good.history.beta.iloc[-1] == 1.0
    with pytest.raises(ValueError, match="stored draws"):
        log_evidence(good, data)


def test_an_interrupted_run_has_no_evidence(float64: None) -> None:
    method = AIS(steps=40, num_particles=32, log_every=10, progress=False, compile=False)
    fit = method.fit(coin, {"y": Y}, callbacks=[lambda progress: progress.step >= 20])
    assert fit.status == "stopped early" and 0.0 < fit.info["beta"] < 1.0
    assert "log_evidence" not in fit.info
    with pytest.raises(ValueError, match="stored draws"):
        log_evidence(fit)


def local(x: Any) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def flat(x: Any) -> None:
    m = pyro.sample("m", dist.ImproperUniform(dist.constraints.real, (), ()))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(m, 1.0), obs=x)


def scaled(x: Any) -> None:
    with pyro.poutine.scale(scale=0.5):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(m, 1.0), obs=x)


def nested(x: Any) -> None:
    c = pyro.sample("c", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
    m = pyro.sample("m", dist.Normal(4.0 * c, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(m, 1.0), obs=x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (local, "AIS needs .*`z` is a latent of each datum"),
        (flat, "AIS needs .* prior of `m` has no integral"),
        (scaled, "`m` is scaled by 0.5 in the model"),
        (nested, r"AIS: the prior of `m` depends on a discrete latent.*base=Pathfinder\(\)"),
    ],
)
def test_what_has_no_evidence_or_no_path_is_refused(model: Any, message: str, float64: None) -> None:
    with pytest.raises(ModelError, match=message):
        QUICK.fit(model, {"x": torch.zeros(3)})


def test_a_prior_with_a_discrete_parent_from_a_fit(float64: None) -> None:
    x = torch.tensor([1.0, 2.5, 3.0])
    base = Pathfinder(progress=False, dtype=torch.float64).fit(nested, {"x": x})
    covariance = torch.eye(3) + 1.0
    parts = [torch.distributions.MultivariateNormal(torch.full((3,), m), covariance).log_prob(x) for m in (0.0, 4.0)]
    exact = float(torch.logaddexp(math.log(0.7) + parts[0], math.log(0.3) + parts[1]))
    found = log_evidence(AIS(base=base, steps=100, progress=False, compile=False).fit(nested, {"x": x}))
    assert abs(found.value - exact) < 4 * found.stderr


def test_what_no_draw_could_have_made_says_so(float64: None) -> None:
    def model(x: Any) -> None:
        m = pyro.sample("m", dist.Uniform(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(m / 0.0 if m.dim() == 9 else m * math.nan, 1.0, validate_args=False), obs=x)

    with pyro.validation_enabled(False), pytest.raises(NonFiniteError, match="likelihood"):
        QUICK.fit(model, {"x": torch.zeros(3)})


@pytest.mark.parametrize(
    "options",
    [
        {"num_particles": 8},
        {"num_particles": 100, "resampling": True},
        {"schedule": "linear"},
        {"resampling": 1},
        {"leapfrogs": 0},
        {"compile": "yes"},
        {"steps": 0},
        {"base": "prior"},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        AIS(**options)


def test_a_base_is_a_fit_of_the_same_latents_with_a_spread(float64: None) -> None:
    base = Pathfinder(progress=False).fit(BayesianLinearRegression(2), regression())
    with pytest.raises(ModelError, match=r"`base` is a fit of .* and the model's latents are p"):
        AIS(base=base, progress=False).fit(coin, {"y": Y})
    with pytest.raises(ValueError, match="`base`"):
        AIS(base=NUTS())
