"""EM of the Gaussian mixture against scikit-learn, its monotony, and data that are hard on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture as Peer

from jensen.inference import EM, SVI, TraceEnum_ELBO
from jensen.models import GaussianMixture
from jensen.models.common.covariance import floored

COVARIANCES = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}


def data(rows: int = 600, features: int = 3, seed: int = 0, distance: float = 2.5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    means = distance * torch.randn(4, features, generator=generator)
    mixing = torch.randn(4, features, features, generator=generator) / features**0.5
    component = torch.randint(4, (rows,), generator=generator)
    noise = torch.randn(rows, features, generator=generator)
    return means[component] + (mixing[component] @ noise.unsqueeze(-1)).squeeze(-1) + 0.3 * noise


def precisions(model: GaussianMixture) -> np.ndarray:
    with torch.no_grad():
        if model.covariance_type in ("full", "tied"):
            return torch.cholesky_inverse(model.scale_tril).numpy()
        return model.scale.pow(-2).numpy()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_every_iteration_is_scikit_learns(covariance: str, shift: float, float64: None) -> None:
    x = data() + shift
    start = GaussianMixture(4, 3, covariance, min_scale=1e-6)
    start.initialize({"x": x}, seed=1)
    steps = 25
    fit = EM(steps=steps, tolerance=1e-15).fit(started(start), x)
    peer = Peer(
        4,
        covariance_type=COVARIANCES[covariance],
        reg_covar=0.0,
        tol=0.0,
        max_iter=steps,
        weights_init=start.weights.detach().numpy(),
        means_init=start.means.detach().numpy(),
        precisions_init=precisions(start),
    ).fit(x.numpy())
    found = fit.model.log_evidence({"x": x}).mean().item()
    assert found == pytest.approx(peer.score(x.numpy()), abs=1e-6)
    assert fit.history.bound_per_datum.iloc[-1] == pytest.approx(found, abs=1e-9)
    np.testing.assert_allclose(fit.model.means.detach(), peer.means_, rtol=1e-6, atol=1e-5)
    assert fit.model.bic({"x": x}) == pytest.approx(peer.bic(x.numpy()), rel=1e-7)
    assert fit.model.aic({"x": x}) == pytest.approx(peer.aic(x.numpy()), rel=1e-7)


def started(start: GaussianMixture) -> GaussianMixture:
    """The mixture, which a fit starts from where it is."""
    start.fitted = True
    return start


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("seed", range(3))
def test_no_iteration_lowers_the_likelihood(covariance: str, seed: int, float64: None) -> None:
    x = data(seed=seed)
    fit = EM(steps=60, tolerance=1e-12).fit(GaussianMixture(6, 3, covariance, min_scale=0.2), x, seed=seed)
    assert (fit.history.bound.diff().dropna() > -1e-8).all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_gradients_find_no_more(covariance: str, float64: None) -> None:
    x = data(300)
    exact = EM().fit(GaussianMixture(4, 3, covariance), x)
    noisy = SVI(TraceEnum_ELBO(), steps=600, lr=0.02).fit(GaussianMixture(4, 3, covariance), x)
    assert exact.history.bound_per_datum.iloc[-1] >= noisy.history.bound_per_datum.max() - 5e-3


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_constant_column_meets_the_floor(covariance: str, float64: None) -> None:
    x = data(200)
    x[:, 1] = 5.0
    fit = EM(steps=30).fit(GaussianMixture(3, 3, covariance, min_scale=0.01), x)
    assert torch.isfinite(fit.model.log_evidence({"x": x})).all()
    if covariance == "diagonal":
        torch.testing.assert_close(fit.model.scale[:, 1].detach(), torch.full((3,), 0.0101))


@pytest.mark.parametrize("covariance", ["full", "tied"])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_collinear_columns_are_fitted(covariance: str, scale: float, dtype: torch.dtype) -> None:
    z = scale * torch.randn(300, 1, dtype=torch.float64)
    x = torch.cat([z, 2 * z, -z], 1)
    fit = EM(steps=30, dtype=dtype).fit(GaussianMixture(2, 3, covariance), x)
    bound = torch.tensor(fit.history.bound.tolist(), dtype=torch.float64)
    slack = 1_000 * torch.finfo(dtype).eps * bound.abs().clamp_min(len(x)).clamp_min(1e-7 * len(x))
    assert (bound.diff() > -slack[1:]).all()
    one = EM(steps=5, dtype=dtype).fit(GaussianMixture(1, 3, covariance), x).model.scale_tril.detach().double()
    largest = torch.linalg.svdvals(one.reshape(3, 3))[0].square()
    torch.testing.assert_close(largest, 6 * z.var(correction=0), rtol=1e-4, atol=0)


def test_a_singular_component_has_a_floor_and_the_others_none() -> None:
    healthy, line = torch.tensor([[1e-3, 0.0], [0.0, 2e-3]]), torch.tensor([[4.0, 8.0], [8.0, 16.0]])
    factor = floored(torch.stack([healthy, line]), torch.full((2,), 1e-4), torch.tensor(1e12)).double()
    torch.testing.assert_close(factor[0] @ factor[0].mT, healthy.double(), rtol=1e-6, atol=0)
    floor = 10 * torch.finfo(torch.float32).eps * 1e4
    values = torch.linalg.eigvalsh(factor[1] @ factor[1].mT)
    torch.testing.assert_close(values, torch.tensor([floor, 20.0], dtype=torch.float64), rtol=1e-4, atol=0)
    assert (factor.diagonal(dim1=-2, dim2=-1) > 0).all() and (factor.triu(1) == 0).all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_scores_do_not_hold_every_component_of_every_datum(covariance: str, float64: None) -> None:
    x, model = data(20_000, 8), GaussianMixture(10, 8, covariance)
    model.initialize({"x": x[:200]}, 0)
    with torch.no_grad(), torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        found = model.log_evidence({"x": x})
    assert max(event.cpu_memory_usage for event in profile.events()) < 20_000 * 10 * 8 * 2
    each = model.component(torch.arange(10)).log_prob(x.unsqueeze(-2))
    torch.testing.assert_close(found, (each + model.weights.log()).logsumexp(-1).detach())


def test_a_component_without_data_stays(float64: None) -> None:
    x = torch.cat([torch.randn(50, 2), torch.randn(50, 2) + 8]) + 1e3
    model = started(GaussianMixture(3, 2))
    model.means.data.copy_(torch.tensor([[1e3, 1e3], [1008.0, 1008.0], [-1e6, 0.0]]))
    fit = EM(steps=5).fit(model, x)
    assert fit.model.means[2].tolist() == [-1e6, 0.0]
    assert fit.model.weights[2] < 1e-12 and torch.isfinite(fit.history.bound.pipe(torch.as_tensor)).all()


def test_repeated_rows_do_not_make_a_spike(float64: None) -> None:
    x = torch.cat([torch.zeros(20, 2), data(80, 2)])
    fit = EM(restarts=3).fit(GaussianMixture(4, 2, min_scale=0.05), x)
    directions = torch.linalg.eigvalsh(fit.model.scale_tril.detach() @ fit.model.scale_tril.detach().mT)
    assert directions.min() >= 0.05**2


def test_the_true_parameters_are_found(float64: None) -> None:
    truth = GaussianMixture(3, 2)
    truth.means.data.copy_(torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]]))
    truth.weights = torch.tensor([0.5, 0.3, 0.2])
    x = truth.generate(6_000, seed=0)["x"]
    fit = EM(restarts=2).fit(GaussianMixture(3, 2), x)
    order = fit.model.means.detach().sum(-1).argsort()
    first = order[0]
    torch.testing.assert_close(fit.model.means[first].detach(), torch.zeros(2), atol=0.08, rtol=0)
    torch.testing.assert_close(
        fit.model.weights.detach().sort().values, torch.tensor([0.2, 0.3, 0.5]), atol=0.03, rtol=0
    )
    assert fit.history.bound_per_datum.iloc[-1] >= truth.log_evidence({"x": x}).mean().item()
