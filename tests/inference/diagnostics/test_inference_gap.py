"""inference_gap: against the exact gaps of linear-Gaussian and conjugate models, for every kind of guide."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from jensen.inference import Estimate, InferenceGap, inference_gap, log_evidence
from jensen.inference.diagnostics.gap.free_distribution import FreeDistribution, Unsuited
from jensen.inference.diagnostics.gap.paired import gaps_of
from jensen.inference.errors import ConfigurationError, ModelError
from jensen.inference.guides.build import build_guide
from jensen.models import VAE, LatentVariableModel
from jensen.models.factors.linear_gaussian import LinearGaussian
from jensen.models.regression.linear_regression import BayesianLinearRegression

Make = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("float64")


def _spoilt(posterior: str, size: int = 25) -> tuple[LinearGaussian, Tensor]:
    """A model whose guide has the wrong map and the wrong scales."""
    model = LinearGaussian(5, 2, 0.7, posterior=posterior)
    x = model.generate(size, seed=1)["x"]
    model.set_exact_guide()
    with torch.no_grad():
        model.guide_weight.mul_(0.7)
        model.guide_scale = model.guide_scale * 1.5
    return model, x


def _exact_gaps(model: LinearGaussian, x: Tensor) -> tuple[Tensor, Tensor]:
    """The whole gap of each datum, and what of it the best diagonal normal has: both are divergences of normals."""
    posterior = model.exact_posterior({"x": x})["z"]
    loc = x @ model.guide_weight.mT + model.guide_bias
    scale = model.guide_scale
    own = MultivariateNormal(loc, scale_tril=scale if scale.dim() == 2 else scale.diag())
    best = torch.linalg.inv(posterior.covariance_matrix).diagonal(dim1=-2, dim2=-1).rsqrt()
    nearest = MultivariateNormal(posterior.mean, scale_tril=torch.diag_embed(best))
    return kl_divergence(own, posterior).detach(), kl_divergence(nearest, posterior).detach()


def _near(estimate: Estimate | None, exact: Tensor, slack: float = 0.0) -> bool:
    """Within four errors, and `slack` nats per datum for an optimum that is only nearly found."""
    assert estimate is not None
    return abs(estimate.value - float(exact.sum())) < 4.0 * estimate.stderr + slack * estimate.n + 1e-9


def test_the_best_diagonal_normal_of_a_linear_model(bare_fit: Make) -> None:
    model, x = _spoilt("diagonal")
    whole, family = _exact_gaps(model, x)
    assert float(family.mean()) > 1e-3  # the posterior is not diagonal
    found = inference_gap(bare_fit(model, x=x), num_particles=2_000)
    assert found.converged and found.n == found.data_size == 25
    assert _near(found.total, whole)
    assert _near(found.approximation, family, slack=5e-4)
    assert _near(found.amortization, whole - family, slack=5e-4)
    assert _near(found.log_evidence, model.log_evidence({"x": x}).detach())
    for part, exact in ((found.total, whole), (found.amortization, whole - family)):
        scores = (part.details["per_datum"] - exact) / part.details["stderr_per_datum"]
        assert scores.abs().max() < 5 and 0.5 < scores.std() < 1.5


def test_a_full_normal_has_no_approximation_gap(bare_fit: Make) -> None:
    model, x = _spoilt("full")
    whole, _ = _exact_gaps(model, x)
    found = inference_gap(bare_fit(model, x=x), steps=100)
    assert abs(found.approximation.per_datum.value) < 1e-3
    assert _near(found.amortization, whole, slack=5e-4)


def test_an_exact_guide_has_no_gap_and_no_error(bare_fit: Make) -> None:
    model = LinearGaussian(4, 2)
    x = model.generate(10, seed=0)["x"]
    model.set_exact_guide()
    found = inference_gap(bare_fit(model, x=x), num_particles=50)
    for part in (found.total, found.approximation, found.amortization):
        assert abs(part.value) < 1e-6 and part.stderr < 1e-6


def test_test_data_and_generalization(bare_fit: Make) -> None:
    """An encoder that is right for the training data, and 0.5 off for all others."""

    class Remembering(LinearGaussian):
        def guide(self, x: Tensor) -> Tensor:
            with pyro.plate("data", len(x)):
                off = 0.5 * (x[:, 0] > 100.0).to(x).unsqueeze(-1)  # marks the test data
                loc = (x - 200.0 * (off > 0.0)) @ self.guide_weight.mT + self.guide_bias + off
                return pyro.sample("z", self._normal(loc, self.guide_scale))

        def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
            return super().model(x if x is None else torch.where(x[:, :1] > 100.0, x - 200.0, x))

    model = Remembering(4, 2)
    x = model.generate(30, seed=0)["x"]
    model.set_exact_guide()
    posterior = model.exact_posterior({"x": x})["z"]
    moved = MultivariateNormal(posterior.mean + 0.5, posterior.covariance_matrix)
    exact = float(kl_divergence(moved, posterior).mean().detach())
    found = inference_gap(bare_fit(model, x=x), test={"x": x + 200.0}, num_particles=200, steps=50)
    assert abs(found.amortization.value) < 1e-6
    assert found.test is not None and found.generalization is not None
    assert found.generalization.value == pytest.approx(exact, abs=4 * found.generalization.stderr + 5e-4)
    assert 0.0 < found.generalization.stderr < 0.2 * exact
    assert "test less training amortization" in repr(found) and "test: 30 data" in repr(found)


def test_a_part_of_the_data_in_pieces(bare_fit: Make) -> None:
    model, x = _spoilt("diagonal", 60)
    whole, _ = _exact_gaps(model, x)
    fit = bare_fit(model, x=x)
    options = {"num_data": 15, "max_bytes": 400_000, "steps": 5, "num_particles": 200}
    found = inference_gap(fit, **options)
    rows = found.total.details["rows"]
    assert found.n == 15 and found.data_size == 60 and len(set(rows.tolist())) == 15
    assert _near(found.total, whole[rows])
    assert "15 of 60 data" in repr(found)
    again = inference_gap(fit, **options)
    assert float(again) == float(found) and again.amortization.value == found.amortization.value
    known = log_evidence(fit)
    other = inference_gap(fit, num_data=15, steps=5, evidence=known)
    torch.testing.assert_close(other.log_evidence.details["per_datum"], known.details["per_datum"][rows])
    with pytest.raises(ConfigurationError, match=r"for each of the 60 data in `details\[\"per_datum\"\]`, got 3"):
        inference_gap(fit, evidence=Estimate(0.0, 0.0, 3, {"per_datum": torch.zeros(3)}))


def test_too_few_steps_are_said(bare_fit: Make) -> None:
    model, x = _spoilt("diagonal")
    found = inference_gap(bare_fit(model, x=x), steps=3, num_particles=100)
    assert found.converged is False
    assert "the last of 3 steps still gained" in found.reason and found.reason in repr(found)


class Rates(LatentVariableModel):
    """r_n ~ Gamma(2, 1), x_n | r_n ~ Poisson(r_n): the posterior Gamma(2 + x, 2) is in the guide's family."""

    def __init__(self, family: str) -> None:
        super().__init__()
        self.family = family
        self.a, self.b = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(0.3))

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        with pyro.plate("data", len(x)):  # type: ignore[arg-type]
            r = pyro.sample("r", dist.Gamma(torch.tensor(2.0), 1.0))
            return pyro.sample("x", dist.Poisson(r), obs=x)

    def guide(self, x: Tensor) -> None:
        one = torch.ones_like(x)
        with pyro.plate("data", len(x)):
            if self.family == "gamma":
                pyro.sample("r", dist.Gamma(1.5 + self.a * x, one + self.b))
            elif self.family == "lognormal":
                pyro.sample("r", dist.LogNormal(self.a * x.log1p(), (self.b * one).exp()))
            else:
                line = dist.Normal(self.a * x.log1p(), (self.b * one).exp())
                pyro.sample("r", dist.TransformedDistribution(line, [dist.transforms.ExpTransform()]))


def test_families_on_the_positive_numbers(bare_fit: Make) -> None:
    r"""The evidence is negative binomial; a Gamma reaches it, and the nearest log normal is known.

    For the posterior Gamma(A, 2), s^2 = 1 / A and m = log(A / 2) - s^2 / 2.
    """
    x = torch.tensor([0.0, 1.0, 3.0, 8.0])
    evidence = torch.distributions.NegativeBinomial(torch.tensor(2.0), probs=torch.tensor(0.5)).log_prob(x)
    exact = Estimate(float(evidence.sum()), 0.0, 4, {"per_datum": evidence})
    found = inference_gap(bare_fit(Rates("gamma"), x=x), steps=150)
    assert _near(found.log_evidence, evidence) and found.amortization.value > 0.2
    assert abs(found.approximation.per_datum.value) < 1e-4
    a = 2.0 + x
    m = (a / 2.0).log() - 0.5 / a
    divergence = -m - 0.5 * (2.0 * math.pi * math.e / a).log() - a * math.log(2.0) + a.lgamma() - (a - 1.0) * m + a
    for family in ("lognormal", "image"):
        found = inference_gap(bare_fit(Rates(family), x=x), evidence=exact, num_particles=2_000, steps=100)
        assert _near(found.approximation, divergence, slack=1e-3) and found.amortization.value > 0.2
        assert found.approximation.stderr < 0.4 * found.approximation.value


class Fraction(LatentVariableModel):
    """p_n ~ Beta(1, 1), x_n | p_n ~ Binomial(6, p_n), in an array of two for each datum; scale of the guide fixed."""

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        with pyro.plate("pair", 2, dim=-2), pyro.plate("data", len(x), dim=-1):  # type: ignore[arg-type]
            p = pyro.sample("p", dist.Beta(torch.tensor(1.0), torch.tensor(1.0)))
            return pyro.sample("x", dist.Binomial(6, p), obs=x.mT)  # type: ignore[union-attr]

    def guide(self, x: Tensor) -> None:
        with pyro.plate("pair", 2, dim=-2), pyro.plate("data", len(x), dim=-1):
            pyro.sample("p", dist.Beta(torch.tensor(2.0), torch.tensor(3.0)))


def test_a_guide_without_parameters_and_another_plate(bare_fit: Make) -> None:
    x = torch.tensor([[0.0, 6.0], [1.0, 3.0], [5.0, 2.0]])
    found = inference_gap(bare_fit(Fraction(), x=x), steps=150)
    assert _near(found.log_evidence, torch.full((6,), -math.log(7.0)))
    assert found.amortization.value > 1.0 and abs(found.approximation.per_datum.value) < 1e-3


def test_what_no_parameter_reaches_belongs_to_the_family(bare_fit: Make) -> None:
    """A scale that the guide fixes at one: the best of the family moves the mean alone, and KL is known."""

    class FixedScale(LinearGaussian):
        def guide(self, x: Tensor) -> Tensor:
            with pyro.plate("data", len(x)):
                loc = x @ self.guide_weight.mT + self.guide_bias
                return pyro.sample("z", dist.Normal(loc, torch.ones_like(loc)).to_event(1))

    model = FixedScale(4, 2, 0.5)
    x = model.generate(20, seed=0)["x"]
    posterior = model.exact_posterior({"x": x})["z"]
    family = kl_divergence(MultivariateNormal(posterior.mean, torch.eye(2)), posterior).detach()
    found = inference_gap(bare_fit(model, x=x), evidence=_exactly(model, x), steps=150)
    assert _near(found.approximation, family, slack=1e-3)


def _exactly(model: LinearGaussian, x: Tensor) -> Estimate:
    per_datum = model.log_evidence({"x": x}).detach()
    return Estimate(float(per_datum.sum()), 0.0, len(x), {"per_datum": per_datum})


def test_a_default_guide_of_local_latents_is_refined(bare_fit: Make) -> None:
    """One factor a datum already: what is left is that it has not been fitted."""
    model, x = _spoilt("diagonal", 12)
    _, family = _exact_gaps(model, x)
    guide = build_guide("normal", model, {"x": x})
    with torch.no_grad():
        guide.log_scale_z.fill_(-0.5)
    found = inference_gap(bare_fit(model, guide, x=x), num_data=5, steps=150)
    assert found.n == 12  # its parameters are per datum: no part can be scored
    assert _near(found.approximation, family, slack=2e-3) and found.amortization.per_datum.value > 0.3


def test_an_autoguide_whose_latents_are_images_of_its_draws(bare_fit: Make) -> None:
    model, x = _spoilt("diagonal", 12)
    _, family = _exact_gaps(model, x)
    guide = build_guide(lambda model: pyro.infer.autoguide.AutoNormal(model, init_scale=0.6), model, {"x": x})
    found = inference_gap(bare_fit(model, guide, x=x), steps=150)
    assert _near(found.approximation, family, slack=2e-3) and found.amortization.per_datum.value > 0.3


@pytest.mark.parametrize("guide", ["normal", "multivariate_normal"])
def test_global_latents_have_no_amortization(bare_fit: Make, guide: str) -> None:
    model = BayesianLinearRegression(2)
    x = 0.3 * torch.randn(30, 2)
    y = model.generate(30, x=x, seed=0)["y"]
    posterior = model.exact_posterior({"x": x, "y": y})["w"]
    built = build_guide(guide, model, {"x": x, "y": y})
    with torch.no_grad():  # near enough for good weights
        (built.loc_w if guide == "normal" else built.loc).copy_(posterior.mean + 0.1)
        if guide == "normal":
            built.log_scale_w.fill_(-0.8)
        else:
            built.scale = torch.full((2,), 0.45)
    found = inference_gap(bare_fit(model, built, x=x, y=y), num_particles=10_000)
    assert found.amortization is None and found.approximation is found.total and found.converged is None
    if guide == "normal":
        own = MultivariateNormal(built.loc_w.detach(), built.log_scale_w.detach().exp().square().diag())
    else:
        q = built.get_posterior()
        own = MultivariateNormal(q.mean.detach(), scale_tril=q.scale_tril.detach())
    assert found.total.value == pytest.approx(float(kl_divergence(own, posterior)), abs=4 * found.total.stderr)
    assert found.total.stderr < 0.1 * found.total.value
    assert "amortization" not in repr(found)


def test_global_latents_beside_local_ones_are_one_gap(bare_fit: Make, hierarchy: type[Any]) -> None:
    x = torch.randn(6)
    found = inference_gap(bare_fit(hierarchy(6).set_exact(x), x=x), num_particles=900)
    assert found.approximation is None and found.amortization is None and "not split" in repr(found)
    assert abs(found.total.value) < 4 * found.total.stderr + 1e-9


def test_a_vae(bare_fit: Make) -> None:
    """Without a closed form: the parts add up, none is negative, frozen parameters stay as they were."""
    torch.manual_seed(0)
    model = VAE(data_shape=12, latent_dim=2, hidden=(8,))
    model.decoder.requires_grad_(False)
    before = {name: (p.detach().clone(), p.requires_grad) for name, p in model.named_parameters()}
    x = (torch.rand(20, 12) < 0.5).to(torch.get_default_dtype())
    found = inference_gap(bare_fit(model, x=x), steps=50, num_particles=400)
    assert float(found) == pytest.approx(found.approximation.value + found.amortization.value)
    assert found.amortization.value > 5 * found.amortization.stderr
    for name, parameter in model.named_parameters():
        value, asked = before[name]
        assert torch.equal(parameter, value) and parameter.requires_grad == asked and parameter.grad is None


def test_guides_that_cannot_be_split_are_refused(bare_fit: Make, switch: type[Any]) -> None:
    x = (torch.rand(8, 12) < 0.5).to(torch.get_default_dtype())
    flow = bare_fit(VAE(data_shape=12, latent_dim=2, hidden=(8,), posterior="planar"), x=x)
    with pytest.raises(ModelError, match=r"guide's distribution of `z` is of the type `.*`, which"):
        inference_gap(flow)
    with pytest.raises(ModelError, match=r"of `c` is of the type `Bernoulli`, whose draws are not repara"):
        inference_gap(bare_fit(switch(), x=torch.randn(4)))

    class Chained(LinearGaussian):
        def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
            with pyro.plate("data", len(x)):  # type: ignore[arg-type]
                a = pyro.sample("a", dist.Normal(torch.tensor(0.0), 1.0))
                b = pyro.sample("b", dist.Normal(a, 1.0))
                return pyro.sample("x", dist.Normal(b, 1.0), obs=x)

        def guide(self, x: Tensor) -> None:  # type: ignore[override]
            with pyro.plate("data", len(x)):
                b = pyro.sample("b", dist.Normal(x, 1.0))
                pyro.sample("a", dist.Normal(b / 2.0, 1.0))

    with pytest.raises(ModelError, match=r"of `a` changes with the draw of another latent"):
        inference_gap(bare_fit(Chained(1, 1), x=torch.randn(4)))


@pytest.mark.parametrize(
    "fn",
    [
        dist.Normal(torch.zeros(3, 2), 2.0).to_event(1),
        dist.MultivariateNormal(torch.zeros(3, 2), torch.tensor([[2.0, 0.5], [0.5, 1.0]])),
        dist.LowRankMultivariateNormal(torch.zeros(3, 2), torch.ones(3, 2, 1), torch.ones(3, 2)),
        dist.Beta(torch.ones(3), 2.0),
        dist.Dirichlet(torch.ones(3, 4)),
        dist.StudentT(torch.full((3,), 4.0), 0.0, 1.0),
        dist.Laplace(torch.zeros(3), 2.0),
        dist.Gumbel(torch.zeros(3), 2.0),
        dist.RelaxedBernoulli(torch.tensor(0.5), probs=torch.full((3,), 0.3)),
        dist.LogNormal(torch.zeros(3), 0.5).expand([2, 3]).to_event(1),
    ],
)
def test_families(fn: Any) -> None:
    """At no move the distribution is the same one; a move in one batch entry leaves the others."""
    free = FreeDistribution(fn)
    value = fn.sample((5,))
    zeros = free.zeros()
    torch.testing.assert_close(free.build(free.move(free.start, zeros)).log_prob(value), fn.log_prob(value))
    moved = {name: u.clone() for name, u in zeros.items()}
    for u in moved.values():
        u[0] += 0.1
    other = free.build(free.move(free.start, moved)).log_prob(value)
    changed = (other - fn.log_prob(value)).abs().amax(0)
    assert (changed[0] > 1e-6).all() and changed[1:].max() < 1e-9


def test_uniform_is_no_family() -> None:
    with pytest.raises(Unsuited, match=r"is of the type `Uniform`, whose support moves with its parameters"):
        FreeDistribution(dist.Uniform(torch.zeros(2), torch.ones(2)))


def test_errors_are_of_paired_draws() -> None:
    """The spread of repeated gaps is what their errors say, and smaller than of unpaired ones."""
    z = torch.randn(400, 500)
    own, best = -0.5 * (1.2 * z) ** 2 + 0.5 * z**2, -0.5 * (1.05 * z + 0.1) ** 2 + 0.5 * z**2
    found = gaps_of(own, best)
    for values, errors in (
        (found.evidence[1] - found.bounds[0], found.gap_error[1][0]),
        (found.evidence[0] - found.bounds[1], found.gap_error[0][1]),
        (found.bounds[1] - found.bounds[0], found.between_error),
    ):
        assert float(errors.mean().sqrt()) == pytest.approx(float(values.std()), rel=0.15)
    assert found.gap_error[1][1].mean() < (found.evidence_error[1] + found.bound_error[1]).mean()


def test_a_bad_evidence_is_printed_as_unreliable(bare_fit: Make) -> None:
    model = LinearGaussian(4, 2, 0.3)
    x = model.generate(10, seed=0)["x"]
    with torch.no_grad():
        model.guide_scale = 0.02 * torch.eye(2)
    found = inference_gap(bare_fit(model, x=x), steps=1, num_particles=100)
    assert "unreliable: k-hat above" in str(found.total) and "unreliable" in repr(found)
    assert "unreliable" not in str(found.amortization)


def test_as_a_number(bare_fit: Make) -> None:
    model, x = _spoilt("diagonal", 6)
    found = inference_gap(bare_fit(model, x=x), steps=10, num_particles=20)
    assert isinstance(found, InferenceGap)
    assert float(found) == found.total.value and found.stderr == found.total.stderr and found.n == 6
    plain = found.to_dict()
    assert plain["amortization"]["value"] == found.amortization.value and plain["test"] is None
    with pytest.raises(ConfigurationError, match="`num_particles` must be an integer of at least 2"):
        inference_gap(bare_fit(model, x=x), num_particles=1)
