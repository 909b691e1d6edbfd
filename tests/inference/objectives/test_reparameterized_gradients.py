"""STL, DReG and IWAE gradients: expectations, signal-to-noise laws, and mini-batches with global latents."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import IWAE, STL, BetaELBO, DReG, Renyi, Trace_ELBO, TraceMeanField_ELBO, minibatch
from jensen.inference.guides import build_guide
from jensen.inference.pair.program import Program
from jensen.inference.pair.randomness.noise import Noise


class Rows(nn.Module):
    """Many copies of one datum, each with parameters of its own: one backward pass gives independent gradients."""

    def __init__(self, rows, **start):
        super().__init__()
        for name, value in start.items():
            value = torch.as_tensor(value, dtype=torch.get_default_dtype())
            setattr(self, name, nn.Parameter(value.expand(rows, *value.shape).clone()))


class Toy(Rows):
    """Rainforth's toy: z ~ N(mu, I), x | z ~ N(z, I), q(z | x) = N(x / 2 + b, 2/3 I)."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.mu, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * x + self.b, math.sqrt(2.0 / 3.0)).to_event(1))


class Ladder(Rows):
    """h2 -> h1 -> x in the model, h1 -> h2 in the guide."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            h2 = pyro.sample("h2", dist.Normal(torch.zeros(()), 1.0))
            h1 = pyro.sample("h1", dist.Normal(self.slope * h2, 0.8))
            pyro.sample("x", dist.Normal(h1, self.noise.exp()), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            h1 = pyro.sample("h1", dist.Normal(self.weight * x + self.bias, self.scale1.exp()))
            pyro.sample("h2", dist.Normal(self.gain * h1 + self.shift, self.scale2.exp()))


LADDER = {
    "slope": 1.2,
    "noise": -0.3,
    "weight": 0.4,
    "bias": 0.5,
    "scale1": -0.2,
    "gain": 0.6,
    "shift": -0.3,
    "scale2": 0.2,
}


def gradients_of(objective, module, x, names, numerics):
    """``(rows, P)``"""
    parameters = [getattr(module, name) for name in names]
    found = numerics.gradient(objective, Program(module.model, module.guide), {"x": x}, parameters)
    return torch.cat([g.reshape(len(x), -1) for g in found], -1)


@pytest.mark.parametrize("objective", [IWAE, DReG])
@pytest.mark.parametrize("part", ["theta", "phi"])
def test_signal_to_noise_laws(objective, part, numerics):
    """Log-log slope against K: the guide's is -1/2 for IWAE and +1/2 for DReG; the model's is +1/2 for both."""
    rows, counts = 800, (8, 32, 128)
    x = torch.tensor([1.0, -0.5]).expand(rows, 2)
    module = Toy(rows, mu=torch.tensor([0.3, 0.2]), b=torch.tensor([0.25, -0.2]))
    names = ["mu"] if part == "theta" else ["b"]
    ratios = []
    for count in counts:
        signal = gradients_of(DReG(count), module, x, names, numerics).mean(0)  # the same expectation, the least noise
        noise = gradients_of(objective(count), module, x, names, numerics).std(0)
        ratios.append(math.log(float(signal.norm() / noise.norm())))
    slope = (ratios[-1] - ratios[0]) / math.log(counts[-1] / counts[0])
    expected = -0.5 if objective is IWAE and part == "phi" else 0.5
    assert slope == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("count", [1, 2, 6])
def test_dreg_and_iwae_agree_in_expectation_for_a_two_layer_guide(count, numerics):
    """For the model's parameters and the guide's, with a guide that draws its second layer from the first."""
    rows = 8000
    module = Ladder(rows, **LADDER)
    x = torch.full((rows,), 1.3)
    names = list(LADDER)
    torch.manual_seed(1)
    plain = gradients_of(IWAE(count), module, x, names, numerics)
    torch.manual_seed(2)
    double = gradients_of(DReG(count), module, x, names, numerics)
    numerics.agree(plain, double)
    torch.manual_seed(1)
    score_free = gradients_of(STL(count), module, x, names, numerics)
    torch.manual_seed(3)
    numerics.agree(gradients_of(Trace_ELBO(count), module, x, names, numerics), score_free)


def test_dreg_of_one_particle_is_stl(numerics):
    module = Ladder(50, **LADDER)
    x = torch.linspace(-1, 1, 50)
    found = []
    for objective in (DReG(1), STL(1)):
        torch.manual_seed(1)
        found.append(gradients_of(objective, module, x, list(LADDER), numerics))
    torch.testing.assert_close(*found)


def test_dreg_equals_its_formula(numerics):
    """Sum of squared normalised weights times the path derivative, written out by hand."""
    rows, count = 4, 5
    x = torch.randn(rows, 2)
    module = Toy(rows, mu=torch.tensor([0.3, 0.2]), b=torch.tensor([0.25, -0.2]))
    torch.manual_seed(5)
    found = gradients_of(DReG(count), module, x, ["b", "mu"], numerics)
    torch.manual_seed(5)
    terms = numerics.terms(IWAE(count), Program(module.model, module.guide), {"x": x}, count)
    z, b, mu = terms.values["z"].detach(), module.b.detach(), module.mu.detach()
    weights = torch.softmax(terms.log_weight_local.detach(), 0).unsqueeze(-1)
    direction = -(z - mu) + (x - z) + (z - 0.5 * x - b) / (2.0 / 3.0)  # d log w / dz, and dz / db = 1
    torch.testing.assert_close(found[:, :2], (weights**2 * direction).sum(0))
    torch.testing.assert_close(found[:, 2:], (weights * (z - mu)).sum(0))


def test_dreg_agrees_with_iwae_for_a_global_latent(regression, numerics):
    model, data, _ = regression
    for name in ("normal", "multivariate_normal"):
        program = Program(model, build_guide(name, model, data))
        parameters = list(program.parameters())
        plain = numerics.gradients(IWAE(6), program, data, parameters, 300)
        numerics.agree(plain, numerics.gradients(DReG(6), program, data, parameters, 300))


def test_stl_is_the_elbo_gradient_without_the_score(regression, numerics):
    """For every default guide, flows included, at an arbitrary point: equal draw by draw, not only in expectation."""
    from jensen.inference.guides import GUIDES
    from jensen.inference.pair.terms import evaluate

    model, data, _ = regression
    for name in GUIDES:
        guide = build_guide(name, model, data)
        with torch.no_grad():
            for parameter in guide.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        program = Program(model, guide)
        parameters = list(program.parameters())
        pair = []
        for objective in (STL(), Trace_ELBO()):
            torch.manual_seed(5)
            pair.append(numerics.flat(numerics.gradient(objective, program, data, parameters)))
        torch.manual_seed(5)
        values = {key: value.detach().clone() for key, value in evaluate(program, data).values.items()}
        log_q = sum(s.log_q.sum() for s in evaluate(program, data, values=values).sites.values() if s.log_q is not None)
        score = torch.autograd.grad(log_q, parameters, allow_unused=True)
        score = numerics.flat([torch.zeros_like(p) if g is None else g for g, p in zip(score, parameters, strict=True)])
        torch.testing.assert_close(pair[0], pair[1] + score, msg=name)


# -- mini-batches ------------------------------------------------------------


@pytest.mark.parametrize("objective", [Trace_ELBO(3), TraceMeanField_ELBO(3), STL(3), BetaELBO(0.4, 3)], ids=repr)
@pytest.mark.parametrize("guide", ["normal", "multivariate_normal", "flow"])
def test_mini_batches_of_a_partition_average_to_the_full_gradient(objective, guide, regression, numerics):
    model, data, _ = regression
    program = Program(model, build_guide(guide, model, data))
    parameters = list(program.parameters())

    def gradient(batch):
        torch.manual_seed(9)  # the same global draws for every batch
        return numerics.flat(numerics.gradient(objective, program, batch, parameters, data_size=8))

    parts = [{k: v[i : i + 2] for k, v in data.items()} for i in range(0, 8, 2)]
    torch.testing.assert_close(torch.stack([gradient(part) for part in parts]).mean(0), gradient(data))


class Effects(nn.Module):
    """A global mean over local effects, with an amortised guide."""

    def __init__(self):
        super().__init__()
        self.noise = nn.Parameter(torch.tensor(0.2))
        self.loc, self.scale = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor(-0.5))
        self.weight = nn.Parameter(torch.tensor(0.4))

    def model(self, x):
        mean = pyro.sample("mean", dist.Normal(torch.zeros(()), 2.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mean, 1.0))
            pyro.sample("x", dist.Normal(z, self.noise.exp()), obs=x)

    def guide(self, x):
        mean = pyro.sample("mean", dist.Normal(self.loc, self.scale.exp()))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.weight * x + 0.5 * mean, 0.7))


@pytest.mark.parametrize("objective", [Trace_ELBO(2), TraceMeanField_ELBO(2), STL(2), BetaELBO(0.4, 2)], ids=repr)
def test_the_same_holds_with_global_and_local_latents(objective, numerics):
    module, x = Effects(), torch.randn(6)
    program, shared, own = Program(module.model, module.guide), torch.randn(2, 1), torch.randn(2, 6)
    parameters = list(module.parameters())

    def gradient(rows):
        noise = Noise(torch.cat([shared, own[:, rows]], -1), torch.empty(2, 0))
        with minibatch(6):
            bound = objective.bound(program, {"x": x[rows]}, noise=noise, weight=objective.schedule(1.0))
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(bound.surrogate, parameters)])

    parts = torch.stack([gradient(torch.arange(i, i + 2)) for i in (0, 2, 4)])
    torch.testing.assert_close(parts.mean(0), gradient(torch.arange(6)))


@pytest.mark.parametrize("objective", [IWAE(3), Renyi(0.5, 3), DReG(3)], ids=repr)
def test_the_same_holds_for_importance_weights_of_local_latents(objective, gaussian, numerics):
    model, data, _ = gaussian
    program = Program(model)
    parameters = [p for p in program.parameters() if p.requires_grad]
    noise = torch.randn(3, 6, 2)

    def gradient(rows):
        with minibatch(6):
            given = Noise(noise[:, rows].reshape(3, -1), torch.empty(3, 0))
            bound = objective.bound(program, {"x": data["x"][rows]}, noise=given)
        found = torch.autograd.grad(bound.surrogate, parameters)
        return torch.cat([g.reshape(-1) for g in found])

    parts = torch.stack([gradient(torch.arange(i, i + 2)) for i in (0, 2, 4)])
    torch.testing.assert_close(parts.mean(0), gradient(torch.arange(6)))
