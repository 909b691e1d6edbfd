"""What is read off fitted models: covariances and precisions of one name and shape everywhere, and variances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.decomposition
import sklearn.mixture
import torch

from jensen.inference import CAVI, EM
from jensen.models import PPCA, BayesianGaussianMixture, FactorAnalysis, GaussianMixture, HiddenMarkovModel

KINDS = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}


def clusters(rows: int = 90) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    centres = torch.tensor([[0.0, 0.0], [6.0, 1.0], [-2.0, 7.0]])
    mixing = torch.tensor([[1.0, 0.0], [0.6, 0.5]])
    noise = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    return centres.to(noise)[torch.arange(rows) % 3] + noise @ mixing.to(noise).mT


def full(covariances: Any, kind: str) -> torch.Tensor:
    """scikit-learn's ``covariances_`` of three components in two dimensions as ``(3, 2, 2)``."""
    found = torch.as_tensor(covariances)
    if kind in ("full", "tied"):
        return found.expand(3, 2, 2)
    return torch.diag_embed(found.reshape(3, -1).expand(3, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_mixtures_covariance_is_scikit_learns_in_one_shape(kind: str, float64: None) -> None:
    x = clusters()
    fit = EM(progress=False).fit(GaussianMixture(3, 2, kind, min_scale=1e-6), x)
    found = fit.model
    peer = sklearn.mixture.GaussianMixture(3, covariance_type=KINDS[kind], reg_covar=0.0, tol=1e-10, max_iter=500)
    peer.means_init = found.means.detach().numpy()
    peer.fit(x.numpy())
    assert found.covariance_type == kind
    assert found.covariance.shape == found.precision.shape == (3, 2, 2)
    torch.testing.assert_close(found.covariance.detach(), full(peer.covariances_, kind), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.precision @ found.covariance, torch.eye(2).expand(3, 2, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_bayesian_mixtures_factors_and_draws_have_the_same_shape(kind: str, float64: None) -> None:
    model = BayesianGaussianMixture(3, 2, kind)
    fit = CAVI(progress=False).fit(model, clusters())
    guide = fit.guide
    assert fit.model.covariance_type == guide.covariance_type == kind
    assert guide.covariance.shape == guide.precision.shape == (3, 2, 2)
    torch.testing.assert_close(guide.precision @ guide.covariance, torch.eye(2).expand(3, 2, 2))
    assert float(guide.weights.sum()) == pytest.approx(1.0)
    draws = fit.posterior(4_000, seed=0)
    covariances = fit.model.covariances(**draws)
    assert covariances.shape == (4_000, 3, 2, 2)
    precisions = torch.linalg.inv(covariances)
    error = precisions.std(0) / 4_000**0.5
    assert bool(((precisions.mean(0) - guide.precision).abs() <= 5 * error + 1e-9).all())
    torch.testing.assert_close(draws["weights"].mean(0), guide.weights, atol=5 * 0.06 / 4_000**0.5, rtol=0)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_a_hidden_markov_models_covariance_has_the_shape_of_a_mixtures(kind: str, float64: None) -> None:
    model = HiddenMarkovModel(3, 2, covariance=kind)
    fit = EM(steps=3, progress=False).fit(model, clusters()[None])
    assert fit.model.covariance_type == kind
    found = fit.model.covariance
    assert found.shape == (3, 2, 2)
    variances = fit.model.scale_tril.square().sum(-1) if kind == "full" else fit.model.scale.square()
    torch.testing.assert_close(found.diagonal(dim1=-2, dim2=-1), variances)
    torch.testing.assert_close(fit.model.precision @ found, torch.eye(2).expand(3, 2, 2))
    assert not hasattr(HiddenMarkovModel(3, num_categories=4), "covariance")


@pytest.mark.parametrize("cls", [FactorAnalysis, PPCA])
def test_a_factor_models_precision_is_the_inverse_of_its_covariance(cls: type, float64: None) -> None:
    model = cls(5, 2)
    model.scale = torch.tensor(0.3) if cls is PPCA else torch.tensor([0.3, 1.0, 0.1, 2.0, 0.5])
    torch.testing.assert_close(model.precision, torch.linalg.inv(model.covariance))
    shares = 1 - model.noise / model.covariance.diagonal()
    torch.testing.assert_close(model.communalities, shares)


def test_ppca_reads_as_scikit_learns_pca(float64: None) -> None:
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(1)) @ torch.randn(5, 5) + 3.0
    peer = sklearn.decomposition.PCA(2).fit(x.numpy())
    model = PPCA(5, 2)
    model.set_optimum({"x": x}, correction=1)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    for rotated in (False, True):
        if rotated:
            model.rotate(turn)
        np.testing.assert_allclose(model.explained_variance.detach(), peer.explained_variance_)
        np.testing.assert_allclose(model.explained_variance_ratio.detach(), peer.explained_variance_ratio_)
        signs = np.sign((model.components.detach().numpy() * peer.components_).sum(1, keepdims=True))
        np.testing.assert_allclose(model.components.detach(), signs * peer.components_)
        assert bool((model.components.amax(-1) >= -model.components.amin(-1)).all())
    torch.testing.assert_close(model.explained_variance, torch.linalg.eigvalsh(model.covariance)[-2:].flip(0))
