"""elbo_terms: against closed forms, the parts add up, and grouping of autoguides' sites."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor

from jensen.inference.diagnostics import elbo_terms, log_evidence
from jensen.inference.guides.build import build_guide
from jensen.models import LatentVariableModel
from jensen.models.factors.linear_gaussian import LinearGaussian
from jensen.models.mixtures.gaussian_mixture import GaussianMixture
from jensen.models.regression.linear_regression import BayesianLinearRegression

Make = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("float64")


def _close(estimate: Any, exact: Tensor | float) -> bool:
    return bool(abs(estimate.value - float(torch.as_tensor(exact).detach())) < 4 * estimate.stderr + 1e-8)


@pytest.mark.parametrize("max_bytes", [None, 30_000])
def test_local_latents_with_analytic_kl(bare_fit: Make, max_bytes: int | None) -> None:
    model = LinearGaussian(4, 3, 0.9, posterior="diagonal")
    x = model.generate(40, seed=0)["x"].detach()
    with torch.no_grad():
        model.guide_weight.normal_()
        model.guide_scale = torch.tensor([0.5, 0.8, 1.5])
    e = elbo_terms(bare_fit(model, x=x), num_particles=400, max_bytes=max_bytes)
    with torch.no_grad():
        mean, scale = x @ model.guide_weight.mT + model.guide_bias, model.guide_scale
        kl = 0.5 * (scale**2 + mean**2 - 1) - scale.log()  # (N, L)
        residual = (x - mean @ model.weight.mT - model.bias).square() + scale**2 @ (model.weight**2).mT
        expected = -0.5 * residual / 0.81 - math.log(0.9) - 0.5 * math.log(2 * math.pi)
    d = e.details
    assert d["analytic"] == {"z": True} and d["kl"]["z"].stderr == 0.0 and e.n == 40
    torch.testing.assert_close(d["kl"]["z"].value, kl.sum().item())
    torch.testing.assert_close(d["kl_per_dimension"]["z"], kl.sum(0))
    torch.testing.assert_close(d["per_datum"]["kl"]["z"], kl.sum(1))
    torch.testing.assert_close(d["per_datum"]["kl_per_dimension"]["z"], kl)
    assert _close(d["reconstruction"], expected.sum())
    assert _close(e, expected.sum() - kl.sum())
    torch.testing.assert_close(e.value, d["reconstruction"].value - d["kl"]["z"].value)
    torch.testing.assert_close(d["per_datum"]["bound"].sum().item(), e.value)
    torch.testing.assert_close(d["per_datum"]["bound"], d["per_datum"]["reconstruction"] - kl.sum(1))


def test_exact_posterior_has_no_gap(bare_fit: Make) -> None:
    model = LinearGaussian(4, 2)
    x = model.generate(25, seed=0)["x"]
    model.set_exact_guide()
    fit = bare_fit(model, x=x)
    assert _close(elbo_terms(fit), log_evidence(fit, num_particles=10).value)


@pytest.mark.parametrize("guide", ["normal", "multivariate_normal", AutoNormal])
@pytest.mark.parametrize("max_bytes", [None, 30_000])
def test_global_latents(bare_fit: Make, guide: Any, max_bytes: int | None) -> None:
    model = BayesianLinearRegression(2)
    x = torch.randn(40, 2)
    y = model.generate(40, x=x, seed=0)["y"]
    built = build_guide(guide, model, {"x": x, "y": y})
    with torch.no_grad():
        for name, value in built.named_parameters():
            if name.endswith(("loc", "loc_w")) or "locs." in name:
                value.fill_(0.2)
    e = elbo_terms(bare_fit(model, built, x=x, y=y), num_particles=2_000, max_bytes=max_bytes)
    scale, mean = 0.1, torch.full((2,), 0.2)
    kl = 2 * (0.5 * (scale**2 + 0.04 - 1) - math.log(scale))
    residual = (y - x @ mean).square() + scale**2 * x.square().sum(1)
    reconstruction = (-0.5 * residual - 0.5 * math.log(2 * math.pi)).sum()
    assert list(e.details["kl"]) == ["w"]  # one group, whatever the guide's auxiliary sites
    assert e.details["analytic"]["w"] == (guide == "normal")
    if guide == "normal":
        assert e.details["kl"]["w"].value == pytest.approx(kl)
        torch.testing.assert_close(e.details["kl_per_dimension"]["w"], torch.full((2,), kl / 2))
    assert _close(e.details["kl"]["w"], kl)
    assert _close(e.details["reconstruction"], reconstruction)
    assert _close(e, reconstruction - kl)
    assert e.details["per_datum"]["reconstruction"].shape == (40,)
    assert e.details["per_datum"]["reconstruction"].sum().item() == pytest.approx(e.details["reconstruction"].value)
    assert e.details["per_datum"]["kl"] == {}


def test_global_and_local_latents(bare_fit: Make, hierarchy: Any) -> None:
    """The standard error counts that all data share the global draw."""
    x = torch.randn(30)
    model = hierarchy(30, 1.3).set_exact(x)
    fit = bare_fit(model, x=x)
    runs = [elbo_terms(fit, seed=s, num_particles=60, max_bytes=m) for s in range(30) for m in (None, 20_000)]
    values = torch.tensor([r.value for r in runs])
    errors = torch.tensor([r.stderr for r in runs])
    assert abs(values.std() / errors.square().mean().sqrt() - 1) < 4 / math.sqrt(2 * 60)
    assert set(runs[0].details["kl"]) == {"t", "z"}
    exact = model.log_evidence({"x": x}).item()
    gap = 31 * (0.5 * (1.3**2 - 1) - math.log(1.3))  # 31 normals, each 1.3 times too wide
    assert abs(values.mean() - (exact - gap)) < 4 * values.std() / math.sqrt(60)


def test_summed_out_latents_belong_to_the_reconstruction(bare_fit: Make) -> None:
    model = GaussianMixture(3, 2)
    x = torch.randn(20, 2)
    e = elbo_terms(bare_fit(model, x=x))
    assert e.value == pytest.approx(model.log_evidence({"x": x}).sum().item())
    assert e.stderr == 0.0 and e.details["kl"] == {}
    assert e.details["reconstruction"].value == e.value


@pytest.mark.filterwarnings("ignore:The program cannot be vectorised over particles")
def test_enumerated_guide(bare_fit: Make, switch: Any) -> None:
    """The expectation over c is exact: with the exact guide the bound is tight."""
    x = torch.randn(20) + 1.0
    model = switch(exact=True)
    e = elbo_terms(bare_fit(model, x=x), num_particles=500)
    assert _close(e, model.log_evidence({"x": x}).sum())
    loose = elbo_terms(bare_fit(switch(), x=x), num_particles=500)
    assert loose.value < e.value - 4 * loose.stderr
    assert set(loose.details["kl"]) == {"c", "z"}
    prior = torch.tensor([0.7, 0.3])
    assert loose.details["kl"]["c"].value == pytest.approx(20 * float((0.5 * (0.5 / prior).log()).sum()))


def test_point_mass_is_the_joint_density(bare_fit: Make) -> None:
    model = BayesianLinearRegression(2)
    x, y = torch.randn(10, 2), torch.randn(10)

    def guide(x: Tensor, y: Tensor | None = None) -> None:
        pyro.sample("w", dist.Delta(torch.ones(2), event_dim=1))

    e = elbo_terms(bare_fit(model, guide, x=x, y=y))
    normal = torch.distributions.Normal(0.0, 1.0)
    assert e.value == pytest.approx((normal.log_prob(torch.ones(2)).sum() + normal.log_prob(y - x.sum(1)).sum()).item())
    assert e.stderr == 0.0


class _Plated(LatentVariableModel):
    """Local latents in a second plate, left and right of the data."""

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        with pyro.plate("data", len(x), dim=-2), pyro.plate("part", 3, dim=-1):  # type: ignore[arg-type]
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-2), pyro.plate("part", 3, dim=-1):
            pyro.sample("z", dist.Normal(torch.stack([x, 2 * x], -1), torch.tensor([1.0, 2.0])).to_event(1))


def test_plates_besides_the_data_are_summed(bare_fit: Make) -> None:
    x = torch.randn(7, 3)
    d = elbo_terms(bare_fit(_Plated(), x=x), num_particles=20, max_bytes=10_000).details
    mean, scale = torch.stack([x, 2 * x], -1), torch.tensor([1.0, 2.0])
    kl = (0.5 * (scale**2 + mean**2 - 1) - scale.log()).sum(1)
    torch.testing.assert_close(d["per_datum"]["kl_per_dimension"]["z"], kl)
    torch.testing.assert_close(d["per_datum"]["kl"]["z"], kl.sum(1))


def test_one_particle_of_a_random_bound_has_no_standard_error(bare_fit: Make) -> None:
    model = LinearGaussian(4, 2)
    fit = bare_fit(model, x=model.generate(5, seed=0)["x"])
    assert math.isnan(elbo_terms(fit, num_particles=1).stderr)
