"""Posteriors for `first_fit`: one definition each, run by Pyro and by NumPyro, on data as they come."""

from __future__ import annotations

__all__ = ["TARGETS", "Data", "Library", "jax_library", "rows", "torch_library"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Data = dict[str, np.ndarray]


@dataclass(frozen=True)
class Library:
    """What a program is written with: a library's `sample`, `factor`, `plate`, distributions, and arrays."""

    name: str
    sample: Callable[..., Any]
    factor: Callable[..., Any]
    plate: Callable[..., Any]
    dist: Any
    xp: Any


def torch_library() -> Library:
    import pyro
    import pyro.distributions as dist
    import torch

    return Library("pyro", pyro.sample, pyro.factor, pyro.plate, dist, torch)


def jax_library() -> Library:
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    return Library("numpyro", numpyro.sample, numpyro.factor, numpyro.plate, dist, jnp)


def _linear(coefficients: float, intercept: float, noise: float) -> Callable[..., Any]:
    def program(lib: Library, x: Any, y: Any) -> None:
        d = lib.dist
        w = lib.sample("w", d.Normal(lib.xp.zeros(x.shape[1]), coefficients).to_event(1))
        b = lib.sample("b", d.Normal(0.0, intercept))
        s = lib.sample("s", d.HalfCauchy(noise))
        with lib.plate("data", len(x)):
            lib.sample("y", d.Normal(x @ w + b, s), obs=y)

    return program


def _logistic(coefficients: float) -> Callable[..., Any]:
    def program(lib: Library, x: Any, y: Any) -> None:
        d = lib.dist
        w = lib.sample("w", d.Normal(lib.xp.zeros(x.shape[1]), coefficients).to_event(1))
        b = lib.sample("b", d.Normal(0.0, coefficients))
        with lib.plate("data", len(x)):
            lib.sample("y", d.Bernoulli(logits=x @ w + b), obs=y)

    return program


def _poisson(lib: Library, x: Any, y: Any) -> None:
    a = lib.sample("a", lib.dist.Normal(0.0, 10.0))
    b = lib.sample("b", lib.dist.Normal(0.0, 10.0))
    with lib.plate("data", len(x)):
        lib.sample("y", lib.dist.Poisson(lib.xp.exp(a + b * x)), obs=y)


def _groups(lib: Library, g: Any, y: Any) -> None:
    d = lib.dist
    mu = lib.sample("mu", d.Normal(0.0, 100.0))
    tau = lib.sample("tau", d.HalfNormal(50.0))
    s = lib.sample("s", d.HalfNormal(50.0))
    with lib.plate("groups", 8):
        theta = lib.sample("theta", d.Normal(mu, tau))
    with lib.plate("data", len(y)):
        lib.sample("y", d.Normal(theta[g], s), obs=y)


def _schools(lib: Library, y: Any, sigma: Any) -> None:
    d = lib.dist
    mu = lib.sample("mu", d.Normal(0.0, 5.0))
    tau = lib.sample("tau", d.HalfCauchy(5.0))
    with lib.plate("schools", 8):
        theta = lib.sample("theta", d.Normal(mu, tau))
        lib.sample("y", d.Normal(theta, sigma), obs=y)


def _schools_apart(lib: Library, y: Any, sigma: Any) -> None:
    d = lib.dist
    mu = lib.sample("mu", d.Normal(0.0, 5.0))
    tau = lib.sample("tau", d.HalfCauchy(5.0))
    with lib.plate("schools", 8):
        z = lib.sample("z", d.Normal(0.0, 1.0))
        lib.sample("y", d.Normal(mu + tau * z, sigma), obs=y)


def _coin(lib: Library, y: Any) -> None:
    p = lib.sample("p", lib.dist.Beta(1.0, 1.0))
    with lib.plate("data", len(y)):
        lib.sample("y", lib.dist.Bernoulli(probs=p), obs=y)


def _waiting(lib: Library, y: Any) -> None:
    shape = lib.sample("shape", lib.dist.Gamma(0.1, 0.1))
    rate = lib.sample("rate", lib.dist.Gamma(0.1, 0.1))
    with lib.plate("data", len(y)):
        lib.sample("y", lib.dist.Gamma(shape, rate), obs=y)


def _simplex(lib: Library, y: Any) -> None:
    p = lib.sample("p", lib.dist.Dirichlet(lib.xp.ones(4)))
    with lib.plate("data", len(y)):
        lib.sample("y", lib.dist.Categorical(probs=p), obs=y)


def _zeros(lib: Library, y: Any) -> None:
    d = lib.dist
    gate = lib.sample("gate", d.Beta(1.0, 1.0))
    rate = lib.sample("rate", d.Gamma(0.1, 0.01))
    with lib.plate("data", len(y)):
        if lib.name == "pyro":
            open_ = lib.sample("open", d.Bernoulli(1.0 - gate), infer={"enumerate": "parallel"})
            lib.sample("y", d.Poisson(rate * open_ + 1e-30), obs=y)
        else:
            lib.sample("y", d.ZeroInflatedPoisson(gate, rate), obs=y)


def _robust(lib: Library, x: Any, y: Any) -> None:
    d = lib.dist
    a = lib.sample("a", d.Normal(0.0, 1e5))
    b = lib.sample("b", d.Normal(0.0, 1e5))
    s = lib.sample("s", d.HalfCauchy(1e4))
    with lib.plate("data", len(x)):
        lib.sample("y", d.StudentT(4.0, a + b * x, s), obs=y)


def _counts(lib: Library, x: Any, y: Any) -> None:
    d = lib.dist
    a = lib.sample("a", d.Normal(0.0, 10.0))
    b = lib.sample("b", d.Normal(0.0, 10.0))
    k = lib.sample("k", d.Gamma(0.1, 0.1))
    with lib.plate("data", len(x)):
        mean = lib.xp.exp(a + b * x)
        lib.sample("y", d.GammaPoisson(k, k / mean), obs=y)


def _covariance(lib: Library, x: Any) -> None:
    d, size = lib.dist, x.shape[1]
    mu = lib.sample("mu", d.Normal(lib.xp.zeros(size), 100.0).to_event(1))
    scale = lib.sample("scale", d.HalfCauchy(lib.xp.ones(size) * 10.0).to_event(1))
    root = lib.sample("root", d.LKJCholesky(size, 1.0))
    with lib.plate("data", len(x)):
        lib.sample("x", d.MultivariateNormal(mu, scale_tril=scale[:, None] * root), obs=x)


def _diabetes() -> Data:
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True, scaled=False)
    return {"x": x, "y": y}


def _cancer(columns: int, standard: bool) -> Data:
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    x = x[:, :columns]
    return {"x": (x - x.mean(0)) / x.std(0) if standard else x, "y": y.astype(float)}


def _wine() -> Data:
    from sklearn.datasets import load_wine

    x = load_wine().data
    return {"x": x[:, 1:], "y": x[:, 0]}


def _years() -> Data:
    years = np.arange(1990.0, 1997.0)
    return {"x": years[:, None], "y": np.array([80.1, 83.0, 84.9, 88.2, 89.5, 93.1, 94.8])}


def rows(seed: int, make: Callable[[np.random.Generator], Data]) -> Callable[[], Data]:
    return lambda: make(np.random.default_rng(seed))


def _income(rng: np.random.Generator) -> Data:
    age = rng.uniform(20, 65, 120)
    return {"x": age, "y": 12_000 + 900 * age + 6_000 * rng.standard_t(4, 120)}


def _events(rng: np.random.Generator) -> Data:
    x = rng.normal(size=80)
    return {"x": x, "y": rng.poisson(np.exp(4 + 0.3 * x)).astype(float)}


def _schools_of_pupils(rng: np.random.Generator) -> Data:
    g = np.arange(96) % 8
    return {"g": g, "y": 50 + 5 * rng.normal(size=8)[g] + 8 * rng.normal(size=96)}


def _bursts(rng: np.random.Generator) -> Data:
    x = rng.normal(size=100)
    return {"x": x, "y": rng.poisson(np.exp(3 + 0.5 * x) * rng.gamma(2, 0.5, 100)).astype(float)}


def _iris() -> Data:
    from sklearn.datasets import load_iris

    return {"x": load_iris().data[:50] * 10}


_EIGHT = {
    "y": np.array([28.0, 8, -3, 7, -1, 1, 18, 12]),
    "sigma": np.array([15.0, 10, 16, 11, 9, 11, 10, 18]),
}

# name: program, data
TARGETS: dict[str, tuple[Callable[..., Any], Callable[[], Data]]] = {
    "diabetes, raw columns": (_linear(100.0, 1_000.0, 100.0), _diabetes),
    "cancer, 9 raw columns, N(0, 100)": (_logistic(100.0), lambda: _cancer(9, False)),
    "cancer, 30 standardised": (_logistic(1.0), lambda: _cancer(30, True)),
    "wine, raw columns": (_linear(10.0, 100.0, 10.0), _wine),
    "trend over 7 years": (_linear(100.0, 1e5, 10.0), _years),
    "Poisson, mean 55": (_poisson, rows(1, _events)),
    "group means near 50": (_groups, rows(2, _schools_of_pupils)),
    "eight schools, centred": (_schools, lambda: dict(_EIGHT)),
    "eight schools, non-centred": (_schools_apart, lambda: dict(_EIGHT)),
    "coin, 5 throws": (_coin, lambda: {"y": np.array([1.0, 1, 1, 0, 1])}),
    "waiting times in seconds": (_waiting, rows(3, lambda r: {"y": r.gamma(2.0, 5_000.0, 60)})),
    "proportions of 4 kinds": (_simplex, rows(4, lambda r: {"y": r.choice(4, 40, p=[0.5, 0.3, 0.15, 0.05])})),
    "zero-inflated counts": (
        _zeros,
        rows(5, lambda r: {"y": (r.poisson(30.0, 100) * (r.random(100) > 0.3)).astype(float)}),
    ),
    "incomes with outliers": (_robust, rows(6, _income)),
    "over-dispersed counts": (_counts, rows(7, _bursts)),
    "iris covariance, in mm": (_covariance, _iris),
}
