"""A row that counts w times is that row w times in the data: bounds and gradients of every objective."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import (
    IWAE,
    STL,
    SVI,
    BetaELBO,
    CapacityELBO,
    DReG,
    ModelError,
    Renyi,
    Trace_ELBO,
    TraceMeanField_ELBO,
    elbo_terms,
    log_evidence,
    minibatch,
)
from jensen.inference.pair.program import Program
from jensen.inference.pair.randomness.noise import Noise
from jensen.models import AlignmentVAE, LatentVariableModel

TIMES = torch.tensor([3, 1, 0, 2])
OBJECTIVES = [
    Trace_ELBO(3), TraceMeanField_ELBO(2), STL(2), IWAE(4), Renyi(0.5, 4), DReG(3), BetaELBO(0.3, 2),
    CapacityELBO(0.2, 5.0, 2),
]  # fmt: skip


class Switch(LatentVariableModel):
    """A latent without pathwise gradient, and a parameter for each side."""

    row_weight = "weight"

    def __init__(self):
        super().__init__()
        self.loc = torch.nn.Parameter(torch.tensor([0.3, -0.8]))
        self.slope = torch.nn.Parameter(torch.tensor([0.4, 0.2]))

    def model(self, x=None, weight=None):
        with pyro.plate("data", 1 if x is None else len(x)):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.4)))
            return pyro.sample("x", dist.Normal(self.loc[0] * c + self.loc[1], 1.0), obs=x)

    def guide(self, x, weight=None):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Bernoulli(logits=self.slope[0] * x + self.slope[1]))


class Shared(LatentVariableModel):
    """A global latent and one for each datum."""

    row_weight = "weight"

    def model(self, x=None, weight=None):
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("data", 1 if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(m, 1.0))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def both(objective, model, x, noise, kind, data_size):
    """Bound, objective and gradient with weights, and with the rows repeated and their noise with them."""
    program, results = Program(model), []
    width = noise.shape[-1]
    weighted = {"x": x, "weight": TIMES.to(torch.get_default_dtype())}
    rows = torch.arange(len(x)).repeat_interleave(TIMES)
    empty = noise.new_empty(len(noise), 0)
    parameters = list(model.parameters())
    for batch, given, size in (
        (weighted, noise, data_size * len(x)),
        ({"x": x[rows]}, noise[:, rows], data_size * len(rows)),
    ):
        flat = given.reshape(len(noise), given.shape[1] * width)
        base = Noise(flat, empty) if kind == "normal" else Noise(empty, flat)
        with minibatch(size):
            bound = objective.bound(program, batch, noise=base, weight=objective.schedule(1.0))
        gradient = torch.autograd.grad(bound.surrogate, parameters, allow_unused=True)
        flat_gradient = torch.cat([g.reshape(-1) for g in gradient if g is not None])
        results.append((bound.bound, bound.objective, flat_gradient))
    return results


@pytest.mark.parametrize("data_size", [1, 5])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_a_weight_is_a_number_of_copies(objective, data_size):
    model = AlignmentVAE(3, 2, hidden=(5,), letters="ACG-")
    x = torch.randint(4, (4, 3))
    noise = torch.randn(objective.num_particles, 4, 2)
    weighted, repeated = both(objective, model, x, noise, "normal", data_size)
    torch.testing.assert_close(weighted, repeated)
    assert weighted[2].abs().max() > 1e-3


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_a_batch_of_rows_that_do_not_count_adds_nothing(objective):
    model = AlignmentVAE(3, 2, hidden=(5,), letters="ACG-")
    batch = {"x": torch.randint(4, (2, 3)), "weight": torch.zeros(2)}
    with minibatch(10):
        found = objective.bound(Program(model), batch, weight=objective.schedule(1.0))
    assert float(found.bound) == float(found.objective) == 0.0
    parameters = list(model.parameters())
    for gradient in torch.autograd.grad(found.surrogate, parameters, allow_unused=True):
        assert gradient is None or not gradient.any()


def test_single_rows_of_weight_0_or_1_are_fitted():
    data = {"x": torch.randint(4, (8, 3)), "weight": torch.tensor([1.0, 0.0] * 4)}
    model = AlignmentVAE(3, 2, hidden=(5,), letters="ACG-")
    for seed in range(3):
        svi = SVI(CapacityELBO(0.2, 5.0), steps=12, lr=1e-2, batch_size=1, progress=False)
        assert svi.fit(model, data, seed=seed).status in ("converged", "not converged", "unknown")


@pytest.mark.parametrize("objective", [Trace_ELBO(1), Trace_ELBO(3), IWAE(3), Renyi(0.5, 3)], ids=repr)
def test_so_it_is_for_the_score_function(objective):
    x = torch.tensor([0.5, -1.0, 2.0, 0.1])
    noise = torch.rand(objective.num_particles, 4, 1)
    weighted, repeated = both(objective, Switch(), x, noise, "uniform", 2)
    torch.testing.assert_close(weighted, repeated)


def test_fits_with_weights_find_the_weighted_frequencies():
    model = AlignmentVAE(1, 1, hidden=(3,), letters="AC-")
    data = {"x": torch.tensor([[0], [1], [0], [1]]), "weight": torch.tensor([3.0, 1.0, 6.0, 2.0])}
    for batch_size in (None, 2):
        method = SVI(TraceMeanField_ELBO(4), steps=600, lr=2e-2, batch_size=batch_size, average=0.98, compile="trace")
        fit = method.fit(model, data, seed=0)
        z = torch.linspace(-6, 6, 400).unsqueeze(-1)
        with torch.no_grad():
            prior = torch.softmax(-0.5 * z.square().squeeze(-1), 0)
            probability = (fit.model.decode(z).squeeze(1) * prior.unsqueeze(-1)).sum(0)
        assert probability[0] == pytest.approx(0.75, abs=0.03)
    # scores are those of the rows: no weights, given or not
    plain, weighted = log_evidence(fit, {"x": data["x"]}, num_particles=20), log_evidence(fit, num_particles=20)
    assert weighted.value == plain.value


@pytest.mark.parametrize("batch_size", [None, 2])
def test_the_bound_per_datum_is_a_weighted_mean(batch_size):
    x, weight = torch.randint(4, (4, 3)), torch.tensor([3.0, 0.5, 0.25, 2.25])
    svi = SVI(TraceMeanField_ELBO(), steps=20, lr=1e-2, batch_size=batch_size, log_every=5, progress=False)
    fit = svi.fit(AlignmentVAE(3, 2, hidden=(5,), letters="ACG-"), {"x": x, "weight": weight}, seed=0)
    torch.testing.assert_close(torch.tensor(fit.history["bound_per_datum"]), torch.tensor(fit.history["bound"]) / 6.0)
    assert f"{fit.history['bound'].iloc[-1] / 6.0:.4f} nats per datum" in str(fit)


def test_equal_weights_leave_the_bound_per_datum_as_it_is():
    model, x = AlignmentVAE(3, 2, hidden=(5,), letters="ACG-"), torch.randint(4, (40, 3))
    svi = SVI(TraceMeanField_ELBO(), steps=400, lr=1e-2, log_every=400, average=0.99, progress=False)
    plain, weighted = svi.fit(model, {"x": x}), svi.fit(model, {"x": x, "weight": torch.full((40,), 0.1)})
    terms = elbo_terms(weighted)
    assert weighted.history["bound_per_datum"].iloc[-1] == pytest.approx(terms.value / 40, rel=0.05)
    assert weighted.history["bound_per_datum"].iloc[-1] == pytest.approx(
        plain.history["bound_per_datum"].iloc[-1], rel=0.05
    )


def test_joint_importance_weights_refuse_row_weights():
    data = {"x": torch.randn(4), "weight": torch.ones(4)}
    with pytest.raises(ModelError, match="`IWAE` weights whole draws, so with global latents a row cannot count more"):
        SVI(IWAE(3), steps=2, compile=False).fit(Shared(), data, seed=0)
    fit = SVI(Trace_ELBO(), steps=2, compile=False).fit(Shared(), data, seed=0)
    assert fit.status in ("converged", "not converged", "unknown")


def test_a_weight_is_nothing_that_is_drawn():
    model = AlignmentVAE(3)
    assert model.observed == ("x",)
    with pytest.raises(ValueError, match="Nothing is observed"):
        SVI(steps=2).fit(model, {"weight": torch.ones(3)}, seed=0)
