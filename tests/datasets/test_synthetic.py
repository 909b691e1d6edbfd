"""Synthetic data: reproducible, and distributed as their truth says."""

import pytest
import torch

from jensen.datasets import (
    gaussian_mixture,
    linear_gaussian,
    linear_regression,
    logistic_regression,
    multinomial_mixture,
    poisson_mixture,
    poisson_regression,
)

GENERATORS = (
    gaussian_mixture,
    linear_gaussian,
    linear_regression,
    logistic_regression,
    multinomial_mixture,
    poisson_mixture,
    poisson_regression,
)
N = 20_000


def assert_zero_mean(residuals, errors=5.0):
    """The mean over rows is zero to within `errors` standard errors, column by column."""
    standard_error = residuals.std(0) / len(residuals) ** 0.5
    assert (residuals.mean(0).abs() <= errors * standard_error).all()


@pytest.mark.parametrize("generate", GENERATORS, ids=lambda f: f.__name__)
def test_reproducible_in_every_dtype(generate):
    a, b, c = generate(50, seed=1), generate(50, seed=1), generate(50, seed=2)
    wide = generate(50, seed=1, dtype=torch.float64)
    for key in a.train:
        assert torch.equal(a.train[key], b.train[key])
        torch.testing.assert_close(wide.train[key].float(), a.train[key])
    assert not torch.equal(a.train["x"], c.train["x"])
    assert all(torch.equal(a.truth[key], b.truth[key]) for key in a.truth)
    with pytest.raises(ValueError, match="`num_data`: expected a positive number, got 0"):
        generate(0)


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    for generate in GENERATORS:
        generate(10)
    assert torch.equal(torch.get_rng_state(), state)


def test_linear_gaussian(float64):
    data = linear_gaussian(N, 4, 2, noise_scale=0.3)
    truth = data.truth
    residual = data.train["x"] - truth["z"] @ truth["loadings"].T - truth["loc"]
    assert_zero_mean(residual)
    assert_zero_mean(residual.square() - truth["scale"].square())
    assert_zero_mean(truth["z"][:, :, None] * truth["z"][:, None, :] - torch.eye(2))


def test_gaussian_mixture(float64):
    data = gaussian_mixture(N, 3, 4)
    truth = data.truth
    c = truth["assignment"]
    standardised = (data.train["x"] - truth["locs"][c]) / truth["scales"][c]
    assert_zero_mean(standardised)
    assert_zero_mean(standardised.square() - 1)
    assert_zero_mean(torch.nn.functional.one_hot(c, 4) - truth["weights"])


def test_poisson_mixture(float64):
    data = poisson_mixture(N, 3, 2)
    rate = data.truth["rates"][data.truth["assignment"]]
    assert_zero_mean((data.train["x"] - rate) / rate.sqrt())
    assert_zero_mean((data.train["x"] - rate).square() / rate - 1)


def test_multinomial_mixture(float64):
    data = multinomial_mixture(2_000, 20, 2, total_count=30)
    assert (data.train["x"].sum(-1) == 30).all()
    torch.testing.assert_close(data.truth["probs"].sum(-1), torch.ones(2))
    residual = data.train["x"] - 30 * data.truth["probs"][data.truth["assignment"]]
    expected = (30 * data.truth["probs"] * (1 - data.truth["probs"])).amax(0)
    assert (residual.mean(0).abs() <= 5 * (expected / 2_000).sqrt() + 1e-3).all()


def test_regressions(float64):
    data = linear_regression(N, noise_scale=0.2)
    assert_zero_mean(data.train["y"] - data.train["x"] @ data.truth["w"])
    data = logistic_regression(N)
    assert_zero_mean(data.train["x"] * (data.train["y"] - torch.sigmoid(data.train["x"] @ data.truth["w"]))[:, None])
    assert data.train["y"].unique().tolist() == [0, 1]
    data = poisson_regression(N)
    assert_zero_mean(data.train["y"] - (data.truth["log_rate"] + data.train["x"] @ data.truth["w"]).exp())
