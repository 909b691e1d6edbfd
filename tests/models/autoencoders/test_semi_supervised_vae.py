"""SemiSupervisedVAE against sums by hand, and what it makes of a few labels."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.datasets import digits, hide_labels, threshold
from jensen.inference import (
    IWAE,
    SVI,
    AuxiliaryELBO,
    BetaELBO,
    ModelError,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceMeanField_ELBO,
    elbo_terms,
    log_evidence,
    minibatch,
)
from jensen.inference.pair.program import Program
from jensen.inference.pair.terms import evaluate
from jensen.models import VAE, LatentFeatures, SemiSupervisedVAE

C, L = 3, 2


@pytest.fixture
def model(float64):
    torch.manual_seed(1)
    return SemiSupervisedVAE(5, C, L, hidden=(7,))


@pytest.fixture
def x(float64):
    return (torch.rand(6, 5, generator=torch.Generator().manual_seed(2)) < 0.5).double()


MIXED = torch.tensor([0.0, -1.0, 2.0, -1.0, 1.0, -1.0])


def labelled_bound(model, x, k, z):
    """log p(y = k) + log p(z) + log p(x | k, z) - log q(z | x, k), per datum, for these draws of z."""
    y = torch.eye(C)[torch.full((len(x),), k)]
    loc, scale = model.encoder(x, y)
    log_p = torch.tensor(1 / C).log() + dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
    log_p = log_p + dist.Bernoulli(logits=model.decoder(z, y)).log_prob(x).sum(-1)
    return log_p - dist.Normal(loc, scale).log_prob(z).sum(-1)


def by_hand(model, x, y, z):
    """The paper's bounds from draws z ``(C, B, L)``: L(x, y) where y is seen, else U(x); ``(B,)``."""
    bounds = torch.stack([labelled_bound(model, x, k, z[k]) for k in range(C)], -1)
    log_q = model.classifier(x).log_softmax(-1)
    unlabelled = (log_q.exp() * (bounds - log_q)).sum(-1)
    labelled = bounds.gather(-1, y.long().clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return torch.where(y >= 0, labelled, unlabelled)


@pytest.mark.parametrize("y", [MIXED, MIXED.abs(), -torch.ones(6), None], ids=["mixed", "labelled", "missing", "none"])
def test_both_bounds_of_the_paper_in_value_and_gradient(model, x, y):
    batch = {"x": x} if y is None else {"x": x, "y": y.double()}
    terms = evaluate(Program(model), batch, seed=0)
    z = terms.values["z"][0]
    assert z.shape == (C, 6, L)
    expected = by_hand(model, x, -torch.ones(6) if y is None else y.double(), z)
    torch.testing.assert_close(terms.log_weight_local[0], expected)
    parameters = list(model.parameters())
    ours = torch.autograd.grad(terms.log_weight_local.sum(), parameters, retain_graph=True, allow_unused=True)
    theirs = torch.autograd.grad(expected.sum(), parameters, allow_unused=True)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine is None or torch.isfinite(mine).all()
        zero = torch.zeros(())
        torch.testing.assert_close(zero if mine is None else mine.sum(), zero if other is None else other.sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_certain_classifier_gives_finite_gradients(dtype):
    model = SemiSupervisedVAE(5, C, L, hidden=(7,)).to(dtype)
    with torch.no_grad():
        model.classifier.output.bias.copy_(torch.tensor([0.0, 500.0, -2000.0]))  # q(y | x) underflows
    x = torch.ones(6, 5, dtype=dtype)
    bound = AuxiliaryELBO().bound(Program(model), {"x": x, "y": MIXED.to(dtype)})
    assert torch.isfinite(bound.bound) and torch.isfinite(bound.objective)
    for gradient in torch.autograd.grad(bound.surrogate, list(model.parameters())):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("objective", [Trace_ELBO(64), TraceEnum_ELBO(64), TraceMeanField_ELBO(64), BetaELBO(1.0, 64)])
def test_the_bounds_agree_and_stay_below_the_evidence(model, x, objective):
    batch = {"x": x, "y": MIXED.double()}
    program = Program(model)
    with torch.no_grad():
        bound = float(objective.bound(program, batch).bound)
        terms = evaluate(program, batch, num_particles=4_000, seed=0)
        mean = terms.log_weight_local.sum(-1)
        weighted = evaluate(program, batch, num_particles=4_000, seed=1, sum_guide=True).log_weight_local
        evidence = float((weighted.logsumexp(0) - torch.tensor(4_000.0).log()).sum())
    assert bound == pytest.approx(float(mean.mean()), abs=5 * float(mean.std()) / 8)
    assert evidence > bound - 5 * float(mean.std()) / 8


def test_the_evidence_is_of_the_label_where_it_is_seen(model, x):
    """log p(x) and log p(x, y), against quadrature over z on a grid."""
    axis = torch.linspace(-7, 7, 141)
    grid = torch.cartesian_prod(axis, axis)
    log_prior = dist.Normal(0.0, 1.0).log_prob(grid).sum(-1) + 2 * (axis[1] - axis[0]).log()
    with torch.no_grad():
        for parameter in model.encoder.network.output.parameters():
            parameter.zero_()  # q(z | x, y) = p(z): weights of little variance
        joint = (
            torch.stack(
                [
                    dist.Bernoulli(logits=model.decoder(grid, torch.eye(C)[k])).log_prob(x[:, None]).sum(-1) + log_prior
                    for k in range(C)
                ]
            ).logsumexp(-1)
            - torch.tensor(float(C)).log()
        )
        exact = torch.where(MIXED >= 0, joint.gather(0, MIXED.long().clamp_min(0)[None])[0], joint.logsumexp(0))
        batch = {"x": x, "y": MIXED.double()}
        weights = evaluate(Program(model), batch, num_particles=20_000, seed=0, sum_guide=True).log_weight_local
    found = weights.logsumexp(0) - torch.tensor(20_000.0).log()
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0)


def test_the_auxiliary_loss_is_the_papers(model, x):
    """alpha times the labelled data's mean of -log q(y | x), alpha = 0.1 N; the bound is left alone."""
    y = MIXED.double()
    model.prepare({"x": x, "y": y})
    assert float(model.labelled_fraction) == 0.5
    log_q = model.classifier(x).log_softmax(-1)
    mean = -(log_q[0, 0] + log_q[2, 2] + log_q[4, 1]) / 3
    torch.testing.assert_close(model.auxiliary_loss(x, y).sum(), 6 * mean)
    found = AuxiliaryELBO(weight=0.1).bound(Program(model), {"x": x, "y": y})
    torch.testing.assert_close(found.bound - found.objective, 0.1 * 6 * mean.detach())
    assert model.auxiliary_loss(x, -torch.ones(6)).sum() == 0


def test_mini_batches_estimate_the_objective_without_bias(model, x):
    y = MIXED.double()
    model.prepare({"x": x, "y": y})
    objective = AuxiliaryELBO(weight=0.7)

    def penalty(rows):
        with minibatch(6):
            found = objective.bound(Program(model), {"x": x[rows], "y": y[rows]})
        return found.bound - found.objective

    parts = torch.stack([penalty(rows) for rows in torch.combinations(torch.arange(6), 2)])
    torch.testing.assert_close(parts.mean(), penalty(torch.arange(6)))


def test_an_importance_weighted_bound_does_not_train_the_classifier(x, model):
    data = {"x": x, "y": MIXED.double()}
    with pytest.raises(ModelError, match=r"`classifier.* receives no gradient .* a guide over enumerated sites"):
        SVI(IWAE(2), steps=5, progress=False).fit(model, data)
    fit = SVI(AuxiliaryELBO(IWAE(2)), steps=5, progress=False).fit(model, data)
    assert fit.status in ("converged", "not converged", "unknown")


# -- a fit ----------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    data = hide_labels(threshold(digits(test_size=0.2, seed=0)), 100, seed=0)
    model = SemiSupervisedVAE(64, 10, 10, hidden=(64,))
    svi = SVI(AuxiliaryELBO(), steps=250, lr=1e-2, batch_size=200, log_every=50, progress=False, compile="trace")
    return svi.fit(model, data.train, seed=0), data


def test_a_hundred_labels_classify_the_digits(fitted):
    fit, data = fitted
    with torch.no_grad():
        probabilities = fit.model.predict(data.test)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(len(probabilities)))
    accuracy = float((probabilities.argmax(-1) == data.test["y"]).float().mean())
    assert accuracy > 0.7
    assert (-fit.history.loss < fit.history.bound).all()  # the loss beside the plain bound
    evidence, bound = log_evidence(fit, data.test, num_particles=20), elbo_terms(fit, data.test)
    assert evidence.value > bound.value
    unlabelled = log_evidence(fit, {"x": data.test["x"]}, num_particles=20)
    assert unlabelled.value > evidence.value  # log p(x) >= log p(x, y)


def test_generation_by_class(fitted):
    fit, _ = fitted
    y = torch.arange(10).repeat_interleave(20)
    drawn = fit.model.generate(200, seed=0, y=y)
    assert torch.equal(drawn["y"].long(), y) and drawn["x"].shape == (200, 64)
    with torch.no_grad():
        assert float((fit.model.classify(drawn["x"]).argmax(-1) == y).float().mean()) > 0.6
    some = fit.model.generate(200, seed=0, y=torch.where(torch.arange(200) < 100, 3, -1))["y"]
    assert (some[:100] == 3).all() and len(some[100:].unique()) == 10
    free = fit.model.generate(500, seed=1)["y"]
    assert set(free.tolist()) == set(range(10))


def test_a_gaussian_m2_on_draws_of_an_m1(fitted):
    _, data = fitted
    svi = SVI(Trace_ELBO(), steps=200, lr=1e-2, batch_size=200, progress=False, compile="trace")
    m1 = svi.fit(VAE(64, 10, hidden=(64,)), data.select("x").train, seed=0).model
    features = LatentFeatures(m1, data.train["x"])
    assert 0 < features.num_features <= 10
    batch = {"x": data.train["x"][:50], "y": data.train["y"][:50]}
    first, second = features(batch, 0), features(batch, 1)
    assert first["x"].shape == (50, features.num_features) and torch.equal(first["y"], batch["y"])
    assert not torch.equal(first["x"], second["x"]) and torch.equal(first["x"], features(batch, 0)["x"])
    m2 = SemiSupervisedVAE(features.num_features, 10, 5, likelihood="gaussian", hidden=(50,))
    stacked = SVI(
        AuxiliaryELBO(), steps=150, lr=1e-2, batch_size=200, transform=features, progress=False, compile="trace"
    )
    model = stacked.fit(m2, data.train, seed=0).model
    with torch.no_grad():
        guess = model.classify(features.mean(data.test["x"])).argmax(-1)
    assert float((guess == data.test["y"]).float().mean()) > 0.7
    assert repr(features) == repr(LatentFeatures(m1, data.train["x"]))
    with pytest.raises(ValueError, match="`min_std` must leave at least one latent dimension"):
        LatentFeatures(m1, data.train["x"], min_std=100.0)
    with pytest.raises(ValueError, match="`key`: expected one of"):
        features({"y": batch["y"]})


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(5 + C, 2 * L)

    def forward(self, x, y):
        shape = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        joint = torch.cat([x.expand(*shape, 5), y.expand(*shape, C)], -1)
        loc, scale = self.net(joint).chunk(2, -1)
        return loc, scale.exp()


def test_any_network_and_likelihood(float64, x):
    model = SemiSupervisedVAE(5, C, L, encoder=Encoder(), classifier=nn.Linear(5, C), likelihood="gaussian")
    data = {"x": x + 0.1 * torch.randn(6, 5), "y": MIXED.double()}
    fit = SVI(AuxiliaryELBO(), steps=5, progress=False).fit(model, data)
    assert fit.status in ("converged", "not converged", "unknown")
    codes = SemiSupervisedVAE((5,), C, L, likelihood="categorical", num_categories=2, hidden=(4,))
    fit = SVI(AuxiliaryELBO(), steps=5, progress=False).fit(codes, {"x": x, "y": MIXED})
    assert fit.status in ("converged", "not converged", "unknown")
    loc, scale = model.encode(x, MIXED.abs())
    assert loc.shape == scale.shape == (6, L) and model.decode(loc, MIXED.abs()).shape == (6, 5)


# -- bad input ------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.full((6,), 3.0), r"`y` must hold labels in 0, ..., 2, or -1 .* got 3"),
        (torch.full((6,), -2.0), r"`y` must hold labels in 0, ..., 2, or -1 .* got -2"),
        (torch.full((6,), 0.5), r"`y` must hold labels .* got 0.5"),
        (torch.zeros(6, 3), r"`y` must be a vector of labels of shape \(N,\), got shape \(6, 3\)"),
        (-torch.ones(6), "`y` must hold at least one label, got none"),
        (None, "`y` must hold at least one label, got none"),
    ],
)
def test_labels_that_cannot_be(model, x, y, message):
    with pytest.raises(ValueError, match=message):
        SVI(AuxiliaryELBO(), steps=1, progress=False).fit(model, {"x": x} if y is None else {"x": x, "y": y})


def test_data_that_cannot_be(model, x):
    y = MIXED.double()
    with pytest.raises(ValueError, match=r"`x` must have shape \(N, 5\), got \(6, 4\)"):
        model.check_data(x[:, :4], y)
    with pytest.raises(ValueError, match=r"`x` must lie in \[0, 1\]"):
        model.check_data(x + 1, y)
    with pytest.raises(ValueError, match=r"`x` must be 0 or 1 .* grey values"):
        model.check_data(x / 2, y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "`num_classes` must be at least 2"),
        ({"latent_dim": 0}, "`data_shape, latent_dim and hidden` must be positive"),
        ({"labelled_fraction": 1.5}, r"`labelled_fraction` must be in \(0, 1\]"),
        ({"likelihood": "poisson"}, "`likelihood` must be one of"),
        ({"hidden": ()}, "`hidden` must have at least one layer"),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        SemiSupervisedVAE(**{"data_shape": 5, "num_classes": C, "latent_dim": L, **arguments})
