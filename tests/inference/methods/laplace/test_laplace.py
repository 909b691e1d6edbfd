"""Laplace against closed forms, quadrature and Pyro's own; its modes, its errors, and going on after a kill."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoLaplaceApproximation
from torch.distributions import constraints

from jensen.inference import ConfigurationError, Laplace, ModelError, NonFiniteError, Progress, load, log_evidence

pytestmark = pytest.mark.usefixtures("float64")

X = np.random.default_rng(0).normal(size=(40, 3)) * [1.0, 50.0, 0.01] + [0.0, 300.0, 0.0]
Y = X @ [1.0, -0.1, 80.0] + np.random.default_rng(1).normal(size=40)
PRIOR = torch.tensor([10.0, 5.0, 1e3], dtype=torch.float64)


def regression(x: torch.Tensor, y: torch.Tensor | None = None) -> None:
    b = pyro.sample("b", dist.Normal(0.0, 100.0))
    w = pyro.sample("w", dist.Normal(torch.zeros(3), PRIOR).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(b + x @ w, 0.7), obs=y)


def _exact() -> tuple[np.ndarray, np.ndarray, float]:
    """Posterior mean and covariance of (b, w), and the log evidence."""
    design = np.column_stack([np.ones(40), X])
    prior = np.array([100.0, *PRIOR.numpy()])
    precision = design.T @ design / 0.49 + np.diag(prior**-2)
    mean = np.linalg.solve(precision, design.T @ Y / 0.49)
    quadratic = ((Y - design @ mean) ** 2).sum() / 0.49 + ((mean / prior) ** 2).sum()
    unit = precision * prior * prior[:, None]  # of latents in units of their priors, whose determinant is 1
    log_det = np.linalg.slogdet(unit)[1] + 40 * math.log(2 * math.pi * 0.49)
    return mean, np.linalg.inv(precision), float(-0.5 * (quadratic + log_det))


def test_a_linear_gaussian_model_is_exact() -> None:
    mean, covariance, evidence = _exact()
    fit = Laplace(progress=False).fit(regression, {"x": X, "y": Y})
    assert fit.status == "converged" and fit.info["modes"] == 1
    assert fit.info["log_evidence"] == pytest.approx(evidence, abs=1e-8)
    assert fit.info["newton_distance"] < 1e-8
    posterior = fit.guide.get_posterior()
    np.testing.assert_allclose(posterior.loc.detach(), mean, rtol=1e-8)
    np.testing.assert_allclose(posterior.covariance_matrix.detach(), covariance, rtol=1e-6)
    assert log_evidence(fit).value == pytest.approx(evidence, abs=1e-6)
    assert fit.history.bound.iloc[-1] == pytest.approx(evidence, abs=1e-6)


def proportion(x: torch.Tensor) -> None:
    p = pyro.sample("p", dist.Beta(2.0, 3.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Bernoulli(p), obs=x)


def _beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def test_a_proportion_against_its_formula_and_its_evidence() -> None:
    errors = []
    for count in (10, 100):
        x = torch.zeros(count)
        x[: count // 5] = 1.0
        a, b = 2.0 + count // 5, 3.0 + count - count // 5  # of the density of the log odds
        p = a / (a + b)
        formula = a * math.log(p) + b * math.log(1 - p) - _beta(2, 3)
        formula += 0.5 * math.log(2 * math.pi / ((a + b) * p * (1 - p)))
        fit = Laplace(steps=1, progress=False).fit(proportion, {"x": x})
        assert fit.info["log_evidence"] == pytest.approx(formula, abs=1e-10)
        errors.append(abs(fit.info["log_evidence"] - (_beta(a, b) - _beta(2, 3))))
    assert errors[1] < 0.02 and errors[1] < errors[0] / 5  # of the order 1 / N


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_the_unit_of_the_data_shifts_the_evidence_and_nothing_else(unit: float) -> None:
    def model(x: torch.Tensor, scale: torch.Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 10.0 * scale[0]))
        s = pyro.sample("s", dist.LogNormal(scale[0].log(), 2.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.StudentT(4.0, mu, s), obs=x)

    x = torch.tensor(np.random.default_rng(3).standard_t(4, size=25) + 2.0)
    one, other = (Laplace(progress=False).fit(model, {"x": k * x, "scale": torch.full((25,), k)}) for k in (1.0, unit))
    shift = other.info["log_evidence"] - one.info["log_evidence"]
    assert shift == pytest.approx(-25 * math.log(unit), abs=1e-6)
    torch.testing.assert_close(other.posterior(50)["mu"] / unit, one.posterior(50)["mu"], rtol=1e-6, atol=1e-6)


def test_its_normal_is_that_of_pyro_at_the_mode() -> None:
    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 2.0).to_event(1))
        s = pyro.sample("s", dist.HalfCauchy(1.0))
        q = pyro.sample("q", dist.Dirichlet(torch.tensor([2.0, 1.0, 3.0])))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(x @ w + q[..., :1], s), obs=y)

    x = torch.tensor((X - X.mean(0)) / X.std(0))
    data = {"x": x, "y": x @ torch.tensor([1.0, -1.0, 0.5]) + 0.3 * torch.tensor(np.sin(np.arange(40.0)))}
    fit = Laplace(progress=False).fit(model, data)
    peer = AutoLaplaceApproximation(model)
    peer(**data)
    with torch.no_grad():
        peer.loc.copy_(fit.guide.loc)
    expected = peer.laplace_approximation(**data).get_posterior()
    posterior = fit.guide.get_posterior()
    torch.testing.assert_close(posterior.covariance_matrix, expected.covariance_matrix, rtol=1e-5, atol=1e-9)
    pyro.clear_param_store()


def test_blocks_and_the_diagonal_leave_out_couplings() -> None:
    _, covariance, evidence = _exact()
    precision = np.linalg.inv(covariance)
    found = {}
    for structure in ("full", "block", "diagonal"):
        fit = Laplace(steps=1, hessian=structure, progress=False).fit(regression, {"x": X, "y": Y})
        found[structure] = fit.info["log_evidence"]
        draws = fit.posterior(4_000)
        w = torch.cat([draws["b"].reshape(-1, 1), draws["w"].reshape(-1, 3)], -1)
        kept = {"full": precision, "block": precision.copy(), "diagonal": np.diag(np.diag(precision))}[structure]
        if structure == "block":
            kept[0, 1:] = kept[1:, 0] = 0.0
        log_det = np.linalg.slogdet(precision)[1] - np.linalg.slogdet(kept)[1]
        assert found[structure] == pytest.approx(evidence + 0.5 * log_det, abs=1e-7)
        np.testing.assert_allclose(w.std(0), np.sqrt(np.diag(np.linalg.inv(kept))), rtol=0.06)
    assert found["full"] >= found["block"] >= found["diagonal"]
    assert type(fit.guide).__name__ == "NormalGuide"


def improper(*shape: int, support: Any = constraints.real) -> Any:
    return dist.ImproperUniform(support, (), shape)


def shared(x: torch.Tensor) -> None:
    w = pyro.sample("w", improper(2))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(w.sum(-1, keepdim=True), 1.0), obs=x)


def contrast(x: torch.Tensor) -> None:
    a, b = pyro.sample("a", improper()), pyro.sample("b", improper())
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(a - 2.0 * b, 1.0), obs=x)


def separable(x: torch.Tensor) -> None:
    w = pyro.sample("w", improper())
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Bernoulli(logits=w * x), obs=(x > 0).to(x.dtype))


def quartic(x: torch.Tensor) -> None:
    a = pyro.sample("a", improper())
    pyro.factor("well", -((a - 1.0) ** 4))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)


def unused(x: torch.Tensor) -> None:
    a, b = pyro.sample("a", dist.Normal(0.0, 1.0)), pyro.sample("b", improper(support=constraints.positive))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(a + 0.0 * b.clamp(max=1.0), 1.0), obs=x)


def schools(x: torch.Tensor) -> None:
    mu, tau = pyro.sample("mu", dist.Normal(0.0, 5.0)), pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", len(x)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("x", dist.Normal(theta, 12.0), obs=x)


def single(x: torch.Tensor) -> None:
    a, s = pyro.sample("a", dist.Normal(0.0, 10.0)), pyro.sample("s", dist.HalfNormal(5.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(a, s), obs=x)


SCHOOLS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (shared, torch.arange(5.0), r"flat along `w\[0\] - w\[1\]` \(unconstrained\), so .* a proper prior"),
        (contrast, torch.arange(5.0), r"flat along `a \+ 0.5 b`"),
        (separable, torch.tensor([-2.0, -1.0, 1.0, 2.0]), "flat along `w` "),
        (quartic, torch.zeros(3), "flat along `a` .* where `a` is 0.99"),
        (unused, torch.zeros(3), "no mode was found: the density still rises along `b` "),
        (
            schools,
            SCHOOLS[:4],
            r"still rises along `tau` \(unconstrained\), where `tau` is \d.*e-.* another parametrisation",
        ),
        (single, torch.tensor([3.0]), "rises along `s`"),
    ],
)
def test_without_a_mode_it_says_where(model: Any, x: torch.Tensor, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Laplace(steps=2, progress=False).fit(model, {"x": x})


def test_a_symmetric_start_is_left_and_both_modes_are_counted() -> None:
    def mixture(x: torch.Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros(2), 10.0).to_event(1))  # whose centre is a saddle
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.ones(2) / 2), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(torch.where(c == 0, m[..., :1], m[..., 1:]), 1.0), obs=x)

    x = torch.cat([torch.linspace(-4.0, -2.0, 9), torch.linspace(2.0, 4.0, 9)])
    fit = Laplace(progress=False).fit(mixture, {"x": x})
    assert sorted(fit.guide.loc.detach().round(decimals=1).tolist()) == [-3.0, 3.0]
    assert fit.info["modes"] == 2 and "2 modes were found" in fit.info["convergence"]["advice"]


def test_a_density_without_a_value_is_an_error() -> None:
    def nowhere(x: torch.Tensor) -> None:
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(a, 1e-200), obs=x + 1.0)

    with pytest.raises(NonFiniteError, match="no value at any start"):
        Laplace(progress=False).fit(nowhere, {"x": torch.zeros(3)})


def test_options_are_checked() -> None:
    message = re.escape("`hessian` must be one of full, block, diagonal, got 'diag'. Did you mean `diagonal`?")
    with pytest.raises(ConfigurationError, match=message):
        Laplace(hessian="diag")


def test_a_killed_fit_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 2:
            raise RuntimeError("killed")

    method = Laplace(progress=False, checkpoint_every=1)
    whole = method.fit(regression, {"x": X, "y": Y})
    with pytest.raises(RuntimeError, match="killed"):
        method.fit(regression, {"x": X, "y": Y}, checkpoint=tmp_path, callbacks=[stop])
    again = method.fit(regression, {"x": X, "y": Y}, checkpoint=tmp_path)
    assert again.info["convergence"] == whole.info["convergence"]
    assert again.info["log_evidence"] == whole.info["log_evidence"]
    assert all(map(torch.equal, again.guide.parameters(), whole.guide.parameters()))


@pytest.mark.parametrize("structure", ["full", "diagonal"])
def test_it_is_saved_and_read(structure: str, tmp_path: Path) -> None:
    fit = Laplace(steps=1, hessian=structure, progress=False).fit(regression, {"x": X, "y": Y})
    fit.save(tmp_path)
    again = load(tmp_path, model=regression)
    torch.testing.assert_close(again.posterior(10)["w"], fit.posterior(10)["w"])
    assert again.info["log_evidence"] == fit.info["log_evidence"]
