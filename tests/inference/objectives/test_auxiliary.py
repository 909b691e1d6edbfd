"""AuxiliaryELBO: a bound, and a loss of the model's own beside it."""

from __future__ import annotations

import pickle

import pyro
import pyro.infer
import pytest
import torch

from jensen.inference import (
    IWAE,
    STL,
    SVI,
    AuxiliaryELBO,
    BetaELBO,
    ConfigurationError,
    Linear,
    ModelError,
    TraceMeanField_ELBO,
    minibatch,
)
from jensen.inference.pair.program import Program
from jensen.models import LinearGaussian


class Watched(LinearGaussian):
    """A linear Gaussian that would like its bias to be one."""

    def auxiliary_loss(self, x):
        return x.new_ones(len(x)) * (self.bias - 1.0).square().sum()


class Odd(LinearGaussian):
    def auxiliary_loss(self, x):
        return x.sum()


@pytest.fixture
def case():
    torch.manual_seed(4)
    model = Watched(3, 2).double()
    return model, {"x": torch.randn(6, 3)}


@pytest.mark.parametrize("inner", [TraceMeanField_ELBO(2), STL(2), IWAE(3), BetaELBO(0.5, 2)], ids=repr)
def test_value_and_gradient_are_the_bounds_less_the_loss(case, inner):
    model, data = case
    program, parameters = Program(model), list(model.parameters())
    found = []
    for objective in (inner, AuxiliaryELBO(inner, 0.3)):
        torch.manual_seed(0)
        with minibatch(18):
            found.append(objective.bound(program, data, weight=inner.schedule(1.0)))
    plain, ours = found
    loss = 0.3 * 18 * (model.bias - 1.0).square().sum()
    torch.testing.assert_close(ours.objective, plain.objective - loss.detach())
    torch.testing.assert_close(ours.bound, plain.bound)
    gradients = [torch.autograd.grad(b.surrogate, parameters, allow_unused=True) for b in found]
    for name, a, b in zip(dict(model.named_parameters()), *gradients, strict=True):
        extra = 0.6 * 18 * (model.bias - 1.0).detach() if name == "bias" else torch.zeros(())
        if a is not None:
            torch.testing.assert_close(b, (a - extra).expand_as(a))


def test_a_fit_follows_the_schedule_and_shows_the_bound(case):
    model, data = case
    svi = SVI(AuxiliaryELBO(BetaELBO(Linear(0.0, 1.0))), steps=40, log_every=10, progress=False)
    fit = svi.fit(model, data, seed=0)
    assert {"bound", "loss"} <= set(fit.history.columns) and fit.status in ("converged", "not converged", "unknown")
    strong = SVI(AuxiliaryELBO(weight=1e4, objective=IWAE(2)), steps=400, lr=1e-2, progress=False).fit(model, data)
    torch.testing.assert_close(strong.model.bias.detach(), torch.ones(3), atol=0.05, rtol=0)
    eager = SVI(AuxiliaryELBO(IWAE(2)), steps=10, log_every=5, compile=False, progress=False).fit(model, data, seed=1)
    traced = SVI(AuxiliaryELBO(IWAE(2)), steps=10, log_every=5, compile="trace", progress=False).fit(
        model, data, seed=1
    )
    torch.testing.assert_close(torch.tensor(eager.history.loss.values), torch.tensor(traced.history.loss.values))


def test_in_a_plain_pyro_svi(case):
    model, data = case
    svi = pyro.infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-2}), AuxiliaryELBO(IWAE(2), weight=1e4))
    for _ in range(300):
        svi.step(**data)
    torch.testing.assert_close(model.bias.detach(), torch.ones(3), atol=0.05, rtol=0)
    pyro.clear_param_store()


def test_configuration_and_errors(case):
    _, data = case
    objective = AuxiliaryELBO(BetaELBO(Linear(0.0, 2.0)), 0.2)
    assert objective.configuration()["bound"]["objective"] == "BetaELBO"
    assert objective.is_scheduled and objective.schedule(1.0) == 2.0 and objective.is_sum_over_data
    assert pickle.loads(pickle.dumps(objective)) == objective != AuxiliaryELBO(BetaELBO(), 0.2)
    with pytest.raises(ConfigurationError, match="`weight` must be finite and not negative"):
        AuxiliaryELBO(weight=-1.0)
    with pytest.raises(ConfigurationError, match="`objective` must be a jensen objective"):
        AuxiliaryELBO("IWAE")
    with pytest.raises(ConfigurationError, match=r"must be a plain bound, .* Pass its bound, IWAE\(num_particles=3\)"):
        AuxiliaryELBO(AuxiliaryELBO(IWAE(3), 0.5), 0.2)
    with pytest.raises(ModelError, match="needs a model with a method `auxiliary_loss"):
        AuxiliaryELBO(IWAE()).bound(Program(LinearGaussian(3, 2)), data)
    with pytest.raises(ModelError, match=r"`auxiliary_loss` must return one loss per datum, shape \(6,\), got \(\)"):
        AuxiliaryELBO(IWAE()).bound(Program(Odd(3, 2)), data)
