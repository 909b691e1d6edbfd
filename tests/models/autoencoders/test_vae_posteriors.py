"""Flow posteriors and priors: their densities against autograd and grids, and the bounds that use them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jensen.inference import IWAE, STL, SVI, Trace_ELBO, TraceMeanField_ELBO, log_evidence
from jensen.models import VAE, FlowPosterior, FlowPrior, VampPrior
from jensen.models.distributions.planar_flow import PlanarFlow

KINDS = ("planar", "iaf", "spline")


@pytest.fixture(autouse=True)
def _float64(float64):
    torch.manual_seed(0)


def bent(kind, latent_dim=2, context_dim=3):
    """A flow posterior far from the identity."""
    posterior = FlowPosterior(latent_dim, context_dim, kind, hidden=(16,))
    with torch.no_grad():
        for parameter in posterior.parameters():
            parameter.add_(0.25 * torch.randn_like(parameter))
    return posterior


def grid(size=201, reach=9.0):
    line = torch.linspace(-reach, reach, size)
    return torch.cartesian_prod(line, line), (line[1] - line[0]) ** 2


@pytest.mark.parametrize("kind", KINDS)
def test_log_determinant_is_that_of_autograd(kind):
    posterior = bent(kind)
    for _ in range(5):
        context, start = torch.randn(3), torch.randn(2)
        transform = posterior.flow(context)
        jacobian = torch.autograd.functional.jacobian(lambda z, f=transform: f.call_and_ladj(z)[0], start)
        torch.testing.assert_close(transform.call_and_ladj(start)[1], torch.linalg.slogdet(jacobian)[1])


@pytest.mark.parametrize("kind", ["iaf", "spline"])
def test_a_value_drawn_elsewhere_has_the_same_density(kind):
    q = bent(kind)(torch.randn(7, 2), torch.rand(7, 2) + 0.5, torch.randn(7, 3))
    z = q.rsample((4,))
    assert q.log_prob(z).shape == (4, 7)
    torch.testing.assert_close(q.log_prob(z.clone()), q.log_prob(z))


@pytest.mark.parametrize("kind", ["iaf", "spline"])
def test_density_integrates_to_one(kind):
    points, area = grid()
    q = bent(kind)(torch.tensor([0.3, -0.2]), torch.tensor([0.7, 1.1]), torch.randn(3))
    total = q.log_prob(points).exp().sum() * area
    torch.testing.assert_close(total, torch.ones(()), atol=5e-3, rtol=0)


def test_the_density_of_a_planar_flow_is_that_of_its_draws():
    """In one dimension a monotone map's density is the base's over the slope; draws must follow it."""
    q = bent("planar", latent_dim=1)(torch.tensor([0.3]), torch.tensor([1.2]), torch.randn(3))
    z = q.rsample((20_000,))
    density, order = q.log_prob(z).detach().exp(), z.detach().squeeze(-1).argsort()
    value = z.detach().squeeze(-1)[order]
    mass = torch.trapezoid(density[order], value)
    torch.testing.assert_close(mass, torch.ones(()), atol=5e-3, rtol=0)
    mean = torch.trapezoid(density[order] * value, value)
    assert abs(mean - value.mean()) < 5 * value.std() / 20_000**0.5


def test_planar_draws_have_their_density_in_two_dimensions():
    """E[1_A(z) / q(z)] is the area of A, for draws z of q."""
    q = bent("planar")(torch.zeros(2), torch.ones(2), torch.randn(3))
    z = q.rsample((100_000,))
    density, z = q.log_prob(z).detach().exp(), z.detach()
    inside = ((z - z.median(0).values).abs() < torch.tensor([0.4, 0.3])).all(-1)
    assert inside.sum() > 5_000
    share = inside / density
    assert abs(share.mean() - 0.8 * 0.6) < 5 * share.std() / 100_000**0.5


def test_a_planar_flow_is_invertible_whatever_its_parameters():
    flow = PlanarFlow(3, 2, transforms=6)
    with torch.no_grad():
        flow.parameters_of.bias.mul_(20.0)
    log_det = flow(torch.randn(50, 2)).call_and_ladj(torch.randn(50, 3))[1]
    assert torch.isfinite(log_det).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_starts_at_the_diagonal_gaussian(kind):
    loc, scale = torch.randn(50, 3), torch.rand(50, 3) + 0.5
    q = FlowPosterior(3, 6, kind)(loc, scale)
    torch.testing.assert_close(q.centre, loc, atol=0.5, rtol=0)
    assert (q.centre - loc).abs().mean() < 0.1


class Ring(nn.Module):
    """A decoder that makes the posterior a ring: only the latent's radius is seen."""

    def forward(self, z):
        return (z * z).sum(-1, keepdim=True)


def ring(posterior):
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.loc, self.log_scale = nn.Parameter(torch.tensor([0.5, 0.5])), nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return self.loc.expand(len(x), 2), self.log_scale.exp().expand(len(x), 2)

    return VAE(1, 2, encoder=Constant(), decoder=Ring(), likelihood="gaussian_fixed", scale=0.7, posterior=posterior)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_bounds_a_non_gaussian_posterior_better(kind):
    x = torch.full((32, 1), 4.0)
    points, area = grid()
    joint = torch.distributions.Normal(0.0, 1.0).log_prob(points).sum(-1)
    joint = joint + torch.distributions.Normal((points**2).sum(-1), 0.7).log_prob(torch.tensor(4.0))
    evidence = (joint.exp().sum() * area).log()
    bounds = {}
    for name in (None, kind):
        fit = SVI(Trace_ELBO(), steps=250, lr=3e-2, compile="trace", progress=False).fit(ring(name), x, seed=0)
        bounds[name] = log_evidence(fit, torch.full((5_000, 1), 4.0), num_particles=1, seed=1).value / 5_000
    assert bounds[None] + 0.1 < bounds[kind] < float(evidence) + 0.02


DATA = {"x": (torch.rand(24, 5, generator=torch.Generator().manual_seed(0)) < 0.5).double()}


@pytest.mark.parametrize(
    ("kind", "objective"), [("planar", IWAE(3)), ("iaf", Trace_ELBO(2)), ("spline", TraceMeanField_ELBO())]
)
def test_traced_and_eager_fits_are_the_same(kind, objective):
    model = VAE(5, 2, hidden=(8,), posterior=kind)
    fits = [
        SVI(objective, steps=10, lr=1e-3, compile=mode, progress=False).fit(model, DATA, seed=0)
        for mode in ("trace", False)
    ]
    for one, other in zip(fits[0].model.parameters(), fits[1].model.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert torch.isfinite(torch.tensor(log_evidence(fits[0], DATA, num_particles=20).value))


@pytest.mark.parametrize("kind", ["iaf", "spline"])
def test_sticking_the_landing_inverts_the_flow(kind):
    fit = SVI(STL(2), steps=10, compile="trace", progress=False).fit(VAE(5, 2, hidden=(8,), posterior=kind), DATA)
    assert fit.status in ("converged", "not converged", "unknown")


def test_sticking_the_landing_on_a_planar_flow_is_a_clear_error():
    with pytest.raises(Exception, match="has no inverse in closed form, so it scores only its own draws"):
        SVI(STL(2), steps=2, compile="trace", progress=False).fit(VAE(5, 2, hidden=(8,), posterior="planar"), DATA)


def test_encoders_of_ones_own_with_and_without_a_context():
    class Encoder(nn.Module):
        def __init__(self, context):
            super().__init__()
            self.heads = nn.ModuleList([nn.Linear(5, 2), nn.Linear(5, 2), nn.Linear(5, 4)][: 3 if context else 2])

        def forward(self, x):
            loc, log_scale, *context = (head(x) for head in self.heads)
            return loc, log_scale.exp(), *context

    pair = VAE(5, 2, encoder=Encoder(False), posterior="spline")
    triple = VAE(5, 2, encoder=Encoder(True), posterior=FlowPosterior(2, 4, "iaf"))
    for model in (pair, triple):
        assert model.reconstruct(DATA["x"]).shape == (24, 5)
        assert model.reconstruct(DATA["x"], num=3).shape == (3, 24, 5)
        assert model.encode(DATA["x"])[1].shape == model.embed(DATA["x"]).shape == (24, 2)


@pytest.mark.parametrize("kind", ["maf", "spline"])
def test_a_flow_prior_is_a_density_and_is_drawn_from(kind):
    prior = FlowPrior(2, kind, hidden=(16,))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    points, area = grid()
    density = prior().log_prob(points).detach().exp()
    torch.testing.assert_close(density.sum() * area, torch.ones(()), atol=5e-3, rtol=0)
    draws = prior().expand((20_000,)).rsample().detach()
    mean = (density[:, None] * points).sum(0) * area
    assert ((draws.mean(0) - mean).abs() < 5 * draws.std(0) / 20_000**0.5 + 5e-3).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_of_one_latent_integrates_to_one_and_is_that_of_the_draws(kind):
    """Both sides of the change of variables: the mass on a grid, and the mean of draws against the grid's."""
    q = bent(kind, latent_dim=1)(torch.tensor([0.3]), torch.tensor([0.8]), torch.randn(3))
    start = torch.linspace(-9.0, 9.0, 20_001)[:, None]
    value, log_det = q.transform.call_and_ladj(start)
    density = (q._base(start) - log_det).exp().detach()
    value = value.detach().squeeze(-1)
    assert (value.diff() > 0).all()
    torch.testing.assert_close(torch.trapezoid(density, value), torch.ones(()), atol=1e-4, rtol=0)
    if kind != "planar":
        torch.testing.assert_close(q.log_prob(value[:, None]).exp().detach(), density)
    z = q.rsample((20_000,)).detach()
    assert abs(z.mean() - torch.trapezoid(density * value, value)) < 5 * z.std() / 20_000**0.5


@pytest.mark.parametrize("kind", ["maf", "spline"])
def test_a_flow_prior_of_one_latent_is_a_density(kind):
    prior = FlowPrior(1, kind)
    with torch.no_grad():
        line = torch.linspace(-9.0, 9.0, 20_001)
        normal = torch.distributions.Normal(0.0, 1.0).log_prob(line)
        assert (prior().log_prob(line[:, None]) - normal)[line.abs() < 2].abs().max() < 0.3  # starts near the normal
        for parameter in prior.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        density = prior().log_prob(line[:, None]).exp()
        draws = prior().expand((20_000,)).rsample()
    assert (density.log() - normal).abs().max() > 0.3
    torch.testing.assert_close(torch.trapezoid(density, line), torch.ones(()), atol=1e-4, rtol=0)
    assert abs(draws.mean() - torch.trapezoid(density * line, line)) < 5 * draws.std() / 20_000**0.5


@pytest.mark.parametrize(("posterior", "prior"), [("planar", "maf"), ("iaf", "spline"), ("spline", "maf")])
def test_fits_with_one_latent(posterior, prior):
    model = VAE(5, 1, hidden=(8,), posterior=posterior, prior=prior)
    fit = SVI(Trace_ELBO(), steps=10, compile="trace", progress=False).fit(model, DATA, seed=0)
    assert torch.isfinite(torch.tensor(log_evidence(fit, DATA, num_particles=20).value))


@pytest.mark.parametrize("kind", ["maf", "spline"])
def test_a_fit_with_a_flow_prior(kind):
    model = VAE(5, 2, hidden=(8,), prior=FlowPrior(2, kind, hidden=(8,)))
    fit = SVI(Trace_ELBO(), steps=30, compile="trace", progress=False).fit(model, DATA, seed=0)
    assert fit.status in ("converged", "not converged", "unknown")
    assert fit.model.generate(7, seed=0)["x"].shape == (7, 5)
    assert torch.isfinite(torch.tensor(log_evidence(fit, DATA, num_particles=20).value))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`posterior` must be one of .* Did you mean 'planar'\?"):
        VAE(5, 2, posterior="planer")
    with pytest.raises(ValueError, match="`kind` must be one of"):
        FlowPrior(2, "planar")
    with pytest.raises(ValueError, match="must be positive, got 0"):
        FlowPosterior(2, 4, "iaf", transforms=0)
    with pytest.raises(ValueError, match="`prior` VampPrior mixes diagonal Gaussians"):
        VAE(5, 2, prior=VampPrior((5,), 3), posterior="iaf")
