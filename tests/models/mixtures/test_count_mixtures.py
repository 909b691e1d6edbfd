"""Mixtures of counts: densities, EM, recovery and bad input."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from sklearn.metrics import adjusted_rand_score

from jensen.inference import EM, SVI, TraceEnum_ELBO
from jensen.models import MultinomialMixture, PoissonMixture
from jensen.models.distributions.row_multinomial import RowMultinomial
from jensen.models.mixtures.count_base import CountMixture

MODELS = {"Poisson": PoissonMixture, "multinomial": MultinomialMixture}


def truth(kind: str) -> CountMixture:
    """Three segments in four kinds of goods."""
    model = MODELS[kind](3, 4)
    profile = torch.tensor([[8.0, 1.0, 1.0, 2.0], [1.0, 9.0, 2.0, 2.0], [2.0, 2.0, 7.0, 6.0]])
    if isinstance(model, PoissonMixture):
        model.rates = profile
    else:
        model.probs = profile / profile.sum(-1, keepdim=True)
        model.total_count = 12
    model.weights = torch.tensor([0.5, 0.3, 0.2])
    return model


def test_the_poisson_density_is_scipys(float64: None) -> None:
    model = truth("Poisson")
    x = model.generate(30, seed=0)["x"]
    rates, weights = model.rates.detach().numpy(), model.weights.detach().numpy()
    each = [stats.poisson(rate).pmf(x.numpy()).prod(-1) for rate in rates]
    expected = torch.as_tensor(weights @ each).log()
    torch.testing.assert_close(model.log_evidence({"x": x}).detach(), expected)


def test_the_multinomial_density_is_scipys_for_rows_of_any_total(float64: None) -> None:
    model = truth("multinomial")
    x = torch.tensor([[1.0, 2, 0, 0], [0, 0, 0, 0], [10, 3, 5, 1]])
    probs, weights = model.probs.detach().numpy(), model.weights.detach().numpy()
    each = [[stats.multinomial(int(row.sum()), p).pmf(row.numpy()) for row in x] for p in probs]
    torch.testing.assert_close(model.log_evidence({"x": x}).detach(), torch.as_tensor(weights @ each).log())


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_em_rises_and_recovers_the_segments(kind: str, seed: int, float64: None) -> None:
    model = truth(kind)
    drawn = model.generate(1_500, seed=seed)
    fit = EM(tolerance=1e-10, restarts=2).fit(MODELS[kind](3, 4), drawn["x"], seed=seed)
    assert (fit.history.bound.diff().dropna() > -1e-8).all()
    assert fit.history.bound_per_datum.iloc[-1] >= model.log_evidence({"x": drawn["x"]}).mean().item()
    labels = fit.model.predict({"x": drawn["x"]}).argmax(-1)
    best = model.predict({"x": drawn["x"]}).argmax(-1)
    assert adjusted_rand_score(best, labels) > 0.95
    torch.testing.assert_close(
        fit.model.weights.detach().sort().values, torch.tensor([0.2, 0.3, 0.5]), atol=0.05, rtol=0
    )


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_find_no_more(kind: str, float64: None) -> None:
    x = truth(kind).generate(300, seed=5)["x"]
    exact = EM().fit(MODELS[kind](3, 4), x)
    noisy = SVI(TraceEnum_ELBO(), steps=400, lr=0.02).fit(MODELS[kind](3, 4), x)
    assert exact.history.bound_per_datum.iloc[-1] >= noisy.history.bound_per_datum.max() - 5e-3


@pytest.mark.parametrize("kind", MODELS)
def test_a_column_of_zeros_and_a_row_of_zeros_are_fine(kind: str, float64: None) -> None:
    x = truth(kind).generate(100, seed=1)["x"]
    x[:, 2] = 0
    x[7] = 0
    fit = EM(steps=30).fit(MODELS[kind](3, 4), x)
    assert torch.isfinite(fit.model.log_evidence({"x": x})).all()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("value", "text"), [(-1.0, "-1"), (2.5, "2.5")])
def test_what_is_no_count_is_refused(kind: str, value: float, text: str) -> None:
    x = torch.ones(6, 4)
    x[4, 1] = value
    with pytest.raises(ValueError, match=rf"`x` must hold counts .* got {text} in row 4, column 1"):
        EM().fit(MODELS[kind](2, 4), x)


@pytest.mark.parametrize("kind", MODELS)
def test_sizes_are_checked(kind: str) -> None:
    with pytest.raises(ValueError, match="`num_components`"):
        MODELS[kind](0, 4)
    with pytest.raises(ValueError, match="`x`"):
        EM().fit(MODELS[kind](2, 4), torch.ones(5, 3))
    with pytest.raises(ValueError, match="`num_components` = 6 needs at least as many rows"):
        EM().fit(MODELS[kind](6, 4), torch.ones(5, 4))


def test_multinomial_draws_have_their_mean_and_total(float64: None) -> None:
    probs = torch.tensor([[0.2, 0.3, 0.5], [0.7, 0.1, 0.2]])
    torch.manual_seed(0)
    drawn = RowMultinomial(10, probs).sample(torch.Size((4_000,)))
    assert drawn.shape == (4_000, 2, 3) and (drawn.sum(-1) == 10).all()
    torch.testing.assert_close(drawn.mean(0), 10 * probs, atol=0.13, rtol=0)  # 5 standard errors
