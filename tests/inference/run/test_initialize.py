"""A model is started at its data once: a fit of a fitted model goes on from where that fit ended."""

from __future__ import annotations

import functools

import pytest
import torch

from jensen.inference import CAVI, EM, SVI, AuxiliaryELBO, LossMinimization, load
from jensen.models import (
    VAE,
    VQVAE,
    BayesianGaussianMixture,
    FactorAnalysis,
    GaussianMixture,
    SemiSupervisedVAE,
    VampPrior,
)

X = torch.cat([torch.randn(40, 4, generator=torch.Generator().manual_seed(k)) + 3 * k for k in range(2)])
OTHER = 2 * torch.randn(60, 4, generator=torch.Generator().manual_seed(9)) - 5
STILL = {"steps": 1, "lr": 1e-30, "progress": False}

CASES = {
    "mixture": (lambda: GaussianMixture(2, 4), SVI(steps=20, progress=False), SVI(**STILL)),
    "mixture, EM then SVI": (
        lambda: GaussianMixture(2, 4),
        EM(steps=5, progress=False),
        SVI(dtype=torch.float64, **STILL),
    ),
    "factors": (lambda: FactorAnalysis(4, 1), SVI(steps=20, progress=False), SVI(**STILL)),
    "gaussian scales": (
        lambda: VAE(4, 2, likelihood="gaussian", hidden=(5,)),
        SVI(steps=20, progress=False),
        SVI(**STILL),
    ),
    "pseudo-inputs": (
        lambda: VAE(4, 2, likelihood="gaussian", hidden=(5,), prior=VampPrior((4,), 3)),
        SVI(steps=20, progress=False),
        SVI(**STILL),
    ),
    "codebook": (
        lambda: VQVAE(4, 6, 2, likelihood="gaussian", hidden=(5,)),
        LossMinimization(steps=20, progress=False),
        LossMinimization(**STILL),
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    torch.manual_seed(0)
    build, first, second = CASES[request.param]
    return build(), first, second


def parameters(model):
    """The parameters as they read, which stay when the floor that one of them stands on follows other data."""
    names = [name.removesuffix("_unconstrained") for name, _ in model.named_parameters()]
    return {name: functools.reduce(getattr, name.split("."), model).detach().clone() for name in names}


def test_a_fitted_model_stays_where_it_is(case):
    model, first, second = case
    fit = first.fit(model, {"x": X}, seed=0)
    before = parameters(fit.model)
    further = second.fit(fit.model, {"x": OTHER}, seed=1)
    assert not model.fitted
    assert fit.model.fitted
    torch.testing.assert_close(parameters(further.model), before)


def test_and_so_does_one_from_a_folder(case, tmp_path):
    model, first, second = case
    fit = first.fit(model, {"x": X}, seed=0)
    fit.save(tmp_path / "fit")
    loaded = load(tmp_path / "fit", model=model if model.init_arguments.get("prior") else None)
    further = second.fit(loaded.model, {"x": OTHER}, seed=1)
    torch.testing.assert_close(parameters(further.model), parameters(fit.model))


def test_a_new_model_starts_at_its_data(case):
    model, first, _ = case
    one, other = first.fit(model, {"x": X}, seed=0), first.fit(model, {"x": OTHER}, seed=0)
    here, there = parameters(one.model), parameters(other.model)
    assert max(float((here[name] - there[name]).abs().max()) for name in here) > 1.0


def test_em_goes_on_uphill():
    few = EM(steps=3, tolerance=1e-12, progress=False).fit(GaussianMixture(2, 4), {"x": OTHER}, seed=0)
    more = EM(steps=3, tolerance=1e-12, progress=False).fit(few.model, {"x": OTHER}, seed=5)
    whole = EM(steps=6, tolerance=1e-12, progress=False).fit(GaussianMixture(2, 4), {"x": OTHER}, seed=0)
    torch.testing.assert_close(more.history.bound.iloc[-1], whole.history.bound.iloc[-1])


def test_the_priors_of_a_fit_by_coordinate_ascent_stay():
    fit = CAVI(steps=3, progress=False).fit(BayesianGaussianMixture(2, 4), {"x": X}, seed=0)
    assert fit.model.fitted
    for method in (CAVI(steps=2, progress=False), SVI(steps=2, compile=False, progress=False)):
        more = method.fit(fit.model, {"x": OTHER}, seed=0)
        assert torch.equal(more.model.location, fit.model.location.to(more.model.location.dtype))
        assert torch.equal(more.model.scatter, fit.model.scatter.to(more.model.scatter.dtype))


def test_the_share_of_labels_is_that_of_each_fit():
    torch.manual_seed(0)
    y = (X[:, 0] > 1.5).long()
    model = SemiSupervisedVAE(4, 2, 2, likelihood="gaussian", hidden=(5,))
    method = SVI(AuxiliaryELBO(weight=0.1), steps=2, progress=False)
    first = method.fit(model, {"x": X, "y": y}, seed=0)
    assert float(first.model.labelled_fraction) == 1.0
    few = torch.where(torch.arange(len(y)) % 4 == 0, y, -1)
    assert float(method.fit(first.model, {"x": X, "y": few}, seed=0).model.labelled_fraction) == 0.25


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_em_starts_from_parameters_set_by_hand(float64):
    """Step by step the path of scikit-learn's EM from the same weights, means and covariances."""
    mixture = pytest.importorskip("sklearn.mixture")
    x = OTHER.double()
    weights, means, scale = torch.tensor([0.3, 0.7]), x[:2].clone(), torch.tensor([[1.0] * 4, [3.0] * 4])
    model = GaussianMixture(2, 4, "diagonal", min_scale=1e-6)
    model.weights, model.scale = weights, scale
    model.means.data.copy_(means)
    model.fitted = True
    for steps in (1, 2, 7):
        fit = EM(steps=steps, tolerance=1e-15, progress=False).fit(model, {"x": x}, seed=steps)
        peer = mixture.GaussianMixture(
            2,
            covariance_type="diag",
            reg_covar=0.0,
            tol=0.0,
            max_iter=steps,
            weights_init=weights.numpy(),
            means_init=means.numpy(),
            precisions_init=scale.pow(-2).numpy(),
        ).fit(x.numpy())
        torch.testing.assert_close(fit.model.means.detach(), torch.as_tensor(peer.means_))
        torch.testing.assert_close(fit.model.weights.detach(), torch.as_tensor(peer.weights_))
        torch.testing.assert_close(fit.model.scale.detach().square(), torch.as_tensor(peer.covariances_))
    torch.testing.assert_close(model.means.detach(), means)


def test_svi_starts_from_parameters_set_by_hand():
    model = GaussianMixture(2, 4)
    model.means.data.copy_(X[[0, -1]])
    model.fitted = True
    torch.testing.assert_close(parameters(SVI(**STILL).fit(model, {"x": X}).model), parameters(model))
