"""The Bayesian Gaussian mixture: CAVI against scikit-learn and closed forms, the density by hand, starts, bad input."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import scipy.stats
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS
from scipy.special import multigammaln
from sklearn.mixture import BayesianGaussianMixture as Reference

from jensen.inference import CAVI, SVI, Trace_ELBO, align_labels, elbo_terms, load, log_evidence
from jensen.models import BayesianGaussianMixture
from jensen.models.common.parameter_scope import local_parameters
from jensen.models.mixtures.bayesian_gaussian_cavi import GaussianMixtureCoordinates

COVARIANCES = ["full", "tied", "diagonal", "spherical"]
CENTRES = ((4.0, 0.0), (0.0, 0.0), (-3.0, -3.0))


def clusters(rows: int = 120, features: int = 2, seed: int = 0) -> torch.Tensor:
    """Three groups, of halves, thirds and sixths of the rows."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (rows // 2, rows // 3, rows - rows // 2 - rows // 3)
    parts = [
        torch.randn(n, 2, generator=generator) * 0.6 + torch.tensor(c) for n, c in zip(sizes, CENTRES, strict=True)
    ]
    return torch.cat(parts)[:, :features]


def started(model: BayesianGaussianMixture, x: torch.Tensor, share: torch.Tensor) -> GaussianMixtureCoordinates:
    """Factors from given responsibilities, by the formulas as they stand in Bishop."""
    model.initialize({"x": x}, 0)
    rows = share.sum(0)
    averages = share.mT @ x / rows[:, None]
    gap = x[:, None] - averages
    spread = torch.einsum("nk,nki,nkj->kij", share, gap, gap)
    if model.covariance_type in ("diagonal", "spherical"):
        spread = spread.diagonal(dim1=-2, dim2=-1)
    prior = model.prior()
    alpha = torch.full_like(rows, model.concentration)
    return GaussianMixtureCoordinates(alpha, prior, rows, prior.posterior(rows, averages, spread))


def reference(x: torch.Tensor, share: torch.Tensor, sweeps: int, kind: str) -> Reference:
    """scikit-learn after as many sweeps from the same responsibilities."""

    class Started(Reference):
        def _initialize_parameters(self, X, random_state, xp=None):
            self._initialize(X, share.numpy())

    options = {"weight_concentration_prior_type": "dirichlet_distribution", "reg_covar": 0.0, "tol": 0.0}
    peer = Started(n_components=share.shape[1], covariance_type=kind, max_iter=sweeps, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peer.fit(x.numpy())


@pytest.mark.parametrize(
    ("covariance", "kind", "features", "sweeps"),
    # With more than one feature scikit-learn takes a diagonal precision's expected logarithm from the Wishart law of a
    # full one: its E step is another model's. Its factors given responsibilities are the same.
    [("full", "full", 2, 1), ("full", "full", 2, 25), ("diagonal", "diag", 1, 25), ("diagonal", "diag", 2, 0)],
)
def test_sweeps_equal_scikit_learns(covariance: str, kind: str, features: int, sweeps: int, float64: None) -> None:
    x = clusters(features=features)
    share = torch.rand(120, 4).softmax(-1)
    guide = started(BayesianGaussianMixture(4, features, covariance), x, share)
    if sweeps:
        for _ in range(sweeps):
            guide.update({"x": x})
        peer = reference(x, share, sweeps, kind)
        np.testing.assert_allclose(guide.predict({"x": x}).numpy(), peer.predict_proba(x.numpy()), atol=1e-6)
    else:
        peer = Reference(n_components=4, covariance_type=kind, reg_covar=0.0)
        peer.weight_concentration_prior_type = "dirichlet_distribution"
        peer._check_parameters(x.numpy())
        peer._initialize(x.numpy(), share.numpy())
    pairs = {
        "means_": guide.means,
        "mean_precision_": guide.mean_precision,
        "degrees_of_freedom_": guide.degrees,
        "covariances_": guide.covariance if kind == "full" else guide.covariance.diagonal(dim1=-2, dim2=-1),
        "weight_concentration_": guide.concentration,
    }
    for name, value in pairs.items():
        np.testing.assert_allclose(value.numpy(), getattr(peer, name), rtol=1e-6, atol=1e-6, err_msg=name)


def expected_terms(guide: GaussianMixtureCoordinates, x: torch.Tensor) -> torch.Tensor:
    """E_q[log pi_k + log N(x_n; mu_k, Lambda_k)], ``(N, C)``, from the factors' moments, by loops."""
    factor, features = guide.factor, x.shape[1]
    found = torch.zeros(len(x), len(factor.means))
    for k in range(len(factor.means)):
        log_weight = guide.concentration[k].digamma() - guide.concentration.sum().digamma()
        nu = factor.degrees if factor.covariance == "tied" else factor.degrees[k]
        scatter = factor.scatter if factor.covariance == "tied" else factor.scatter[k]
        if scatter.dim() == 2:
            precision = nu * torch.linalg.inv(scatter)
            psi = sum(((nu - i) / 2).digamma() for i in range(features))
            log_det = psi + features * math.log(2) - torch.logdet(scatter)
        else:
            each = 1 if factor.covariance == "diagonal" else features
            precision = torch.diag((nu / scatter).expand(features))
            log_det = ((each * nu / 2).digamma() - (each * scatter / 2).log()).expand(features).sum()
        gap = x - factor.means[k]
        quadratic = ((gap @ precision) * gap).sum(-1) + features / factor.mean_precision[k]
        found[:, k] = log_weight + 0.5 * (log_det - features * math.log(2 * math.pi) - quadratic)
    return found


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_bound_is_that_of_responsibilities_and_factors(covariance: str, float64: None) -> None:
    x = clusters(60)
    model = BayesianGaussianMixture(3, 2, covariance, concentration=0.7, mean_precision=0.4, degrees_of_freedom=3.5)
    guide = started(model, x, torch.rand(60, 3).softmax(-1))
    share = expected_terms(guide, x).softmax(-1)  # the local factors of the sweep, from the factors before it
    torch.testing.assert_close(guide.predict({"x": x}), share)
    bound = guide.update({"x": x})
    likelihood = (share * (expected_terms(guide, x) - share.log())).sum()
    # The divergence by sampling: 4 standard errors.
    torch.manual_seed(1)
    factor, prior = guide.factor, model.prior()
    proportions = [torch.distributions.Dirichlet(a) for a in (guide.concentration, torch.full((3,), 0.7))]
    weights, precision = proportions[0].sample((20_000,)), factor.precision_distribution().sample((20_000,))
    means = factor.means_distribution(precision).sample()
    divergence = proportions[0].log_prob(weights) - proportions[1].log_prob(weights)
    for law, sign in ((factor, 1), (prior, -1)):
        each = law.precision_distribution().log_prob(precision) + law.means_distribution(precision).log_prob(means)
        divergence = divergence + sign * each
    error = 4 * divergence.std() / len(means) ** 0.5
    assert abs(likelihood - divergence.mean() - bound) < error < 0.5


def log_normal_wishart_evidence(x: torch.Tensor, beta: float, nu: float, location: torch.Tensor, scatter: torch.Tensor):
    """The evidence of one Gaussian under its conjugate prior (Murphy, *Conjugate Bayesian analysis*, 2007, eq. 266)."""
    n, d = x.shape
    mean = x.mean(0)
    gap = mean - location
    after = scatter + (x - mean).mT @ (x - mean) + beta * n / (beta + n) * torch.outer(gap, gap)
    gammas = multigammaln((nu + n) / 2, d) - multigammaln(nu / 2, d)
    dets = nu / 2 * torch.logdet(scatter) - (nu + n) / 2 * torch.logdet(after)
    return -n * d / 2 * math.log(math.pi) + gammas + dets + d / 2 * math.log(beta / (beta + n))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_with_one_component_the_bound_is_the_evidence(covariance: str, float64: None) -> None:
    x = clusters(50)
    beta, nu = 0.3, 4.2
    fit = CAVI().fit(BayesianGaussianMixture(1, 2, covariance, mean_precision=beta, degrees_of_freedom=nu), x)
    location, scatter = x.mean(0) + 0.0, fit.model.scatter
    if covariance in ("full", "tied"):
        expected = log_normal_wishart_evidence(x, beta, nu, location, scatter)
    elif covariance == "diagonal":
        parts = [
            log_normal_wishart_evidence(x[:, [d]], beta, nu, location[[d]], scatter[d].reshape(1, 1)) for d in (0, 1)
        ]
        expected = sum(parts)
    else:
        shape, rate = nu, scatter  # Gamma(D nu / 2, D s / 2) with D = 2
        gap = location - x.mean(0)
        after = rate + 0.5 * (x - x.mean(0)).square().sum() + 0.5 * beta * 50 / (beta + 50) * gap @ gap
        expected = (
            -50 * math.log(2 * math.pi)
            + math.log(beta / (beta + 50))
            + (shape * rate.log() - (shape + 50) * after.log())
            + math.lgamma(shape + 50)
            - math.lgamma(shape)
        )
    assert fit.history.bound.iloc[-1] == pytest.approx(float(expected), abs=1e-8)
    # The factors are then the posterior itself: no draw's weight differs from another's.
    found = log_evidence(fit, num_particles=20)
    assert found.value == pytest.approx(float(expected), abs=1e-7)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_bound_rises_to_a_fixed_point(covariance: str, float64: None) -> None:
    x = clusters(200)
    fit = CAVI(steps=400, tolerance=1e-11).fit(BayesianGaussianMixture(4, 2, covariance), x)
    assert fit.info["converged"]
    assert (fit.history.bound.diff().dropna() > -1e-9).all()
    before = fit.guide.means.clone()
    fit.guide.update(fit.data)
    torch.testing.assert_close(fit.guide.means, before, atol=1e-3, rtol=0)
    # Summed out exactly, the assignments cost nothing: the factors' own bound is higher, and the evidence above it.
    own, evidence = elbo_terms(fit), log_evidence(fit, num_particles=2_000)
    assert own.value > fit.history.bound.iloc[-1] - 4 * own.stderr
    assert evidence.value > own.value - 4 * (own.stderr + evidence.stderr)


def test_mini_batches_of_all_data_are_sweeps(float64: None) -> None:
    x = clusters()
    model, share = BayesianGaussianMixture(3, 2), torch.rand(120, 3).softmax(-1)
    whole, step = started(model, x, share), started(model, x, share)
    torch.testing.assert_close(whole.update({"x": x}), step.stochastic_update({"x": x}, 120, 1.0))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(step.state_dict()[name], value)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_step_moves_natural_parameters_by_its_rate(covariance: str, float64: None) -> None:
    x = clusters()
    model, share = BayesianGaussianMixture(3, 2, covariance), torch.rand(120, 3).softmax(-1)
    start, whole, part = (started(model, x, share) for _ in range(3))
    half = {"x": x[::2]}
    whole.stochastic_update(half, 120, 1.0)
    part.stochastic_update(half, 120, 0.3)

    def natural(guide: GaussianMixtureCoordinates) -> list[torch.Tensor]:
        beta, means = guide.mean_precision, guide.means
        squares = beta[:, None, None] * means[:, :, None] * means[:, None]
        if covariance in ("diagonal", "spherical"):
            squares = squares.diagonal(dim1=-2, dim2=-1)
        squares = {"tied": lambda: squares.sum(0), "spherical": lambda: squares.mean(-1)}.get(
            covariance, lambda: squares
        )()
        return [guide.concentration, beta, beta[:, None] * means, guide.degrees, guide.scatter + squares]

    for first, last, found in zip(natural(start), natural(whole), natural(part), strict=True):
        torch.testing.assert_close(found, 0.7 * first + 0.3 * last)


def test_natural_gradient_steps_reach_the_sweeps_bound(float64: None) -> None:
    x = clusters(1_200)
    exact = CAVI().fit(BayesianGaussianMixture(3, 2), x)
    noisy = CAVI(steps=400, batch_size=100).fit(BayesianGaussianMixture(3, 2), x)
    bound = noisy.guide.update({"x": x})
    assert abs(float(bound) - exact.history.bound.iloc[-1]) < 0.02 * 120
    torch.testing.assert_close(noisy.guide.means.sort(0).values, exact.guide.means.sort(0).values, atol=0.05, rtol=0)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_log_joint_is_the_one_written_by_hand(covariance: str, float64: None) -> None:
    x = clusters(30)
    model = BayesianGaussianMixture(3, 2, covariance, concentration=0.8, mean_precision=0.5, degrees_of_freedom=2.7)
    model.initialize({"x": x}, 0)
    torch.manual_seed(2)
    drawn = model.generate(1)
    latents = {name: value for name, value in drawn.items() if name != "x"}
    with local_parameters():
        found = poutine.trace(poutine.condition(model.model, latents)).get_trace(x=x).log_prob_sum()
    weights, means, precision = latents["weights"], latents["means"], latents[model.precision_site]
    total, scatter = scipy.stats.dirichlet([0.8] * 3).logpdf(weights.numpy()), model.scatter
    density = torch.zeros(30)
    for k in range(3):
        if covariance in ("full", "tied"):
            tril = precision if covariance == "tied" else precision[k]
            matrix = tril @ tril.mT
            if k == 0 or covariance == "full":
                jacobian = 2 * math.log(2) + 2 * tril[0, 0].log() + tril[1, 1].log()  # dLambda / dL
                law = scipy.stats.wishart(2.7, torch.linalg.inv(scatter).numpy())
                total += law.logpdf(matrix.numpy()) + float(jacobian)
        else:
            own = precision[k].expand(2)
            matrix = torch.diag(own)
            shape, rate = (1.35, 0.5 * scatter) if covariance == "diagonal" else (2.7, scatter)
            each = scipy.stats.gamma(shape, scale=1 / rate.numpy()).logpdf(precision[k].numpy())
            total += each.sum()
        inverse = torch.linalg.inv(matrix).numpy()
        total += scipy.stats.multivariate_normal(x.mean(0).numpy(), inverse / 0.5).logpdf(means[k].numpy())
        part = scipy.stats.multivariate_normal(means[k].numpy(), inverse).pdf(x.numpy())
        density += weights[k] * torch.as_tensor(part)
    assert float(found) == pytest.approx(float(total + density.log().sum()), rel=1e-10)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_predictive_is_the_average_over_draws(covariance: str, float64: None) -> None:
    x = clusters(90)
    fit = CAVI().fit(BayesianGaussianMixture(3, 2, covariance), x)
    new = torch.cat([clusters(8, seed=4), torch.tensor([[2.0, -1.0]])])
    draws = fit.posterior(4_000, seed=1)
    exact = fit.guide.log_predictive({"x": new})
    each = fit.model.log_joint(new, **draws).logsumexp(-1).exp()
    error = 4 * each.std(0) / len(each) ** 0.5
    assert ((each.mean(0) - exact.exp()).abs() < error).all()
    few = {name: value[:50] for name, value in draws.items()}
    torch.testing.assert_close(fit.model.log_predictive(new, **few), each[:50].mean(0).log())
    shares = fit.model.responsibilities(new[:8], **few)
    assert (shares - fit.guide.predict({"x": new[:8]})).abs().max() < 0.1
    grid = torch.cartesian_prod(torch.linspace(-60, 60, 601), torch.linspace(-60, 60, 601))
    mass = fit.guide.log_predictive({"x": grid}).exp().sum() * 0.2**2
    assert float(mass) == pytest.approx(1.0, abs=0.01)


def test_components_without_data_lose_their_weight(float64: None, tmp_path) -> None:
    x = clusters(300)
    fit = CAVI(steps=1_000, tolerance=1e-9, restarts=2).fit(BayesianGaussianMixture(10, 2, concentration=1e-3), x)
    weights = fit.posterior(200)["weights"].mean(0).sort(descending=True).values
    assert (weights[3:] < 1e-3).all() and (weights[:3] > 0.1).all()
    fit.save(tmp_path / "fit")  # more components than the rows that a saved fit keeps for its shapes
    found = load(tmp_path / "fit")
    assert torch.equal(found.guide.predict({"x": x}), fit.guide.predict({"x": x}))


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("guide", ["normal", "multivariate_normal"])
def test_default_guides_start_at_a_clustering(guide: str, covariance: str, float64: None) -> None:
    x = clusters(150) * 100 + 500
    fit = SVI(steps=1, lr=1e-6, guide=guide, compile=False).fit(BayesianGaussianMixture(3, 2, covariance), x)
    start = fit.posterior(200)["means"].mean(0)
    torch.testing.assert_close(start, fit.model.start_means, atol=10.0, rtol=0)
    assert torch.cdist(start, torch.tensor(CENTRES) * 100 + 500).min(0).values.max() < 50


@pytest.mark.parametrize("guide", ["normal", "multivariate_normal"])
def test_gradients_find_the_same_posterior(guide: str, float64: None, tmp_path) -> None:
    x = clusters(150) * 100 + 500  # in units in which a standard start would be lost
    model = BayesianGaussianMixture(3, 2)
    exact = CAVI(tolerance=1e-9).fit(model, x)
    fit = SVI(Trace_ELBO(4), steps=800, lr=0.02, guide=guide).fit(model, x)
    best, found = elbo_terms(exact, num_particles=500), elbo_terms(fit, num_particles=500)
    assert found.value > best.value - 3
    want = exact.guide.means
    means = align_labels(fit.posterior(500), want)["means"]
    assert ((means.mean(0) - want).abs() < 2 * means.std(0)).all()
    fit.save(tmp_path / "fit")
    torch.testing.assert_close(load(tmp_path / "fit").posterior(5)["means"], fit.posterior(5)["means"])


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_nuts_runs_on_the_model_from_its_own_start(covariance: str, float64: None) -> None:
    x = clusters(60)[:, :1] * 100 + 500
    x = x[x[:, 0] > 380]  # two groups
    model = BayesianGaussianMixture(2, 1, covariance)
    exact = CAVI(tolerance=1e-9).fit(model, x)
    model.initialize({"x": x}, 0)
    pyro.set_rng_seed(0)
    with local_parameters():
        run = MCMC(NUTS(model.model), 120, 60, disable_progbar=True)
        run.run(x=x)
    draws = align_labels(run.get_samples(), exact.guide.means)
    assert sorted(draws) == sorted(["means", "weights", model.precision_site])
    # Groups that are apart leave the factors of CAVI little to ignore: 5 standard errors of 40 effective draws.
    gap = (draws["means"].mean(0) - exact.guide.means).abs()
    assert (gap < 5 * draws["means"].std(0) / 40**0.5).all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_posteriors_cover_what_generated_the_data(covariance: str, float64: None) -> None:
    centres = torch.tensor(CENTRES)
    covered = []
    for seed in range(6):
        x = clusters(300, seed=seed)
        fit = CAVI().fit(BayesianGaussianMixture(3, 2, covariance, mean_precision=0.01), x, seed=seed)
        draws = align_labels(
            fit.posterior(400, seed=seed), centres, shared=["precision_tril"] if covariance == "tied" else []
        )
        score = (draws["means"].mean(0) - centres) / draws["means"].std(0)
        covered += score.flatten().tolist()
        weights = draws["weights"].mean(0)
        torch.testing.assert_close(weights, torch.tensor([1 / 2, 1 / 3, 1 / 6]), atol=0.02, rtol=0)
    low, high = scipy.stats.chi2(len(covered)).interval(0.999)
    assert low < np.square(covered).sum() < high


def test_memory_does_not_hold_every_component_of_every_datum(float64: None) -> None:
    x = torch.randn(60_000, 8)
    guide = BayesianGaussianMixture(10, 8).coordinate_guide({"x": x[:500]}, 0)
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        guide.update({"x": x})
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest < 60_000 * 10 * 8


def test_scores_of_draws_do_not_hold_every_component_of_every_datum(float64: None) -> None:
    x, model = torch.randn(20_000, 8), BayesianGaussianMixture(10, 8)
    prior = model.prior()
    precision = prior.precision_distribution().sample((3,))
    draws = {"weights": torch.rand(3, 10).softmax(-1), "means": torch.randn(3, 10, 8), "precision_tril": precision}
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        score, share = model.log_predictive(x, **draws), model.responsibilities(x, **draws)
    assert max(event.cpu_memory_usage for event in profile.events()) < 20_000 * 10 * 8 * 2
    joint = model.log_joint(x, **draws)
    torch.testing.assert_close(score, joint.logsumexp(-1).logsumexp(0) - math.log(3))
    torch.testing.assert_close(share, joint.softmax(-1).mean(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_components": 0}, "`num_components` must be positive"),
        ({"covariance": "diag"}, r"`covariance` must be one of .* Did you mean 'diagonal'\?"),
        ({"concentration": 0.0}, "`concentration` must be positive"),
        ({"mean_precision": -1.0}, "`mean_precision` must be positive"),
        ({"degrees_of_freedom": 1.0}, "`degrees_of_freedom` must be more than 1"),
        ({"prior_mean": [0.0]}, r"`prior_mean` must have shape \(2,\)"),
        ({"prior_covariance": [1.0, 1.0]}, r"`prior_covariance` must have shape \(2, 2\)"),
        ({"prior_covariance": [[1.0, 2.0], [2.0, 1.0]]}, "`prior_covariance` must be symmetric and positive definite"),
        ({"prior_covariance": [[1.0, math.nan], [math.nan, 1.0]]}, "`prior_covariance` must be finite"),
        ({"covariance": "spherical", "prior_covariance": -1.0}, "positive definite"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BayesianGaussianMixture(**{"num_components": 3, "num_features": 2, **arguments})


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize(("mean", "deviation"), [(101_325.0, 30.0), (2_000.0, 0.5)])
def test_columns_far_from_zero_are_not_constant(covariance: str, mean: float, deviation: float) -> None:
    x = mean + deviation * torch.randn(200, 2)
    model = BayesianGaussianMixture(2, 2, covariance)
    model.initialize({"x": x}, 0)
    expected = x.double().mT.cov().float()
    if covariance in ("diagonal", "spherical"):
        expected = expected.diagonal() if covariance == "diagonal" else expected.diagonal().mean()
    torch.testing.assert_close(model.scatter, expected, rtol=0.01, atol=0.01 * deviation**2)
    # one unit in the last place, in one row, is rounding
    x[:, 1] = mean
    x[0, 1] += torch.finfo(torch.float32).eps * mean
    if covariance != "spherical":
        with pytest.raises(ValueError, match="`x` is constant in column 1"):
            BayesianGaussianMixture(2, 2, covariance).initialize({"x": x}, 0)


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
def test_a_prior_of_any_kind_is_saved_with_the_model(kind: Callable[[Any], Any], tmp_path: Path) -> None:
    prior = [[2.0, 0.5], [0.5, 1.0]]
    CAVI().fit(BayesianGaussianMixture(3, 2, prior_covariance=kind(prior)), clusters()).save(tmp_path / "fit")
    torch.testing.assert_close(load(tmp_path / "fit").model.scatter, torch.tensor(prior, dtype=torch.float64))


@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_a_prior_that_is_lost_beside_collinear_data_is_named(covariance: str) -> None:
    z = torch.randn(300, 1, dtype=torch.float64)
    model = BayesianGaussianMixture(2, 2, covariance, prior_covariance=1e-6 * torch.eye(2))
    message = r"`prior_covariance` is lost .* in {}\. Standardise the columns of `x`,"
    with pytest.raises(ValueError, match=message.format("float32") + r" fit with dtype=torch\.float64"):
        CAVI(dtype=torch.float32).fit(model, 1e3 * torch.cat([z, 2 * z], 1))
    with pytest.raises(ValueError, match=message.format("float64") + " or give a larger"):
        CAVI().fit(model, 1e6 * torch.cat([z, 2 * z], 1))
    fit = CAVI().fit(model, torch.cat([z, 2 * z], 1))
    assert (fit.history.bound.diff().dropna() > -1e-3).all()


def test_bad_data_are_refused() -> None:
    x = torch.randn(20, 2)
    constant, line = torch.stack([x[:, 0], torch.ones(20)], 1), torch.stack([x[:, 0], 2 * x[:, 0]], 1)
    cases = [
        (BayesianGaussianMixture(3, 2), x[:, :1], r"`x` must have shape \(N, 2\)"),
        (BayesianGaussianMixture(30, 2), x, "`num_components` = 30 needs"),
        (BayesianGaussianMixture(30, 2), x[:2], "`num_components` = 30 needs"),  # and not that two rows are a line
        (BayesianGaussianMixture(3, 2), constant, "`x` is constant in column 1.*`prior_covariance`"),
        (BayesianGaussianMixture(3, 2, "diagonal"), constant, "`x` is constant in column 1"),
        (BayesianGaussianMixture(3, 2, "spherical"), torch.ones(20, 2), "`x` is the same in all rows"),
        (BayesianGaussianMixture(3, 2), line, "`x` has a singular covariance"),
    ]
    for model, data, message in cases:
        with pytest.raises(ValueError, match=message):
            CAVI().fit(model, data)
    fit = CAVI().fit(BayesianGaussianMixture(3, 2, prior_covariance=[[1.0, 0.0], [0.0, 1.0]]), constant)
    assert fit.info["converged"] and torch.equal(fit.model.scatter, torch.eye(2))
