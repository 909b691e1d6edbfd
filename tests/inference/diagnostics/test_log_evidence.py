"""log_evidence: against exact evidence for local, global, nested, enumerated and no latents; pieces; memory; state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from jensen.inference.diagnostics import Estimate, log_evidence
from jensen.inference.diagnostics.weights.chunking import peak_bytes
from jensen.inference.diagnostics.weights.importance import WeightSummary
from jensen.inference.errors import ConfigurationError, DataError, ModelError
from jensen.inference.guides.build import build_guide
from jensen.models import LatentVariableModel
from jensen.models.factors.linear_gaussian import LinearGaussian
from jensen.models.mixtures.gaussian_mixture import GaussianMixture
from jensen.models.regression.linear_regression import BayesianLinearRegression

Make = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("float64")


def _within(estimate: Estimate, exact: Tensor | float, sds: float = 4.0) -> bool:
    exact = float(torch.as_tensor(exact).detach())
    return abs(estimate.value - estimate.details["bias"] - exact) < sds * estimate.stderr + 1e-9


@pytest.mark.parametrize("posterior", ["full", "diagonal"])
@pytest.mark.parametrize("max_bytes", [None, 200_000])
def test_local_latents(bare_fit: Make, posterior: str, max_bytes: int | None) -> None:
    model = LinearGaussian(5, 2, 0.7, posterior=posterior)
    x = model.generate(60, seed=1)["x"]
    model.set_exact_guide()
    with torch.no_grad():
        model.guide_weight.mul_(0.9)
        model.guide_scale = model.guide_scale * 1.3
    exact = model.log_evidence({"x": x}).detach()
    e = log_evidence(bare_fit(model, x=x), num_particles=4_000, max_bytes=max_bytes)
    assert _within(e, exact.sum())
    assert 0 < e.stderr < 1.0 and e.n == 60
    scores = (e.details["per_datum"] - exact) / e.details["stderr_per_datum"]
    assert scores.abs().max() < 5 and 0.5 < scores.std() < 1.5
    assert e.details["pareto_k"].shape == e.details["ess"].shape == (60,)
    torch.testing.assert_close(e.value, e.details["per_datum"].sum().item())
    if max_bytes is not None:
        assert e.details["chunks"]["data"] < 60


def test_exact_guide_gives_exact_evidence(bare_fit: Make) -> None:
    model = LinearGaussian(4, 3)
    x = model.generate(20, seed=0)["x"]
    model.set_exact_guide()
    e = log_evidence(bare_fit(model, x=x), num_particles=10)
    torch.testing.assert_close(e.value, model.log_evidence({"x": x}).sum().item(), rtol=1e-12, atol=1e-9)
    assert e.stderr < 1e-6 and (e.details["pareto_k"] == -math.inf).all()


@pytest.mark.parametrize("guide", ["normal", "multivariate_normal", "lowrank", "flow", "iaf"])
def test_global_latents(bare_fit: Make, guide: str) -> None:
    """The joint weight over all data; cut into pieces, the same global draws must meet all data."""
    model = BayesianLinearRegression(2)
    x = 0.5 * torch.randn(30, 2)
    y = model.generate(30, x=x, seed=0)["y"]
    built = build_guide(guide, model, {"x": x, "y": y})
    posterior = model.exact_posterior({"x": x, "y": y})["w"]
    _centre(built, posterior.mean, 0.5)
    fit = bare_fit(model, built, x=x, y=y)
    exact = model.log_evidence({"x": x, "y": y})
    for max_bytes in (None, 2_000_000 if guide == "flow" else 100_000):
        e = log_evidence(fit, num_particles=3_000, max_bytes=max_bytes)
        assert _within(e, exact), (e, exact)
        assert e.stderr < 0.4 and e.details["pareto_k"].shape == ()
        assert max_bytes is None or e.details["chunks"]["particles"] < 3_000


@torch.no_grad()
def _centre(guide: nn.Module, mean: Tensor, scale: float) -> None:
    for name, value in guide.named_parameters():
        if name.endswith(("loc", "loc_w")):
            value.copy_(mean)
        elif "log_scale" in name:
            value.fill_(math.log(scale))
        elif name.endswith("scale_unconstrained"):
            value.fill_(math.log(math.expm1(scale)))


@pytest.mark.parametrize("inner", [None, 1, 10])
@pytest.mark.parametrize("from_data", [False, True])
def test_global_and_local_latents(bare_fit: Make, hierarchy: Any, inner: int | None, from_data: bool) -> None:
    x = torch.randn(12) * 1.7
    model = hierarchy(12, 1.3, from_data).set_exact(x)
    exact = model.log_evidence({"x": x})
    for max_bytes in (None, 30_000):
        e = log_evidence(bare_fit(model, x=x), num_particles=10_000, num_local_particles=inner, max_bytes=max_bytes)
        assert _within(e, exact), (e, exact)
        assert e.details["num_local_particles"] == (inner or 100)


def test_nested_draws_beat_single_ones(bare_fit: Make, hierarchy: Any) -> None:
    x = torch.randn(60) * 1.7
    fit = bare_fit(hierarchy(60, 1.3).set_exact(x), x=x)
    nested, single = (log_evidence(fit, num_particles=4_000, num_local_particles=s) for s in (None, 1))
    assert nested.details["pareto_k"] < single.details["pareto_k"]
    assert nested.stderr < 0.5 * single.stderr


def test_exact_hierarchical_guide_has_constant_weights(bare_fit: Make, hierarchy: Any) -> None:
    x = torch.randn(12)
    model = hierarchy(12).set_exact(x)
    e = log_evidence(bare_fit(model, x=x), num_particles=100)
    torch.testing.assert_close(e.value, model.log_evidence({"x": x}).item(), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("max_bytes", [None, 3_000])
def test_summed_out_latents_are_exact(bare_fit: Make, max_bytes: int | None) -> None:
    model = GaussianMixture(3, 2)
    x = torch.randn(50, 2)
    e = log_evidence(bare_fit(model, x=x), max_bytes=max_bytes)
    exact = model.log_evidence({"x": x}).detach()
    torch.testing.assert_close(e.details["per_datum"], exact, rtol=1e-10, atol=1e-10)
    assert e.stderr == 0.0 and e.details["exact"] and (e.details["pareto_k"] == -math.inf).all()


@pytest.mark.parametrize("enumerate", [None, "parallel"])
def test_discrete_latents_of_the_guide_are_drawn(bare_fit: Make, switch: Any, enumerate: str | None) -> None:
    """Terms averaged under an enumerated guide would give a bound, not weights."""
    model, x = switch(enumerate), 2.0 * torch.randn(40) + 1.0
    e = log_evidence(bare_fit(model, x=x), num_particles=4_000)
    assert _within(e, model.log_evidence({"x": x}).sum())
    assert not e.details["exact"] and e.stderr > 0
    exact = log_evidence(bare_fit(switch(enumerate, exact=True), x=x), num_particles=50)
    torch.testing.assert_close(exact.value, model.log_evidence({"x": x}).sum().item(), rtol=1e-10, atol=1e-8)


class _WithoutLatents(LatentVariableModel):
    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(0.3))

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        pyro.factor("penalty", -(self.loc**2))
        with pyro.plate("data", len(x)):  # type: ignore[arg-type]
            return pyro.sample("x", dist.Normal(self.loc, 1.0), obs=x)


def test_no_latents(bare_fit: Make) -> None:
    x = torch.randn(30)
    e = log_evidence(bare_fit(_WithoutLatents(), x=x))
    expected = torch.distributions.Normal(0.3, 1.0).log_prob(x).sum().item() - 0.09
    assert e.value == pytest.approx(expected, rel=1e-12)
    assert (e.stderr, e.details["constant"]) == (0.0, pytest.approx(-0.09))


def test_a_guide_with_parameters_per_datum(bare_fit: Make) -> None:
    model = LinearGaussian(3, 2, 1.0)
    x = model.generate(15, seed=0)["x"]
    guide = build_guide("normal", model, {"x": x})
    with torch.no_grad():
        guide.loc_z.copy_(model.exact_posterior({"x": x})["z"].mean)
        guide.log_scale_z.fill_(math.log(0.6))
    e = log_evidence(bare_fit(model, guide, x=x), num_particles=4_000, max_bytes=100_000)
    assert _within(e, model.log_evidence({"x": x}).sum())
    assert e.details["per_datum"].shape == (15,) and e.details["chunks"]["data"] == 15


def test_same_seed_same_bits(bare_fit: Make, hierarchy: Any) -> None:
    x = torch.randn(12)
    fit = bare_fit(hierarchy(12, 1.3).set_exact(x), x=x)
    state = torch.get_rng_state()
    first, again, other = (log_evidence(fit, seed=s, num_particles=500) for s in (3, 3, 4))
    assert first.value == again.value and first.stderr == again.stderr
    assert first.value != other.value
    assert torch.equal(torch.get_rng_state(), state)


def test_standard_error_is_honest(bare_fit: Make) -> None:
    """Over 60 seeds, the spread of the estimates is the mean of their standard errors (to the error of a variance)."""
    model = LinearGaussian(4, 2, 0.8)
    x = model.generate(20, seed=2)["x"]
    model.set_exact_guide()
    with torch.no_grad():
        model.guide_scale = model.guide_scale * 1.4
    fit = bare_fit(model, x=x)
    runs = [log_evidence(fit, seed=s, num_particles=200) for s in range(60)]
    values, errors = torch.tensor([r.value for r in runs]), torch.tensor([r.stderr for r in runs])
    assert abs(values.std() / errors.square().mean().sqrt() - 1) < 4 / math.sqrt(2 * 60)
    bias = values.mean() - model.log_evidence({"x": x}).sum().item()
    assert abs(bias - torch.tensor([r.details["bias"] for r in runs]).mean()) < 4 * values.std() / math.sqrt(60)


def test_memory_is_bounded(bare_fit: Make) -> None:
    """In one piece this would need 400 MB."""
    model = LinearGaussian(2, 1)
    x = model.generate(2_000, seed=0)["x"]
    model.set_exact_guide()
    fit = bare_fit(model, x=x)
    budget = 4 * 2**20
    peak = peak_bytes(lambda: log_evidence(fit, num_particles=2_000, max_bytes=budget))
    assert peak < 1.6 * budget


def test_state_is_as_before(bare_fit: Make) -> None:
    class Noisy(LinearGaussian):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.dropout = nn.Dropout(0.5)

        def guide(self, x: Tensor) -> Tensor:
            return super().guide(self.dropout(x))

    model = Noisy()
    x = model.generate(10, seed=0)["x"]
    model.set_exact_guide()
    model.train()
    model.dropout.eval()
    e = log_evidence(bare_fit(model, x=x), num_particles=10)
    torch.testing.assert_close(e.value, model.log_evidence({"x": x}).sum().item())  # dropout was off
    assert model.training and not model.dropout.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_single_precision(bare_fit: Make) -> None:
    torch.set_default_dtype(torch.float32)
    model = LinearGaussian(5, 2)
    x = model.generate(30, seed=1)["x"]
    model.set_exact_guide()
    torch.set_default_dtype(torch.float64)
    e = log_evidence(bare_fit(model, x=x), num_particles=200)
    assert e.details["per_datum"].dtype == torch.float64
    assert e.value == pytest.approx(model.log_evidence({"x": x}).sum().item(), rel=1e-5)
    torch.set_default_dtype(torch.float32)


def test_new_data(bare_fit: Make) -> None:
    model = LinearGaussian(5, 2)
    x = model.generate(30, seed=1)["x"].detach()
    model.set_exact_guide()
    fit = bare_fit(model, x=x)
    for data in ({"x": x[:7]}, x[:7], {"x": x[:7].numpy()}):
        e = log_evidence(fit, data, num_particles=10)
        assert e.n == 7
        assert e.value == pytest.approx(model.log_evidence({"x": x[:7]}).sum().item())
    assert log_evidence(fit, x[:1], num_particles=10).n == 1


def test_bad_arguments(bare_fit: Make) -> None:
    model = LinearGaussian(3, 2)
    x = model.generate(5, seed=0)["x"]
    fit = bare_fit(model, x=x)
    with pytest.raises(ConfigurationError, match="`num_particles` must be an integer of at least 1, got 0"):
        log_evidence(fit, num_particles=0)
    with pytest.raises(ConfigurationError, match="`num_local_particles` must be an integer of at least 1, got -2"):
        log_evidence(fit, num_local_particles=-2)
    with pytest.raises(ConfigurationError, match="`max_bytes` must be an integer of at least 1, got 0"):
        log_evidence(fit, max_bytes=0)
    with pytest.raises(DataError, match="`data` must be given: this fit did not keep its training data"):
        log_evidence(bare_fit(model))
    with pytest.raises(DataError):
        log_evidence(fit, {"x": torch.full((5, 3), math.nan)})
    with pytest.raises(DataError):
        log_evidence(fit, torch.zeros(0, 3))


def test_a_point_mass_has_no_weights(bare_fit: Make) -> None:
    model = BayesianLinearRegression(2)
    x, y = torch.randn(10, 2), torch.randn(10)

    def guide(x: Tensor, y: Tensor | None = None) -> None:
        pyro.sample("w", dist.Delta(torch.zeros(2), event_dim=1))

    with pytest.raises(ModelError, match="needs a guide with a density, but the guide of `w` is a point mass"):
        log_evidence(bare_fit(model, guide, x=x, y=y))


def test_weight_summary_streams() -> None:
    log_weights = torch.randn(1_000, 3) * torch.tensor([0.0, 1.0, 300.0])
    log_weights[:300, 1] = -math.inf
    whole, pieces = WeightSummary(1_000), WeightSummary(1_000)
    whole.update(log_weights)
    for part in log_weights.split(130):
        pieces.update(part)
    a, b = whole.finish(), pieces.finish()
    for name in ("log_mean", "bias", "variance", "ess", "pareto_k"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(a.log_mean, log_weights.logsumexp(0) - math.log(1_000))
    w = (log_weights - log_weights.amax(0)).exp()
    delta = w.var(0) / 1_000 / w.mean(0) ** 2
    torch.testing.assert_close(a.bias, -0.5 * delta, rtol=1e-10, atol=1e-14)
    assert (a.variance >= delta).all() and a.variance.isfinite().all()
    assert a.variance[0] < 1e-15  # constant weights
