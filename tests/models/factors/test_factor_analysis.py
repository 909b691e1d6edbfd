"""Factor analysis and probabilistic PCA against scikit-learn, dense Gaussians and closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.datasets
import sklearn.decomposition
import torch

from jensen.inference import EM, SVI, DataError, TraceMeanField_ELBO, elbo_terms, log_evidence
from jensen.models import (
    PPCA,
    EMModel,
    FactorAnalysis,
    HasExactEvidence,
    HasExactGuide,
    HasExactPosterior,
    HasPrediction,
    varimax,
)
from jensen.models.factors.base import FactorModel

MODELS = [FactorAnalysis, PPCA]


@pytest.fixture
def wine(float64: None) -> torch.Tensor:
    x = sklearn.datasets.load_wine().data
    return torch.as_tensor((x - x.mean(0)) / x.std(0)) + torch.arange(13.0)


def with_gaps(x: torch.Tensor, share: float = 0.2, seed: int = 0) -> torch.Tensor:
    gone = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < share
    return x.masked_fill(gone, torch.nan)


def started(cls: type[FactorModel], x: torch.Tensor, latent_dim: int, **options: Any) -> FactorModel:
    model = cls(x.shape[1], latent_dim, **options)
    model.initialize({"x": x}, 3)
    return model


def far(cls: type[FactorModel], *arguments: Any) -> FactorModel:
    """A model that EM starts far from the optimum, where its constructor leaves it."""
    model = cls(*arguments)
    model.fitted = True
    return model


def dense(model: FactorModel) -> tuple[np.ndarray, np.ndarray]:
    return model.bias.detach().numpy(), model.covariance.detach().numpy()


@pytest.mark.parametrize("cls", MODELS)
def test_the_models_offer_their_closed_forms(cls: type[FactorModel]) -> None:
    for protocol in (EMModel, HasExactEvidence, HasExactGuide, HasExactPosterior, HasPrediction):
        assert isinstance(cls(4, 2), protocol)


@pytest.mark.parametrize("latent_dim", [1, 3])
@pytest.mark.parametrize("start", [FactorAnalysis, lambda *sizes: far(FactorAnalysis, *sizes)], ids=["near", "far"])
def test_em_of_factor_analysis_reaches_scikit_learns_optimum(wine: torch.Tensor, latent_dim: int, start: Any) -> None:
    fit = EM(steps=2_000, tolerance=1e-9).fit(start(13, latent_dim), wine, seed=0)
    peer = sklearn.decomposition.FactorAnalysis(latent_dim, tol=1e-10, max_iter=20_000, svd_method="lapack")
    peer.fit(wine.numpy())
    assert fit.info["converged"]
    assert fit.history.bound_per_datum.iloc[-1] == pytest.approx(peer.score(wine.numpy()), abs=1e-4)
    torch.testing.assert_close(fit.model.noise.detach(), torch.as_tensor(peer.noise_variance_), atol=0.02, rtol=0)
    np.testing.assert_allclose(dense(fit.model)[1], peer.get_covariance(), atol=5e-3)


@pytest.mark.parametrize("rows", [178, 9])
def test_the_optimum_of_ppca_is_scikit_learns_pca(wine: torch.Tensor, rows: int) -> None:
    x = wine[:: 178 // rows][:rows]
    peer = sklearn.decomposition.PCA(3, svd_solver="full").fit(x.numpy())
    model = PPCA(13, 3)
    model.set_optimum({"x": x}, correction=1)
    if rows > 13:  # below, scikit-learn averages over min(N, D) - L eigenvalues, not over D - L
        assert model.log_evidence({"x": x}).mean().item() == pytest.approx(peer.score(x.numpy()), abs=1e-8)
        np.testing.assert_allclose(model.noise[0].item(), peer.noise_variance_, rtol=1e-9)
    directions = (model.weight / model.weight.norm(dim=0)).detach().numpy()
    np.testing.assert_allclose(np.abs(directions.T @ peer.components_.T), np.eye(3), atol=1e-7)
    corrected = model.log_evidence({"x": x}).mean()
    model.set_optimum({"x": x})
    assert model.log_evidence({"x": x}).mean() > corrected


def test_em_of_ppca_reaches_the_optimum_from_far(wine: torch.Tensor) -> None:
    fit = EM(steps=2_000, tolerance=1e-11).fit(far(PPCA, 13, 3), wine)
    model = PPCA(13, 3)
    model.set_optimum({"x": wine})
    assert fit.history.bound_per_datum.iloc[-1] == pytest.approx(
        model.log_evidence({"x": wine}).mean().item(), abs=1e-7
    )
    fit.model.rotate("principal")
    torch.testing.assert_close(fit.model.weight, model.weight, atol=1e-3, rtol=0)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("cls", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_no_step_of_em_lowers_the_likelihood(wine: torch.Tensor, cls: type[FactorModel], gaps: bool, seed: int) -> None:
    torch.manual_seed(seed)
    x = with_gaps(wine, 0.3, seed) if gaps else wine
    model, bounds = cls(13, 4), []
    for _ in range(60):
        statistics, bound = model.e_step({"x": x})
        assert bound.item() == pytest.approx(model.log_evidence({"x": x}).sum().item(), rel=1e-12)
        bounds.append(bound)
        model.m_step(statistics)
    assert (torch.stack(bounds).diff() > -1e-8).all()


def test_a_step_of_em_raises_the_expected_complete_likelihood_to_its_maximum(wine: torch.Tensor) -> None:
    """W, mean and noise of the M step, before the factors' own moments are absorbed, zero the gradient of Q."""
    x = with_gaps(wine)
    model = started(FactorAnalysis, x, 2)
    moments, _ = model.e_step({"x": x})
    posterior = model.exact_posterior({"x": x})["z"]
    best, squares = moments.regression()
    weight, bias = best[:, :-1].clone().requires_grad_(), (best[:, -1] + moments.centre).requires_grad_()
    noise = (squares / moments.counts).requires_grad_()
    residual = x.nan_to_num() - posterior.mean.detach() @ weight.mT - bias
    spread = torch.einsum("dk,nkl,dl->nd", weight, posterior.covariance_matrix.detach(), weight)
    density = -0.5 * (noise.log() + (residual.square() + spread) / noise)
    density[~x.isnan()].sum().backward()
    for value in (weight, bias, noise):
        assert value.grad.abs().max() < 1e-8


@pytest.mark.parametrize("cls", MODELS)
def test_with_gaps_all_is_as_in_the_dense_gaussian(wine: torch.Tensor, cls: type[FactorModel]) -> None:
    model = started(cls, wine, 3)
    x = with_gaps(wine, 0.4)[:20]
    x[3], x[5] = wine[3], torch.nan  # one row complete, one without any value
    evidence, scores = model.log_evidence({"x": x}), model.predict({"x": x})
    posterior, imputed = model.exact_posterior({"x": x})["z"], model.impute({"x": x})
    mean, covariance = dense(model)
    weight = model.weight.detach().numpy()
    torch.testing.assert_close(scores, posterior.mean)
    assert evidence[5] == 0
    torch.testing.assert_close(posterior.covariance_matrix[5].detach(), torch.eye(3))
    for n, row in enumerate(x.numpy()):
        seen = ~np.isnan(row)
        if not seen.any():
            continue
        block = covariance[np.ix_(seen, seen)]
        expected = scipy.stats.multivariate_normal(mean[seen], block).logpdf(row[seen])
        assert evidence[n].item() == pytest.approx(expected, abs=1e-9)
        gain = np.linalg.solve(block, weight[seen])
        np.testing.assert_allclose(posterior.mean[n].detach(), gain.T @ (row[seen] - mean[seen]), atol=1e-9)
        np.testing.assert_allclose(
            posterior.covariance_matrix[n].detach(), np.eye(3) - weight[seen].T @ gain, atol=1e-9
        )
        cross = covariance[np.ix_(~seen, seen)]
        expected = mean[~seen] + cross @ np.linalg.solve(block, row[seen] - mean[seen])
        np.testing.assert_allclose(imputed[n, ~seen], expected, atol=1e-9)
        np.testing.assert_array_equal(imputed[n, seen], row[seen])


@pytest.mark.parametrize("cls", MODELS)
def test_complete_rows_go_the_same_way_as_rows_with_gaps(
    wine: torch.Tensor, cls: type[FactorModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, general = started(cls, wine, 2), started(cls, wine, 2)
    for _ in range(3):
        first, a = plain.e_step({"x": wine})
        with monkeypatch.context() as patch:
            patch.setattr(
                "jensen.models.factors.woodbury.row_groups",
                lambda x, _: [(None, part, torch.ones_like(part, dtype=torch.bool)) for part in x.split(50)],
            )
            second, b = general.e_step({"x": wine})
        assert first.design is None and second.design is not None
        torch.testing.assert_close(a, b)
        plain.m_step(first)
        general.m_step(second)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, general.state_dict()[name])


@pytest.mark.parametrize("cls", MODELS)
def test_parameters_are_recovered_with_a_fifth_of_the_values_missing(cls: type[FactorModel], float64: None) -> None:
    truth = cls(8, 2)
    complete = truth.generate(4_000, seed=1)["x"] + 5.0
    x = with_gaps(complete)
    fit = EM(steps=500).fit(cls(8, 2), x, seed=0)
    (mean, covariance), found = dense(truth), dense(fit.model)
    deviation = np.sqrt(covariance.diagonal())
    assert np.abs((found[0] - mean - 5.0) / deviation).max() < 5 / np.sqrt(0.8 * len(x))
    # A covariance of two columns is seen in 0.64 of the rows; its standard error is at most sqrt(2) of their product.
    assert np.abs((found[1] - covariance) / np.outer(deviation, deviation)).max() < 5 * np.sqrt(2 / (0.64 * len(x)))
    evidence = fit.history.bound_per_datum.iloc[-1]
    truth.bias.data += 5.0
    assert evidence > truth.log_evidence({"x": x}).mean().item()
    gone = x.isnan()
    error = (fit.model.impute({"x": x}) - complete)[gone].square().mean()
    best = (truth.impute({"x": x}) - complete)[gone].square().mean()
    assert error < 1.02 * best < 0.8 * complete.var(0).mean()


@pytest.mark.parametrize("cls", MODELS)
def test_svi_reaches_the_exact_evidence(wine: torch.Tensor, cls: type[FactorModel]) -> None:
    class Ignorant(cls):  # type: ignore[misc, valid-type]
        def initialize(self, batch: Any, seed: int) -> None:
            super().initialize(batch, seed)
            self.guide_weight.data.zero_()
            self.guide_scale = torch.eye(2)

    x = wine[:60]
    fit = SVI(TraceMeanField_ELBO(2), steps=1_500, lr=1e-2, compile="trace", average=0.5).fit(Ignorant(13, 2), x)
    exact = fit.model.log_evidence({"x": x}).mean().item()
    bound = elbo_terms(fit, num_particles=1_000, seed=1)
    assert exact - 0.02 < bound.value / len(x) < exact + 4 * bound.stderr / len(x)
    best = EM(steps=1_000).fit(cls(13, 2), x).history.bound_per_datum.iloc[-1]
    assert exact == pytest.approx(best, abs=0.1)


@pytest.mark.parametrize("cls", MODELS)
def test_after_em_the_guide_is_the_posterior(wine: torch.Tensor, cls: type[FactorModel]) -> None:
    fit = EM(steps=50).fit(cls(13, 2), wine)
    exact = fit.model.log_evidence({"x": wine}).sum().item()
    # Every importance weight is then the evidence itself.
    assert log_evidence(fit, num_particles=3, seed=0).value == pytest.approx(exact, abs=1e-6)
    before = dense(fit.model)
    for rotation in ("varimax", "principal", torch.tensor([[0.0, 1.0], [-1.0, 0.0]])):
        fit.model.rotate(rotation)
        np.testing.assert_allclose(dense(fit.model)[1], before[1], atol=1e-9)
        assert log_evidence(fit, num_particles=3, seed=0).value == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("cls", MODELS)
def test_svi_with_gaps_stays_below_the_exact_evidence(wine: torch.Tensor, cls: type[FactorModel]) -> None:
    x = with_gaps(wine)
    fit = SVI(TraceMeanField_ELBO(), steps=300, lr=1e-2, batch_size=50, compile="trace").fit(cls(13, 2), x, seed=0)
    assert all(torch.isfinite(value).all() for value in fit.program.state_dict().values())
    bound, exact = elbo_terms(fit, num_particles=200, seed=1), fit.model.log_evidence({"x": x}).sum().item()
    assert exact - 0.5 * len(x) < bound.value < exact + 4 * bound.stderr
    # The importance-weighted evidence counts the observed entries alone.
    weighted = log_evidence(fit, num_particles=2_000, seed=2)
    assert weighted.value == pytest.approx(exact, abs=5 * weighted.stderr + 0.01 * len(x))


def test_float32_keeps_its_digits_far_from_the_origin(wine: torch.Tensor) -> None:
    torch.set_default_dtype(torch.float32)
    model = started(FactorAnalysis, (wine + 100).float(), 3)
    fit = EM(steps=30).fit(model, (wine + 100).float())
    double = EM(steps=30, dtype=torch.float64).fit(model.double(), wine + 100)
    assert fit.history.bound_per_datum.iloc[-1] == pytest.approx(double.history.bound_per_datum.iloc[-1], abs=2e-3)
    torch.set_default_dtype(torch.float64)


@pytest.mark.parametrize("cls", MODELS)
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("share", [1e-2, 1e-3, 1e-4])
def test_float32_finds_noise_that_is_small_beside_the_signal(cls: type[FactorModel], gaps: bool, share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    loadings, factors, noise = (torch.randn(shape, generator=generator) for shape in ((10, 2), (400, 2), (400, 10)))
    x = factors @ loadings.mT + share * noise + 1.0
    x = with_gaps(x) if gaps else x
    narrow, exact = (
        EM(steps=100, dtype=dtype).fit(cls(10, 2, min_scale=1e-6), x) for dtype in (torch.float32, torch.float64)
    )
    assert (narrow.history.bound_per_datum.diff().dropna() > -1e-3).all()
    assert narrow.history.bound_per_datum.iloc[-1] == pytest.approx(exact.history.bound_per_datum.iloc[-1], abs=1e-3)
    torch.testing.assert_close(narrow.model.noise.double(), exact.model.noise, rtol=5e-3, atol=0)
    spreads = [torch.linalg.svdvals(fit.model.guide_scale.detach().double()) for fit in (narrow, exact)]
    torch.testing.assert_close(*spreads, rtol=5e-3, atol=0)  # whatever the rotation of the factors


def test_the_optimum_of_ppca_in_float32_has_the_small_eigenvalues() -> None:
    x = torch.randn(400, 2) @ torch.randn(2, 10) + 1e-4 * torch.randn(400, 10)
    for rows in (x, x[:8]):
        model = PPCA(10, 2, min_scale=1e-7)
        model.set_optimum({"x": rows})
        spectrum = torch.linalg.svdvals(rows.double() - rows.double().mean(0)).square() / len(rows)
        assert model.noise[0].item() == pytest.approx(spectrum[2:].sum().item() / 8, rel=5e-3)


def test_factors_that_float32_cannot_tell_apart_are_answered_for_in_float64() -> None:
    model = FactorAnalysis(3, 2)
    model.weight.data.copy_(1e3 * torch.ones(3, 2))
    model.scale = torch.full((3,), 1e-2)
    x = 1e3 * torch.randn(5, 1).expand(5, 3)
    covariance = (model.weight @ model.weight.mT).detach().double() + 1e-4 * torch.eye(3).double()
    expected = torch.distributions.MultivariateNormal(torch.zeros(3).double(), covariance).log_prob(x.double())
    found = model.log_evidence({"x": x}).detach()
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-4)  # of noise that float32 rounds


def test_factors_that_no_number_type_can_tell_apart_are_named() -> None:
    model = FactorAnalysis(3, 2)
    model.weight.data.copy_(1e7 * torch.ones(3, 2))
    model.scale = torch.full((3,), 1e-5)
    for call in (model.log_evidence, model.predict):
        with pytest.raises(ValueError, match=r"not positive definite .*in float64\. Standardise.*use fewer factors"):
            call({"x": torch.randn(5, 3)})


def test_a_constant_column_meets_the_floor(wine: torch.Tensor) -> None:
    wine[:, 4] = 3.0
    for cls in MODELS:
        fit = EM(steps=100).fit(cls(13, 2, min_scale=0.01), wine)
        assert torch.isfinite(fit.model.weight).all()
        assert (fit.history.bound.diff().dropna() > -1e-8).all()
    fit = EM(steps=100).fit(FactorAnalysis(13, 2, min_scale=0.01), wine)
    assert fit.model.noise[4].item() == pytest.approx(1e-4, rel=0.1)


def test_a_row_or_feature_without_values_changes_nothing(wine: torch.Tensor) -> None:
    x = with_gaps(wine)
    longer = torch.cat([x, torch.full((5, 13), torch.nan)])
    first, second = (EM(steps=200).fit(FactorAnalysis(13, 2), rows) for rows in (x, longer))
    assert first.history.bound.iloc[-1] == pytest.approx(second.history.bound.iloc[-1], abs=1e-2)
    model = started(FactorAnalysis, x, 2)
    mean = model.bias[6].item()
    x[:, 6] = torch.nan
    for _ in range(3):
        model.m_step(model.e_step({"x": x})[0])
    assert torch.isfinite(model.covariance).all()
    assert model.bias[6].item() == pytest.approx(mean, abs=1e-6)


def test_varimax_finds_simple_structure(float64: None) -> None:
    simple = torch.tensor([[3.0, 0, 0], [2.5, 0, 0], [0, 1.5, 0], [0, 1.0, 0], [0, 0, 0.8], [0, 0, 0.7]])
    for seed in range(3):
        turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed))).Q
        rotation = varimax(simple @ turn)
        torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3))
        torch.testing.assert_close(simple @ turn @ rotation, simple, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"`weight` must be loadings of shape \(D, L\), got \(3,\)"):
        varimax(torch.ones(3))


def test_bad_input_is_refused(wine: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="`latent_dim` must be at most 3 for 3 features, got 4"):
        FactorAnalysis(3, 4)
    with pytest.raises(ValueError, match="`latent_dim` must be at most 2 for 3 features, got 3"):
        PPCA(3, 3)
    with pytest.raises(ValueError, match="`num_features` must be positive, got 0"):
        FactorAnalysis(0, 1)
    with pytest.raises(ValueError, match="`min_scale` must be positive, got 0"):
        PPCA(3, 1, min_scale=0)
    with pytest.raises(DataError, match=r"`x` must have shape \(N, 13\)"):
        EM().fit(FactorAnalysis(13, 2), wine[:, :5])
    with pytest.raises(ValueError, match=r"`latent_dim` is 5, and `x` has only 5 rows\. Use fewer factors"):
        EM().fit(FactorAnalysis(13, 5), wine[:5])
    empty = wine.clone()
    empty[:, 7] = torch.nan
    with pytest.raises(ValueError, match=r"`x` has no value in column 7: every entry is missing\. Drop the column"):
        EM().fit(PPCA(13, 2), empty)
    empty[2, 7] = torch.inf
    with pytest.raises(DataError, match="`x` has 1 value that is not finite: the first is an infinity in row 2"):
        EM().fit(PPCA(13, 2), empty)
    with pytest.raises(ValueError, match=r"`x` has missing values, with which there is no closed form\. Use EM"):
        PPCA(13, 2).set_optimum({"x": with_gaps(wine)})
    with pytest.raises(ValueError, match="`x` must have more rows than `latent_dim` = 5, got 5"):
        PPCA(13, 5).set_optimum({"x": wine[:5]})
    with pytest.raises(ValueError, match=r"`rotation` must be one of .* got 'varimx'\. Did you mean 'varimax'"):
        PPCA(13, 2).rotate("varimx")
    with pytest.raises(ValueError, match=r"`rotation` must be an orthogonal matrix \(2, 2\)"):
        PPCA(13, 2).rotate(torch.ones(2, 2))
