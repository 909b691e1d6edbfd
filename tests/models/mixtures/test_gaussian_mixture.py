"""The Gaussian mixture against scipy, scikit-learn and Pyro's own enumeration; its start and its floor."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.stats
import torch
from pyro.infer import TraceEnum_ELBO
from sklearn.mixture import GaussianMixture as Reference

from jensen.models import GaussianMixture, HasExactEvidence, HasPrediction
from jensen.models.common.parameter_scope import local_parameters

COVARIANCES = ["full", "tied", "diagonal", "spherical"]
SKLEARN = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}


@pytest.fixture(params=COVARIANCES)
def fitted(request):
    """A mixture with uneven parameters, and data."""
    torch.manual_seed(0)
    model = GaussianMixture(3, 2, request.param).double()
    x = torch.cat([torch.randn(30, 2).double() * s + m for s, m in ((1.0, -4.0), (0.5, 0.0), (2.0, 5.0))])
    model.initialize({"x": x}, seed=0)
    return model, {"x": x}


def covariances(model):
    if model.covariance_type in ("full", "tied"):
        return (model.scale_tril @ model.scale_tril.mT).expand(3, 2, 2)
    scale = model.scale if model.covariance_type == "diagonal" else model.scale[:, None].expand(3, 2)
    return torch.diag_embed(scale**2)


def test_evidence_is_the_mixture_density(fitted):
    model, data = fitted
    parts = zip(model.weights, model.means, covariances(model), strict=True)
    density = sum(
        w.item() * scipy.stats.multivariate_normal(m.detach().numpy(), c.detach().numpy()).pdf(data["x"].numpy())
        for w, m, c in parts
    )
    np.testing.assert_allclose(model.log_evidence(data).detach().numpy(), np.log(density), rtol=1e-9)
    assert isinstance(model, HasExactEvidence)
    assert isinstance(model, HasPrediction)


def test_enumerated_bound_is_the_evidence(fitted):
    model, data = fitted
    with local_parameters():
        loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(model.model, model.guide, **data)
    torch.testing.assert_close(-loss, model.log_evidence(data).sum(), rtol=1e-10, atol=1e-8)


def test_score_and_responsibilities_equal_scikit_learn(fitted):
    model, data = fitted
    reference = Reference(3, covariance_type=SKLEARN[model.covariance_type], max_iter=5, tol=0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it was told not to converge
        reference.fit(data["x"].numpy())
    model.weights = torch.tensor(reference.weights_)
    model.means.data.copy_(torch.tensor(reference.means_))
    found = torch.tensor(reference.covariances_)
    if model.covariance_type in ("full", "tied"):
        model.scale_tril = torch.linalg.cholesky(found)
    else:
        model.scale = found.sqrt()
    score = model.log_evidence(data).mean().item()
    assert score == pytest.approx(reference.score(data["x"].numpy()), abs=1e-8)
    np.testing.assert_allclose(
        model.predict(data).detach().numpy(), reference.predict_proba(data["x"].numpy()), atol=1e-8
    )


def test_start_finds_separated_clusters(fitted):
    model, data = fitted
    labels = model.predict(data).argmax(-1)
    truth = torch.arange(3).repeat_interleave(30)
    table = torch.zeros(3, 3).index_put_((labels, truth), torch.ones(90), accumulate=True)
    assert table.max(0).values.sum() >= 85
    assert model.weights.sum().item() == pytest.approx(1.0)


def test_a_start_depends_on_its_seed_only():
    x = torch.randn(100, 2)
    one, two = GaussianMixture(4, 2), GaussianMixture(4, 2)
    state = torch.get_rng_state()
    one.initialize({"x": x}, seed=3)
    two.initialize({"x": x}, seed=3)
    assert torch.equal(one.means, two.means)
    assert torch.equal(state, torch.get_rng_state())
    two.initialize({"x": x}, seed=4)
    assert not torch.equal(one.means, two.means)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_scales_cannot_fall_under_the_floor(covariance):
    model = GaussianMixture(2, 3, covariance, min_scale=0.1)
    x = torch.cat([torch.zeros(5, 3), torch.ones(5, 3)])  # two points: no spread at all
    model.initialize({"x": x}, seed=0)
    raw = model.scale_tril_unconstrained if covariance in ("full", "tied") else model.scale_unconstrained
    with torch.no_grad():
        raw.sub_(100.0)
    scale = model.scale_tril.diagonal(dim1=-2, dim2=-1) if covariance in ("full", "tied") else model.scale
    assert (scale >= 0.1 * 0.5).all()  # of the columns' standard deviation
    assert (model.component_log_prob(1e6 * x).isfinite()).all()
    assert torch.isfinite(model.log_evidence({"x": x})).all()


def test_draws_have_the_mixture_moments():
    torch.manual_seed(0)
    model = GaussianMixture(2, 2).double()
    model.weights = torch.tensor([0.3, 0.7]).double()
    draw = model.generate(4_000, seed=1)
    assert draw["x"].shape == (4_000, 2)
    assert draw["assignment"].shape == (4_000,)
    share = (draw["assignment"] == 1).double().mean().item()
    assert share == pytest.approx(0.7, abs=4 * (0.21 / 4_000) ** 0.5)
    for k in range(2):
        rows = draw["x"][draw["assignment"] == k]
        assert (rows.mean(0) - model.means[k]).abs().max() < 5 / len(rows) ** 0.5


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`covariance` must be one of .* Did you mean 'diagonal'\?"):
        GaussianMixture(2, 2, "diag")
    with pytest.raises(ValueError, match="`num_components` must be positive"):
        GaussianMixture(0, 2)
    with pytest.raises(ValueError, match="`num_components` = 5 needs at least as many rows of data, got 3"):
        GaussianMixture(5, 2).initialize({"x": torch.randn(3, 2)}, 0)
    with pytest.raises(ValueError, match=r"`x` must have shape \(N, 2\)"):
        GaussianMixture(5, 2).check_data(torch.zeros(4, 3))
