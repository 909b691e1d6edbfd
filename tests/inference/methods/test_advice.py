"""The one piece of advice of a fit: each kind where it fits, and not elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import SVI
from jensen.inference.data.uneven_columns import Column, outstanding_column
from jensen.inference.diagnostics.label_symmetry import mixed_up, swappable
from jensen.inference.diagnostics.weights.dependence import dependence
from jensen.inference.methods.advice import advice_of
from jensen.inference.run.convergence import CONVERGED, NOT_CONVERGED, UNKNOWN, Verdict

RNG = np.random.default_rng(0)
MORE = Verdict(UNKNOWN, "a test", "Take more steps.")


def regression(x: torch.Tensor, y: torch.Tensor | None = None) -> None:
    w = pyro.sample("w", dist.Normal(torch.zeros(x.shape[1]), 100.0).to_event(1))
    b = pyro.sample("b", dist.Normal(0.0, 1e4))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(x @ w + b, 1.0), obs=y)


def advice(fit: Any) -> str:
    return fit.info["convergence"]["advice"]


def table(**columns: np.ndarray) -> dict[str, Any]:
    frame = pd.DataFrame(columns)
    y = 0.5 * frame.to_numpy() @ np.ones(frame.shape[1]) + RNG.normal(size=len(frame))
    return {"x": frame, "y": y}


YEARS = table(age=RNG.normal(size=80), year=RNG.integers(1990, 2021, 80).astype(float))
PLAIN = table(age=RNG.normal(size=80), height=RNG.normal(size=80))
ALIKE = RNG.normal(size=80)
TWINS = table(left=ALIKE + 0.3 * RNG.normal(size=80), right=ALIKE + 0.3 * RNG.normal(size=80))


def test_nothing_is_advised_where_nothing_is_wrong() -> None:
    fit = SVI(guide="normal", progress=False).fit(regression, PLAIN)
    assert fit.status == "converged" and fit.info["reliability"]["reliable"] and advice(fit) == ""


def test_nothing_but_steps_is_advised_where_the_numbers_can_be_relied_on() -> None:
    fit = SVI(guide="multivariate_normal", steps=1_000, progress=False).fit(regression, YEARS)
    assert fit.info["reliability"]["reliable"]
    assert fit.status == "unknown" and advice(fit).startswith("Take more steps")
    assert advice_of(fit, Verdict(CONVERGED, "a test"), {}) == ""


def test_a_column_far_from_zero_is_named() -> None:
    fit = SVI(guide="normal", steps=3_000, progress=False).fit(regression, YEARS)
    assert not fit.info["reliability"]["reliable"]
    assert advice(fit).startswith("Scale the column `year` of `x`: its values lie near 200")
    assert "Scale the column `year`" in str(fit)


def test_a_column_of_another_size_is_named_where_steps_are_not_in_its_units() -> None:
    data = table(age=RNG.normal(size=80), income=30_000.0 + 2e4 * RNG.normal(size=80))
    fit = SVI(guide="normal", start="prior", steps=2_500, progress=False).fit(regression, data)
    assert advice(fit).startswith("Scale the column `income` of `x`")
    fit = SVI(guide="normal", start="prior", steps=2_500, progress=False).fit(regression, PLAIN)
    assert "Scale" not in advice(fit)


def test_a_posterior_that_ties_latents_together_asks_for_a_full_covariance() -> None:
    fit = SVI(guide="normal", steps=2_500, progress=False).fit(regression, TWINS)
    assert advice(fit).startswith('Take guide="multivariate_normal"') and "`w[0]` and `w[1]`" in advice(fit)


def test_a_shape_that_no_normal_has_asks_for_another_guide_but_not_for_correlations() -> None:
    def heavy(y: torch.Tensor | None = None) -> None:
        pyro.sample("a", dist.StudentT(1.2, 0.0, 1.0).expand([3]).to_event(1))
        with pyro.plate("data", 5 if y is None else len(y)):
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)

    fit = SVI(guide="normal", steps=2_500, progress=False).fit(heavy, {"y": torch.zeros(5)})
    assert not fit.info["reliability"]["reliable"] and fit.info["reliability"]["tied"] < 0.5
    assert advice(fit).startswith('Take guide="flow"')


def test_too_few_steps_ask_for_more() -> None:
    fit = SVI(guide="normal", start="prior", steps=2_000, lr=1e-4, progress=False).fit(regression, PLAIN)
    assert fit.status == "not converged" and advice(fit).startswith("Take more steps")


def mixture(x: torch.Tensor | None = None, *, means: tuple[float, float] = (0.0, 0.0)) -> None:
    mu = pyro.sample("mu", dist.Normal(torch.tensor(means), 5.0).to_event(1))
    weights = pyro.sample("weights", dist.Dirichlet(torch.ones(2)))
    with pyro.plate("data", 4 if x is None else len(x)):
        k = pyro.sample("k", dist.Categorical(weights), infer={"enumerate": "parallel"})
        pyro.sample("x", dist.Normal(mu[k], 1.0), obs=x)


def ordered(x: torch.Tensor | None = None) -> None:
    mixture(x, means=(-8.0, 8.0))


ONE_CLUSTER = {"x": torch.randn(40, generator=torch.Generator().manual_seed(0))}
TWO_CLUSTERS = {"x": torch.cat([ONE_CLUSTER["x"] - 6.0, ONE_CLUSTER["x"] + 6.0])}


def test_components_that_can_swap_and_overlap_are_found() -> None:
    fit = SVI(guide="normal", start="prior", steps=200, progress=False).fit(mixture, ONE_CLUSTER)
    names = swappable(fit)
    assert names == {"mu": 2, "weights": 2} and mixed_up(fit, names) == (0, 1)
    assert advice(fit).startswith("Look at label symmetry: components 0 and 1")


def test_components_that_the_prior_or_the_data_hold_apart_are_not() -> None:
    fit = SVI(guide="normal", steps=200, progress=False).fit(ordered, ONE_CLUSTER)
    assert swappable(fit) == {} and "label" not in advice(fit)
    apart = {"mu": torch.tensor([-6.0, 6.0])}
    fit = SVI(guide="normal", start=apart, steps=200, progress=False).fit(mixture, TWO_CLUSTERS)
    assert mixed_up(fit, swappable(fit)) is None and "label" not in advice(fit)


def test_starts_that_disagree_about_labels_are_told_of_even_at_rest() -> None:
    apart = {"mu": torch.tensor([-6.0, 6.0])}
    fit = SVI(guide="normal", start=apart, steps=200, progress=False).fit(mixture, TWO_CLUSTERS)
    rest = Verdict(CONVERGED, "a test")
    fit.info["reliability"] = {"reliable": True}  # type: ignore[index]
    assert advice_of(fit, rest, {}) == ""
    fit.info["restart_bounds"] = [-300.0, -170.0]  # type: ignore[index]
    assert "the starts end up to 130 nats apart" in advice_of(fit, rest, {})
    fit.info["restart_bounds"] = [-170.1, -170.0]  # type: ignore[index]
    assert advice_of(fit, rest, {}) == ""


@pytest.mark.parametrize(("bound", "noise", "said"), [(-3e7, 2.0, True), (-3e7, 900.0, False), (-3e3, 2.0, False)])
def test_a_bound_that_float32_rounds_asks_for_float64(bound: float, noise: float, said: bool) -> None:
    fit = SVI(guide="normal", start="prior", steps=30, log_every=1, progress=False).fit(regression, PLAIN)
    values = bound + noise * RNG.normal(size=60)
    object.__setattr__(fit, "history", pd.DataFrame({"step": np.arange(60), "bound": values}))
    assert ("float64" in advice_of(fit, MORE, {})) == said
    fit.info["dtype"] = "float64"  # type: ignore[index]
    assert "float64" not in advice_of(fit, MORE, {})


def test_a_column_that_float32_cannot_tell_apart_asks_for_float64() -> None:
    x = torch.tensor(2_020.0 + RNG.uniform(size=(80, 1)), dtype=torch.float32)
    fit = SVI(guide="normal", start="prior", steps=30, progress=False).fit(regression, {"x": x, "y": x[:, 0]})
    assert advice(fit).startswith("Fit with dtype=torch.float64, or subtract the mean of the column 0 of `x`")


def test_what_stands_out_among_columns() -> None:
    plain, far, wide = Column("a", 1.0, 1.0), Column("year", 2_000.0, 10.0), Column("income", 3e4, 2e4)
    assert outstanding_column([]) is None and outstanding_column([plain]) is None
    assert outstanding_column([plain, Column("b", 0.0, 30.0)]) is None
    assert outstanding_column([plain, far]) == far and outstanding_column([plain, wide]) == wide
    assert outstanding_column([wide]) == wide


@pytest.mark.parametrize("precision", [0.9, -0.6])
def test_pairs_explain_the_weights_of_a_correlated_normal_and_of_nothing_else(precision: float) -> None:
    z = torch.randn(4_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tied = dependence(-precision * z[:, 0] * z[:, 2], {"u": z[:, :2], "v": z[:, 2]})
    assert tied is not None and tied.pair == ("u[0]", "v") and tied.share == pytest.approx(1.0, abs=0.1)
    alone = dependence(z.abs().sum(-1) + z[:, 0], {"u": z[:, :2], "v": z[:, 2]})
    assert alone is not None and alone.share < 0.05
    assert dependence(z[:, 0], {"v": z[:, 2]}) is None


def test_a_program_that_raises_leaves_the_methods_advice() -> None:
    fit = SVI(guide="normal", start="prior", steps=30, progress=False).fit(regression, PLAIN)
    fit.info["reliability"] = {"reliable": False}  # type: ignore[index]
    verdict = Verdict(NOT_CONVERGED, "a test", "Take more steps.")
    object.__setattr__(fit, "data", {"x": None})
    assert advice_of(fit, verdict, {}) == "Take more steps."
