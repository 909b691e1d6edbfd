"""BetaELBO, CapacityELBO and the schedules."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import (
    BetaELBO,
    CapacityELBO,
    ConfigurationError,
    Constant,
    Cyclical,
    Linear,
    ModelError,
    TraceMeanField_ELBO,
    minibatch,
)
from jensen.inference.pair.program import Program


def evaluate(objective, program, data, weight, size=None):
    torch.manual_seed(3)
    with minibatch(size or len(data["x"])):
        return objective.bound(program, data, weight=weight)


def test_beta_weighs_the_kl_and_never_the_likelihood(gaussian):
    model, data, _ = gaussian
    program, objective = Program(model), BetaELBO(Linear(0.0, 2.0), 4)
    zero, one, two = (evaluate(objective, program, data, w, 12) for w in (0.0, 1.0, 2.0))
    plain = evaluate(TraceMeanField_ELBO(4), program, data, 1.0, 12)
    assert float(one.objective) == pytest.approx(float(plain.bound), rel=1e-12)
    for each in (zero, one, two):  # the plain bound is reported whatever the weight
        assert float(each.bound) == pytest.approx(float(plain.bound), rel=1e-12)
    kl = float(zero.objective - one.objective)
    assert kl == pytest.approx(float(one.objective - two.objective), rel=1e-12)
    posterior = dist.MultivariateNormal(
        data["x"] @ model.guide_weight.T + model.guide_bias, scale_tril=model.guide_scale
    )
    exact = torch.distributions.kl_divergence(posterior, dist.MultivariateNormal(torch.zeros(2), torch.eye(2))).sum()
    assert kl == pytest.approx(2.0 * float(exact.detach()), rel=1e-12)
    gradients = [torch.autograd.grad(b.surrogate, model.guide_bias)[0] for b in (zero, one, two)]
    torch.testing.assert_close(gradients[0] - gradients[1], gradients[1] - gradients[2])


def test_beta_weighs_global_and_auxiliary_sites_too(regression):
    from jensen.inference.guides import build_guide

    model, data, _ = regression
    for name in ("normal", "multivariate_normal"):
        program = Program(model, build_guide(name, model, data))
        zero, one, half = (evaluate(BetaELBO(0.5), program, data, w) for w in (0.0, 1.0, 0.5))
        assert float(half.objective) == pytest.approx(float(zero.objective + one.objective) / 2, rel=1e-12)
        torch.manual_seed(3)
        with pyro.settings.context(module_local_params=True):
            w = pyro.poutine.trace(program.guide).get_trace(**data).nodes["w"]["value"]
        like = dist.Normal(data["x"] @ w, 0.7).log_prob(data["y"]).sum()
        assert float(zero.objective) == pytest.approx(float(like.detach()), rel=1e-12)


def test_beta_uses_its_final_value_in_a_plain_svi(gaussian):
    model, data, _ = gaussian
    scheduled, constant = BetaELBO(Linear(0.0, 0.7, until=0.2)), BetaELBO(0.7)
    losses = []
    for objective in (scheduled, constant):
        torch.manual_seed(0)
        losses.append(objective.loss(model.model, model.guide, **data))
    assert losses[0] == losses[1]


def test_capacity_holds_the_mean_kl_at_its_target(gaussian):
    model, data, _ = gaussian
    program, objective = Program(model), CapacityELBO(Linear(0.0, 25.0, until=1.0), gamma=7.0, num_particles=3)
    plain = evaluate(TraceMeanField_ELBO(3), program, data, 1.0, 12)
    likelihood = evaluate(BetaELBO(0.0, 3), program, data, 0.0, 12).objective
    mean_kl = float(likelihood - plain.bound) / 12  # nats per datum
    for target in (0.0, 0.5 * mean_kl, mean_kl, 5.0):
        found = evaluate(objective, program, data, target, 12)
        expected = float(likelihood) - 7.0 * 12 * abs(mean_kl - target)
        assert float(found.objective) == pytest.approx(expected, rel=1e-10)
        assert float(found.bound) == pytest.approx(float(plain.bound), rel=1e-12)
    signs = []
    for target in (0.0, 5.0):
        found = evaluate(objective, program, data, target)
        signs.append(
            torch.autograd.grad(
                found.surrogate - evaluate(BetaELBO(0.0, 3), program, data, 0.0).surrogate, model.guide_bias
            )[0]
        )
    torch.testing.assert_close(signs[0], -signs[1])  # above the target the KL is pushed down, below it up


def test_the_two_meet(gaussian):
    """gamma |KL - 0| is beta = gamma."""
    model, data, _ = gaussian
    program = Program(model)
    a = evaluate(CapacityELBO(0.0, gamma=4.0), program, data, 0.0).objective
    assert float(a) == pytest.approx(float(evaluate(BetaELBO(4.0), program, data, 4.0).objective), rel=1e-12)


def test_capacity_needs_local_latents(regression):
    from jensen.inference.guides import build_guide

    model, data, _ = regression
    program = Program(model, build_guide("normal", model, data))
    with pytest.raises(ModelError, match="`w` is a global latent"):
        CapacityELBO().check(program.structure(data))
    assert not CapacityELBO().is_sum_over_data


# -- schedules ------------------------------------------------------------


@pytest.mark.parametrize(
    "schedule",
    [Constant(0.3), Linear(0.0, 0.3), Linear(2.0, 0.3, until=1.0), Linear(0.0, 0.3, until=0.01)]
    + [Cyclical(0.0, 0.3, cycles=c, ramp=r) for c in (1, 3, 4, 7) for r in (0.25, 1.0)],
)
def test_every_schedule_ends_at_its_final_value(schedule):
    assert schedule(1.0) == 0.3
    assert schedule(1.0 - 1e-9) == pytest.approx(0.3, abs=1e-6)
    assert BetaELBO(schedule).schedule(1.0) == 0.3


def test_linear_and_cyclical_shapes():
    line = Linear(1.0, 3.0, until=0.5)
    assert [line(f) for f in (0.0, 0.25, 0.5, 0.75)] == [1.0, 2.0, 3.0, 3.0]
    wave = Cyclical(0.0, 1.0, cycles=2, ramp=0.5)
    assert [wave(f) for f in (0.0, 0.125, 0.25, 0.4, 0.5, 0.625, 0.75, 1.0)] == pytest.approx(
        [0, 0.5, 1, 1, 0, 0.5, 1, 1]
    )


def test_what_anneals_and_how_it_is_stored():
    assert BetaELBO(Linear()).is_scheduled and not BetaELBO(0.5).is_scheduled
    assert CapacityELBO().is_scheduled and CapacityELBO().schedule(0.5) == 12.5
    assert BetaELBO(0.5).configuration() == {"objective": "BetaELBO", "num_particles": 1, "beta": 0.5}
    assert BetaELBO(Cyclical()).configuration()["beta"]["schedule"] == "Cyclical"
    assert repr(CapacityELBO(5.0, 10.0)) == "CapacityELBO(num_particles=1, capacity=5.0, gamma=10.0)"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BetaELBO(-0.1), "`beta` must be finite and not negative"),
        (lambda: BetaELBO(float("nan")), "`beta` must be finite and not negative"),
        (lambda: BetaELBO(lambda f: 1.0 - 2.0 * f), "`beta` must be finite and not negative .* at 1.0"),
        (lambda: CapacityELBO(-1.0), "`capacity` must be finite and not negative"),
        (lambda: CapacityELBO(gamma=-1.0), "`gamma` must be finite and not negative"),
        (lambda: Linear(until=0.0), r"`until` must be a fraction of training in \(0, 1\]"),
        (lambda: Cyclical(cycles=0), "`cycles` must be at least 1"),
        (lambda: Cyclical(ramp=1.5), r"`ramp` in \(0, 1\]"),
    ],
)
def test_impossible_settings(build, message):
    with pytest.raises(ConfigurationError, match=message):
        build()
