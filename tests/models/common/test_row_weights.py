"""A row of weight w is that row w times in the data, for every closed form and for the programs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from jensen.inference import CAVI, EM, SVI, DataError, Trace_ELBO, TraceEnum_ELBO, load
from jensen.models import (
    PPCA,
    BayesianGaussianMixture,
    BayesianLogisticRegression,
    FactorAnalysis,
    GaussianMixture,
    HiddenMarkovModel,
    MultinomialMixture,
    PoissonMixture,
)

pytestmark = pytest.mark.usefixtures("float64")
ROWS = 60
TIMES = torch.arange(ROWS) % 4


def numbers() -> torch.Tensor:
    x = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x + 3 * (torch.arange(ROWS) % 2).unsqueeze(-1) * torch.tensor([1.0, -1.0, 0.0])


def gaps() -> torch.Tensor:
    x = numbers()
    x[::5, 1] = torch.nan
    return x


def counts() -> torch.Tensor:
    return (2 + numbers()).abs().mul(3).round()


def sequences() -> torch.Tensor:
    return torch.randn(ROWS, 7, 2, generator=torch.Generator().manual_seed(1)) + (torch.arange(7) % 2).view(1, 7, 1)


def fading() -> torch.Tensor:
    """One sequence of many steps, by the scan, and others."""
    return torch.randn(ROWS, 40, 1, generator=torch.Generator().manual_seed(1))


COVARIANCES = ("full", "tied", "diagonal", "spherical")
CASES = {
    **{f"mixture, {c}": (lambda c=c: GaussianMixture(2, 3, c), numbers) for c in COVARIANCES},
    "Poisson mixture": (lambda: PoissonMixture(2, 3), counts),
    "multinomial mixture": (lambda: MultinomialMixture(2, 3), counts),
    "factor analysis": (lambda: FactorAnalysis(3, 1), numbers),
    "factor analysis with gaps": (lambda: FactorAnalysis(3, 1), gaps),
    "PPCA": (lambda: PPCA(3, 1), numbers),
    "hidden Markov": (lambda: HiddenMarkovModel(2, 2), sequences),
    "hidden Markov, full": (lambda: HiddenMarkovModel(2, 2, covariance="full"), sequences),
    "hidden Markov, left to right": (lambda: forward_only(HiddenMarkovModel(2, 2)), sequences),
    "hidden Markov by the scan": (lambda: HiddenMarkovModel(2, 1), fading),
}


def forward_only(model: HiddenMarkovModel) -> HiddenMarkovModel:
    model.transition = torch.tensor([[0.7, 0.3], [0.0, 1.0]])
    return model


def values(fit) -> dict[str, torch.Tensor]:
    """The model's parameters as they read."""
    names = [name.removesuffix("_unconstrained") for name, _ in fit.model.named_parameters()]
    return {name: getattr(fit.model, name).detach() for name in names}


@pytest.fixture(params=CASES)
def case(request):
    """A model started at the data, the data, and how often each row stands in them."""
    torch.manual_seed(0)
    make, data = CASES[request.param]
    model, x = make(), data()
    rows, times = (1, TIMES[:4].double().mul(0).add(3)[:1]) if data is fading else (ROWS, TIMES.double())
    x = x[:rows]
    model.initialize({"x": x}, 0)
    model.fitted = True
    return model, x, times


def test_em_is_that_of_the_rows_repeated(case, tmp_path) -> None:
    model, x, times = case
    weighted = EM(steps=6, tolerance=1e-14).fit(model, {"x": x, "weight": times})
    repeated = EM(steps=6, tolerance=1e-14).fit(model, x.repeat_interleave(times.long(), 0))
    torch.testing.assert_close(weighted.history.bound.tolist(), repeated.history.bound.tolist(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        weighted.history.bound_per_datum.tolist(), repeated.history.bound_per_datum.tolist(), rtol=1e-9, atol=1e-9
    )
    torch.testing.assert_close(values(weighted), values(repeated), rtol=1e-7, atol=1e-8)
    assert weighted.model.bic({"x": x, "weight": times}) == pytest.approx(
        repeated.model.bic({"x": x.repeat_interleave(times.long(), 0)})
    )
    weighted.save(tmp_path / "fit")
    assert torch.equal(load(tmp_path / "fit").data["weight"], times)


def test_only_ratios_of_weights_move_the_maximum(case) -> None:
    model, x, times = case
    once = EM(steps=4, tolerance=1e-14).fit(model, {"x": x, "weight": times})
    scaled = EM(steps=4, tolerance=1e-14).fit(model, {"x": x, "weight": 1e-20 * times})
    torch.testing.assert_close(values(once), values(scaled), rtol=1e-7, atol=1e-8)
    assert scaled.history.bound.iloc[-1] == pytest.approx(1e-20 * once.history.bound.iloc[-1], rel=1e-9, abs=0)


def test_a_row_without_weight_is_not_there(case) -> None:
    model, x, times = case
    if len(x) == 1:
        pytest.skip("one sequence")
    model.fitted = False
    far = x.clone()
    far[times == 0] = 50.0
    with_it = EM(steps=5, tolerance=1e-14).fit(model, {"x": far, "weight": times})
    without = EM(steps=5, tolerance=1e-14).fit(model, {"x": x[times > 0], "weight": times[times > 0]})
    torch.testing.assert_close(with_it.history.bound.tolist(), without.history.bound.tolist(), rtol=1e-9, atol=1e-9)


def test_gradients_count_rows_alike(case) -> None:
    model, x, times = case
    objective = TraceEnum_ELBO() if hasattr(model, "num_components") else Trace_ELBO()
    method = SVI(objective, steps=3, lr=1e-2, compile=False)
    if isinstance(model, FactorAnalysis | PPCA):
        pytest.skip("its draws differ; see tests/inference/objectives/test_row_weights.py")
    weighted = method.fit(model, {"x": x, "weight": times})
    repeated = method.fit(model, x.repeat_interleave(times.long(), 0))
    torch.testing.assert_close(weighted.history.bound.tolist(), repeated.history.bound.tolist())
    torch.testing.assert_close(values(weighted), values(repeated), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_cavi_is_that_of_the_rows_repeated(covariance) -> None:
    x, times = numbers(), TIMES.double()
    many = x.repeat_interleave(TIMES, 0)
    model, other = (BayesianGaussianMixture(2, 3, covariance) for _ in range(2))
    model.initialize({"x": x, "weight": times}, 0)
    other.initialize({"x": many}, 0)
    torch.testing.assert_close(model.location, other.location)
    torch.testing.assert_close(model.scatter, other.scatter)
    guides = [each.coordinate_guide({"x": x[times > 0]}, 0) for each in (model, model)]
    for _ in range(4):
        bounds = [guides[0].update({"x": x, "weight": times}), guides[1].update({"x": many})]
        torch.testing.assert_close(*bounds)
    torch.testing.assert_close(guides[0].means, guides[1].means)
    fit = CAVI().fit(BayesianGaussianMixture(2, 3, covariance), {"x": x, "weight": times})
    assert fit.info["converged"] and fit.history.bound.diff().dropna().gt(-1e-9).all()
    assert fit.history.bound_per_datum.iloc[-1] == pytest.approx(fit.history.bound.iloc[-1] / float(times.sum()))


def labelled() -> tuple[torch.Tensor, torch.Tensor]:
    x = numbers()
    return x, torch.bernoulli(torch.sigmoid(x[:, 0]), generator=torch.Generator().manual_seed(2))


def test_logistic_weights_are_those_of_the_rows_repeated() -> None:
    (x, y), times = labelled(), TIMES.double()
    weighted = CAVI(tolerance=1e-12).fit(BayesianLogisticRegression(3), {"x": x, "y": y, "weight": times})
    many = {"x": x.repeat_interleave(TIMES, 0), "y": y.repeat_interleave(TIMES, 0)}
    repeated = CAVI(tolerance=1e-12).fit(BayesianLogisticRegression(3), many)
    torch.testing.assert_close(weighted.history.bound.tolist(), repeated.history.bound.tolist())
    torch.testing.assert_close(weighted.guide.covariance, repeated.guide.covariance)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_mode_with_weights_is_that_of_scikit_learn(num_classes) -> None:
    from pyro.infer.autoguide import AutoDelta

    x, y = labelled()
    times = 0.3 + torch.rand(ROWS, generator=torch.Generator().manual_seed(3))
    y = y if num_classes == 2 else (torch.arange(ROWS) % 3).double()
    model = BayesianLogisticRegression(3, intercept=False, num_classes=num_classes)
    method = SVI(guide=AutoDelta, steps=1_500, lr=0.02)
    fit = method.fit(model, {"x": x, "y": y, "weight": times})
    peer = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=1_000)
    peer.fit(x.numpy(), y.numpy(), sample_weight=times.numpy())
    found = fit.posterior(1)["w"][0].detach().numpy()
    np.testing.assert_allclose(found, peer.coef_.squeeze(), atol=2e-3)


def test_the_optimum_of_ppca_counts_rows() -> None:
    x, times = numbers(), TIMES.double()
    one, two = PPCA(3, 1), PPCA(3, 1)
    for correction in (0, 1):
        one.set_optimum({"x": x, "weight": times}, correction)
        two.set_optimum({"x": x.repeat_interleave(TIMES, 0)}, correction)
        torch.testing.assert_close(one.covariance, two.covariance)
        torch.testing.assert_close(one.bias, two.bias)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-torch.ones(ROWS), "`weight` must not be negative, nor 0 for all rows, got -1 as the smallest"),
        (torch.zeros(ROWS), "nor 0 for all rows, got 0 as the smallest"),
        (torch.ones(ROWS, 2), r"`weight` must be a vector \(N,\), one for each row, got shape \(60, 2\)"),
        (torch.ones(ROWS - 1), "unequal lengths: `x` has 60, `weight` has 59"),
    ],
)
@pytest.mark.parametrize("make", [lambda: GaussianMixture(2, 3), lambda: PPCA(3, 1), lambda: PoissonMixture(2, 3)])
def test_bad_weights_are_named(make, weight, message) -> None:
    with pytest.raises(DataError, match=message):
        EM().fit(make(), {"x": counts(), "weight": weight})
    with pytest.raises(DataError, match="one for each sequence"):
        EM().fit(HiddenMarkovModel(2, 2), {"x": sequences(), "weight": torch.ones(ROWS, 7)})
