"""Fits do not depend on the units of the data, nor on float32's habits: right values by peers in float64."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hmmlearn.hmm import GaussianHMM
from pyro import poutine
from scipy import stats
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.decomposition import FactorAnalysis as FactorPeer
from sklearn.mixture import GaussianMixture as Peer

from jensen.inference import CAVI, EM, SVI, DataError, TraceEnum_ELBO, load, log_evidence
from jensen.models import (
    PPCA,
    VAE,
    BayesianGaussianMixture,
    FactorAnalysis,
    GaussianMixture,
    HiddenMarkovModel,
    LatentVariableModel,
    MultinomialMixture,
    PoissonMixture,
)
from jensen.models.common.column_spread import column_spread
from jensen.models.distributions.count_masses import CountPoisson
from jensen.models.distributions.row_multinomial import RowMultinomial


def ages_and_incomes() -> np.ndarray:
    """Two groups by age, and an income that knows nothing of them."""
    drawn = np.random.default_rng(0)
    group = drawn.integers(2, size=1_000)
    age = np.where(group, 60, 30) + 3 * drawn.standard_normal(1_000)
    return np.stack([age, 5e4 + 1.5e4 * drawn.standard_normal(1_000)], 1)


def at_the_truth(covariance: str) -> GaussianMixture:
    model = GaussianMixture(2, 2, covariance)
    model.means.data.copy_(torch.tensor([[30.0, 5e4], [60.0, 5e4]]))
    deviations = torch.tensor([3.0, 1.5e4])
    if covariance == "diagonal":
        model.scale = deviations.repeat(2, 1)
    else:
        model.scale_tril = torch.diag(deviations) if covariance == "tied" else torch.diag(deviations).repeat(2, 1, 1)
    model.fitted = True
    return model


def last(fit) -> float:
    return fit.history.bound_per_datum.iloc[-1]


@pytest.mark.parametrize(("covariance", "name"), [("full", "full"), ("tied", "tied"), ("diagonal", "diag")])
def test_columns_of_different_units_keep_their_clusters(covariance, name):
    x = ages_and_incomes()
    precision = np.diag([1 / 9, 1 / 1.5e4**2])
    first = {"full": [precision] * 2, "tied": precision, "diag": [precision.diagonal()] * 2}[name]
    options = {"means_init": [[30, 5e4], [60, 5e4]], "weights_init": [0.5, 0.5], "precisions_init": first}
    right = Peer(2, covariance_type=name, reg_covar=0, tol=1e-10, max_iter=500, **options).fit(x).score(x)
    fit = EM().fit(at_the_truth(covariance), x)
    assert fit.info["dtype"] == "float64" and fit.model.means.dtype == torch.float64
    assert last(fit) == pytest.approx(right, abs=1e-6)
    assert last(EM().fit(GaussianMixture(2, 2, covariance), x)) == pytest.approx(right, abs=1e-6)
    assert last(EM(dtype=torch.float32).fit(at_the_truth(covariance), x)) == pytest.approx(right, abs=1e-4)


@pytest.mark.parametrize("units", [(1e-4, 1e6), (1e9, 1e-9)])
@pytest.mark.parametrize(
    "make",
    [
        lambda: (GaussianMixture(2, 2), EM()),
        lambda: (GaussianMixture(2, 2, "tied"), EM()),
        lambda: (GaussianMixture(2, 2, "diagonal"), EM()),
        lambda: (HiddenMarkovModel(2, 2, covariance="full"), EM()),
        lambda: (HiddenMarkovModel(2, 2), EM()),
        lambda: (FactorAnalysis(2, 1), EM()),
        lambda: (BayesianGaussianMixture(2, 2), CAVI()),
    ],
)
def test_the_bound_moves_by_the_logarithm_of_the_units(make, units):
    x, data = ages_and_incomes(), lambda x: x[None] if isinstance(model, HiddenMarkovModel) else x
    (model, method), rows = make(), len(x)
    here = method.fit(model, data(x))
    there = method.fit(make()[0], data(x * np.array(units)))
    moved = there.history.bound.iloc[-1] / rows + math.log(units[0] * units[1])
    assert moved == pytest.approx(here.history.bound.iloc[-1] / rows, abs=1e-7)
    assert here.info["steps"] == there.info["steps"]


def test_a_hidden_markov_model_keeps_the_groups_too():
    x = ages_and_incomes()
    fit = EM().fit(HiddenMarkovModel(2, 2, covariance="full"), x[None])
    peer = GaussianHMM(2, "full", n_iter=200, tol=1e-9, min_covar=0, init_params="")
    peer.startprob_, peer.transmat_ = np.array([0.5, 0.5]), np.full((2, 2), 0.5)
    peer.means_, peer.covars_ = np.array([[30, 5e4], [60, 5e4]]), np.array([np.diag([9, 1.5e4**2])] * 2)
    assert fit.history.bound.iloc[-1] >= peer.fit(x).score(x) - 1e-2


def test_raw_wine_is_one_gaussian():
    x = load_wine().data
    fit = EM().fit(GaussianMixture(1, 13), x)
    assert last(fit) == pytest.approx(stats.multivariate_normal(x.mean(0), np.cov(x.T, bias=True)).logpdf(x).mean())


def seconds() -> np.ndarray:
    drawn = np.random.default_rng(1)
    return np.concatenate([5 * drawn.standard_normal(500), 60 + 5 * drawn.standard_normal(500)])[:, None]


def test_seconds_since_1970_keep_their_groups(tmp_path):
    right = Peer(2, tol=1e-10, max_iter=500, reg_covar=0, random_state=0).fit(seconds()).score(seconds())
    fit = EM().fit(GaussianMixture(2, 1), 1.7e9 + seconds())
    assert last(fit) == pytest.approx(right, abs=1e-6)
    with pytest.raises(DataError, match=r"column 0 of `x` would lose what sets its values apart.* only to 128"):
        SVI(TraceEnum_ELBO(), steps=2).fit(GaussianMixture(2, 1), 1.7e9 + seconds())
    fit.save(tmp_path / "fit")
    for found in (fit, load(tmp_path / "fit")):  # and so do scores of it, on float64 and on what float32 still holds
        assert log_evidence(found, 1.7e9 + seconds()).value == pytest.approx(fit.history.bound.iloc[-1], rel=1e-9)
        assert log_evidence(found, torch.full((3, 1), 1.7e9)).details["per_datum"].dtype == torch.float64
    wide = SVI(TraceEnum_ELBO(), steps=2, dtype=torch.float64).fit(GaussianMixture(2, 1), 1.7e9 + seconds())
    assert wide.info["dtype"] == "float64"


def factors() -> np.ndarray:
    drawn = np.random.default_rng(2)
    return drawn.standard_normal((600, 2)) @ drawn.standard_normal((2, 6)) + 0.5 * drawn.standard_normal((600, 6))


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_factors_have_no_units(scale, offset):
    x = scale * (factors() + offset)
    model = PPCA(6, 2)
    model.set_optimum({"x": x}, correction=1)
    assert model.log_evidence({"x": x}).dtype == torch.float64
    if offset == 0:  # the model's own parameters are float32 here
        assert model.log_evidence({"x": x}).mean().item() == pytest.approx(PCA(2).fit(x).score(x), abs=1e-4)
    double = PPCA(6, 2).double()
    double.set_optimum({"x": x}, correction=1)
    right = PCA(2).fit(factors()).score(factors()) - 6 * math.log(scale)
    assert double.log_evidence({"x": x}).mean().item() == pytest.approx(right, abs=1e-6)
    peer = FactorPeer(2, tol=1e-12, max_iter=5_000, svd_method="lapack").fit(factors()).score(factors())
    fit = EM(steps=5_000, tolerance=1e-9).fit(FactorAnalysis(6, 2), x)
    assert last(fit) == pytest.approx(peer - 6 * math.log(scale), abs=1e-4)


def test_returns_have_two_regimes():
    drawn = np.random.default_rng(3)
    calm = (drawn.random(2_000) < 0.02).cumsum() % 2
    x = 1e-4 * np.where(calm, 0.5, 3) * drawn.standard_normal(2_000)
    fit = EM(restarts=4).fit(HiddenMarkovModel(2, 1), x[None, :, None])
    path = fit.model.predict(x[None, :, None])[0].numpy()
    assert max((path == calm).mean(), (path != calm).mean()) > 0.97
    assert fit.model.scale.min() < 7e-5


def test_a_learned_scale_of_a_network_has_no_units():
    x = torch.as_tensor(1e-5 * factors()).float()
    model = VAE(6, 2, likelihood="gaussian", hidden=(8,))
    model.initialize({"x": x}, 0)
    torch.testing.assert_close(model.likelihood.scale.detach(), x.std(0, correction=0), rtol=2e-3, atol=0)
    with torch.no_grad():
        model.likelihood.log_scale.sub_(100.0)
    torch.testing.assert_close(model.likelihood.scale.detach(), 1e-3 * x.std(0, correction=0))


@pytest.mark.parametrize("far", [1e6, 1e12])
def test_an_outlier_takes_a_component_and_leaves_the_others(far):
    drawn = np.random.default_rng(4)
    x = drawn.standard_normal((1_000, 2))
    x[::2] += 6
    others = Peer(2, tol=1e-10, reg_covar=0, random_state=0).fit(x[1:])
    x[0, 0] = far
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = EM().fit(GaussianMixture(3, 2), x)
    rest = fit.model.log_evidence({"x": x[1:]}).mean().item()
    assert rest == pytest.approx(others.score(x[1:]) + math.log(0.999), abs=1e-3)


def test_spread_is_that_of_the_bulk():
    z = torch.randn(400, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    far = z.clone()
    far[:5] = 1e9
    rare, missing = torch.where(z > 2, z, 0.0), z.clone()
    missing[::3] = torch.nan
    found = column_spread(torch.cat([z, far, rare, missing, torch.full_like(z, 0.1)], 1))
    assert 0.85 < found[0] < 1 and 0.85 < found[1] < 1.1 and 0.8 < found[3] < 1.1
    assert found[2] == pytest.approx(rare.std(correction=0).item()) and found[4] == 0


def test_a_multinomial_of_ten_million():
    drawn = np.random.default_rng(5).multinomial(10_000_000, [0.2, 0.3, 0.5], size=400)
    shares = drawn.sum(0) / drawn.sum()
    right = stats.multinomial(10_000_000, shares).logpmf(drawn).sum()
    for dtype in (None, torch.float32):
        assert EM(dtype=dtype).fit(MultinomialMixture(1, 3), drawn).history.bound.iloc[-1] == pytest.approx(
            right, abs=1e-3
        )
    model = MultinomialMixture(1, 3)
    model.probs = torch.tensor(shares).float()[None]
    x = torch.tensor(drawn).float()
    assert log_joint(model, x) == pytest.approx(right, abs=0.05)  # by a program in float32
    assert model.log_evidence({"x": drawn}).sum().item() == pytest.approx(right, abs=1e-3)


def test_poisson_rates_of_a_hundred_thousand():
    drawn = np.random.default_rng(6).poisson(1e5, size=(1_000, 1))
    right = stats.poisson(drawn.mean()).logpmf(drawn).sum()
    for dtype in (None, torch.float32):
        fit = EM(dtype=dtype).fit(PoissonMixture(1, 1), drawn)
        assert fit.history.bound.iloc[-1] == pytest.approx(right, abs=1e-3)
    model = PoissonMixture(1, 1)
    model.rates = torch.tensor([[drawn.mean()]]).float()
    assert log_joint(model, torch.tensor(drawn).float()) == pytest.approx(right, abs=0.01)


def log_joint(model: LatentVariableModel, x: torch.Tensor) -> float:
    held = poutine.condition(model.model, {"assignment": torch.zeros(len(x), dtype=torch.long)})
    return poutine.trace(held).get_trace(x).log_prob_sum().item()


def test_words_of_long_documents_and_counts_at_high_rates():
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    drawn = np.random.default_rng(7).multinomial(1_000_000, shares, size=50)
    found = RowMultinomial(1, log_probs=torch.tensor(shares).log().float()).log_prob(torch.tensor(drawn).float())
    # the rounding of the probabilities' logarithms counts as often as there are words
    np.testing.assert_allclose(found.numpy(), stats.multinomial(1_000_000, shares).logpmf(drawn), atol=0.1)
    counts = torch.tensor([0.0, 1.0, 9.99e5, 1.0e6])
    expected = stats.poisson(1e6).logpmf(counts.numpy())
    np.testing.assert_allclose(CountPoisson(torch.tensor(1e6)).log_prob(counts).numpy(), expected, rtol=1e-6)
    rate = torch.tensor([3.0, 1e5], requires_grad=True)
    CountPoisson(rate).log_prob(torch.tensor([0.0, 1.01e5])).sum().backward()
    torch.testing.assert_close(rate.grad, torch.tensor([-1.0, 0.01]))


def test_cavi_goes_on_where_float32_cannot_see_the_rise():
    """Rises below the bound's rounding are averaged over updates: no end on a slope, and no flicker without one."""
    drawn = np.random.default_rng(8)
    x = np.concatenate([drawn.standard_normal((400, 2)) + np.array([k, 0]) for k in (0, 1.5, 3)])
    wide = CAVI(steps=1_000).fit(BayesianGaussianMixture(3, 2), x)
    narrow = CAVI(steps=1_000, dtype=torch.float32).fit(BayesianGaussianMixture(3, 2), x)
    assert wide.info["converged"] and narrow.info["converged"]
    assert last(narrow) == pytest.approx(last(wide), abs=2e-5)
    assert narrow.info["dtype"] == "float32"
