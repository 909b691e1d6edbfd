"""Criteria against scikit-learn's and hmmlearn's, and free parameters against the rank of the scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse
import sklearn.mixture
import torch

from jensen.inference import CAVI, EM
from jensen.models import (
    PPCA,
    BayesianLogisticRegression,
    FactorAnalysis,
    GaussianMixture,
    HiddenMarkovModel,
    MultinomialMixture,
    PoissonMixture,
)


def counts(rows: int, features: int) -> torch.Tensor:
    return torch.poisson(3 * torch.rand(rows, features).double()) + 1


MODELS = {
    "gaussian": (lambda: GaussianMixture(2, 3), lambda: torch.randn(300, 3)),
    "tied": (lambda: GaussianMixture(3, 2, "tied"), lambda: torch.randn(300, 2)),
    "multinomial": (lambda: MultinomialMixture(2, 4), lambda: counts(300, 4)),
    "Poisson": (lambda: PoissonMixture(2, 3), lambda: counts(300, 3)),
    "factors": (lambda: FactorAnalysis(6, 2), lambda: torch.randn(300, 6)),
    "PPCA": (lambda: PPCA(5, 2), lambda: torch.randn(300, 5)),
    "hidden Markov": (lambda: HiddenMarkovModel(3, 2, covariance="full"), lambda: torch.randn(300, 6, 2)),
    "hidden Markov of codes": (lambda: HiddenMarkovModel(2, num_categories=3), lambda: torch.randint(3, (300, 6))),
}


@pytest.mark.parametrize("name", MODELS)
def test_free_parameters_are_the_rank_of_the_scores(float64: None, name: str) -> None:
    """The log densities of many data move in as many directions as there are free parameters."""
    torch.manual_seed(1)
    model, x = MODELS[name][0](), MODELS[name][1]()
    free = [value for value in model.parameters() if value.requires_grad]
    with torch.no_grad():  # away from equal components, and from a standard covariance
        for value in free:
            value.add_(0.3 * torch.randn_like(value))
    evidence = model.log_evidence({"x": x})
    scores = [
        torch.cat(
            [
                torch.zeros(value.numel()) if part is None else part.flatten()
                for part, value in zip(row, free, strict=True)
            ]
        )
        for row in (torch.autograd.grad(each, free, retain_graph=True, allow_unused=True) for each in evidence)
    ]
    assert int(torch.linalg.matrix_rank(torch.stack(scores), rtol=1e-8)) == model.num_free_parameters
    assert model.aic({"x": x}) == pytest.approx(2 * model.num_free_parameters - 2 * evidence.sum().item())


@pytest.mark.parametrize(("kind", "theirs"), [("full", "full"), ("diagonal", "diag"), ("spherical", "spherical")])
def test_a_mixtures_criteria_are_scikit_learns(float64: None, kind: str, theirs: str) -> None:
    x = torch.randn(80, 2)
    fit = EM(steps=5, progress=False).fit(GaussianMixture(2, 2, kind), x)
    peer = sklearn.mixture.GaussianMixture(2, covariance_type=theirs).fit(x.numpy())
    assert fit.model.num_free_parameters == peer._n_parameters()
    penalty = fit.model.bic({"x": x}) + 2 * fit.model.log_evidence({"x": x}).sum().item()
    assert penalty == pytest.approx(peer.bic(x.numpy()) + 2 * peer.score(x.numpy()) * 80)


def test_the_criteria_of_sequences_count_steps_and_what_zeros_leave_free(float64: None) -> None:
    hmm = pytest.importorskip("hmmlearn.hmm")
    model = HiddenMarkovModel(3, 2)
    x, lengths = torch.randn(2, 7, 2), torch.tensor([7, 4])
    peer = hmm.GaussianHMM(3, "diag")
    peer.n_features = 2
    peer.startprob_, peer.transmat_ = model.initial.detach().numpy(), model.transition.detach().numpy()
    peer.means_, peer.covars_ = model.means.detach().numpy(), model.scale.square().detach().numpy()
    rows = np.concatenate([x[0].numpy(), x[1, :4].numpy()])
    assert model.bic({"x": x, "lengths": lengths}) == pytest.approx(peer.bic(rows, [7, 4]))
    assert model.aic({"x": x.numpy(), "lengths": [7, 4]}) == pytest.approx(peer.aic(rows, [7, 4]))
    before = model.num_free_parameters
    model.initial = torch.tensor([1.0, 0.0, 0.0])
    model.transition = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    assert model.num_free_parameters == before - 2 - 4


def test_the_criterion_finds_the_number_of_factors_and_segments(float64: None) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(300, 2, generator=generator, dtype=torch.float64)
    x = z @ torch.randn(2, 8, generator=generator, dtype=torch.float64) + 0.5 * torch.randn(300, 8)
    factors = [EM(progress=False).fit(FactorAnalysis(8, num), x).model.bic({"x": x}) for num in (1, 2, 3)]
    assert min(factors) == factors[1]
    rates = torch.tensor([[1.0, 9.0, 4.0], [8.0, 2.0, 4.0]])
    y = torch.poisson(rates[torch.arange(200) % 2], generator=generator)
    segments = [EM(progress=False).fit(PoissonMixture(num, 3), y).model.bic({"x": y}) for num in (1, 2, 3)]
    assert min(segments) == segments[1]


@pytest.mark.parametrize("cls", [PoissonMixture, MultinomialMixture])
def test_mixtures_of_counts_take_sparse_matrices(cls: type) -> None:
    x = counts(40, 3).numpy()
    fits = [EM(steps=3, progress=False).fit(cls(2, 3), data) for data in (x, scipy.sparse.csr_matrix(x))]
    assert fits[0].history.bound.tolist() == fits[1].history.bound.tolist()
    torch.testing.assert_close(fits[1].model.predict(scipy.sparse.csr_matrix(x)), fits[0].model.predict(x))


@pytest.mark.parametrize("intercept", [True, False])
def test_the_probabilities_of_a_factor_of_logistic_weights(float64: None, intercept: bool) -> None:
    x = torch.randn(50, 2)
    y = (x[:, 0] + torch.randn(50) > 0).double()
    fit = CAVI(progress=False).fit(BayesianLogisticRegression(2, intercept=intercept), {"x": x, "y": y})
    found = fit.guide.predict({"x": x[:5]})
    draws = fit.model.probabilities(x[:5], **fit.posterior(20_000, seed=0))
    assert bool(((draws.mean(0) - found).abs() < 5 * draws.std(0) / math.sqrt(20_000)).all())
    grid = torch.linspace(-40, 40, 400_001)  # against the integral on a grid
    design = torch.cat([x[:5], torch.ones(5, 1)], -1) if intercept else x[:5]
    law = torch.distributions.Normal(design @ fit.guide.loc, ((design @ fit.guide.covariance) * design).sum(-1).sqrt())
    density = law.log_prob(grid[:, None]).exp()
    exact = torch.trapezoid(grid.sigmoid()[:, None] * density, grid, dim=0)
    torch.testing.assert_close(found, exact, atol=1e-6, rtol=0)
    assert fit.guide.predict(x[:5].numpy()).tolist() == found.tolist()
