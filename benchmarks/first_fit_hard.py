"""More posteriors for `first_fit`: few rows, bounds, heavy tails, huge counts, censoring, series, hierarchies."""

from __future__ import annotations

__all__ = ["HARD"]

from collections.abc import Callable
from typing import Any

import numpy as np
from first_fit_targets import Data, Library, rows


def _gamma(lib: Library, x: Any, y: Any) -> None:
    d = lib.dist
    a = lib.sample("a", d.Normal(0.0, 100.0))
    b = lib.sample("b", d.Normal(0.0, 100.0))
    k = lib.sample("k", d.HalfNormal(10.0))
    with lib.plate("data", len(x)):
        lib.sample("y", d.Gamma(k, k * lib.xp.exp(-a - b * x)), obs=y)


def _ordinal(lib: Library, x: Any, y: Any) -> None:
    d = lib.dist
    b = lib.sample("b", d.Normal(0.0, 5.0))
    base = d.Normal(lib.xp.zeros(4), 10.0).to_event(1)
    cuts = lib.sample("cuts", d.TransformedDistribution(base, [d.transforms.OrderedTransform()]))
    with lib.plate("data", len(x)):
        lib.sample("y", d.OrderedLogistic(b * x, cuts), obs=y)


def _horseshoe(lib: Library, x: Any, y: Any) -> None:
    d, size = lib.dist, x.shape[1]
    tau = lib.sample("tau", d.HalfCauchy(1.0))
    lam = lib.sample("lam", d.HalfCauchy(lib.xp.ones(size)).to_event(1))
    w = lib.sample("w", d.Normal(lib.xp.zeros(size), tau * lam).to_event(1))
    s = lib.sample("s", d.HalfNormal(10.0))
    with lib.plate("data", len(x)):
        lib.sample("y", d.Normal(x @ w, s), obs=y)


def _blend(lib: Library, m: Any, y: Any) -> None:
    p = lib.sample("p", lib.dist.Dirichlet(0.5 * lib.xp.ones(m.shape[1])))
    with lib.plate("data", len(y)):
        lib.sample("y", lib.dist.Poisson(200.0 * (m @ p)), obs=y)


def _binomial(lib: Library, n: Any, y: Any) -> None:
    d = lib.dist
    mu = lib.sample("mu", d.Normal(0.0, 10.0))
    tau = lib.sample("tau", d.HalfNormal(1.0))
    with lib.plate("shops", 6):
        z = lib.sample("z", d.Normal(mu, tau))
        lib.sample("y", d.Binomial(n, logits=z), obs=y)


def _change(lib: Library, t: Any, y: Any) -> None:
    d = lib.dist
    at = lib.sample("at", d.Uniform(0.0, 112.0))
    early = lib.sample("early", d.Gamma(0.1, 0.1))
    late = lib.sample("late", d.Gamma(0.1, 0.1))
    with lib.plate("data", len(y)):
        after = 1.0 / (1.0 + lib.xp.exp(at - t))
        lib.sample("y", d.Poisson(early + (late - early) * after), obs=y)


def _survival(lib: Library, t: Any, dead: Any, x: Any) -> None:
    d = lib.dist
    a = lib.sample("a", d.Normal(0.0, 100.0))
    b = lib.sample("b", d.Normal(0.0, 10.0))
    k = lib.sample("k", d.HalfNormal(5.0))
    with lib.plate("data", len(t)):
        hazard = lib.xp.exp(k * (lib.xp.log(t) - a - b * x))  # cumulative; a Weibull's in t days
        lib.factor("log_survival", -hazard)
        lib.factor("log_hazard", dead * (lib.xp.log(k * hazard) - lib.xp.log(t)))


def _ar(lib: Library, y: Any) -> None:
    d = lib.dist
    mu = lib.sample("mu", d.Normal(0.0, 1_000.0))
    phi = lib.sample("phi", d.Uniform(-1.0, 1.0))
    s = lib.sample("s", d.HalfCauchy(10.0))
    with lib.plate("steps", len(y) - 1):
        lib.sample("y", d.Normal(mu + phi * (y[:-1] - mu), s), obs=y[1:])


def _cauchy(lib: Library, x: Any, y: Any) -> None:
    w = lib.sample("w", lib.dist.Cauchy(lib.xp.zeros(x.shape[1]), 2.5).to_event(1))
    with lib.plate("data", len(x)):
        lib.sample("y", lib.dist.Bernoulli(logits=x @ w), obs=y)


def _edge(lib: Library, y: Any) -> None:
    p = lib.sample("p", lib.dist.Uniform(0.0, 1.0))
    with lib.plate("data", len(y)):
        lib.sample("y", lib.dist.Normal(p, 1.0), obs=y)


def _line(lib: Library, x: Any, y: Any) -> None:
    d = lib.dist
    a = lib.sample("a", d.Normal(0.0, 100.0))
    b = lib.sample("b", d.Normal(0.0, 100.0))
    s = lib.sample("s", d.HalfCauchy(5.0))
    with lib.plate("data", len(x)):
        lib.sample("y", d.Normal(a + b * x, s), obs=y)


def _single(lib: Library, y: Any) -> None:
    d = lib.dist
    mu = lib.sample("mu", d.Normal(0.0, 10.0))
    s = lib.sample("s", d.HalfNormal(5.0))
    with lib.plate("data", len(y)):
        lib.sample("y", d.Normal(mu, s), obs=y)


def _process(lib: Library, x: Any, y: Any) -> None:
    d, count = lib.dist, len(x)
    amplitude = lib.sample("amplitude", d.HalfNormal(10.0))
    length = lib.sample("length", d.LogNormal(0.0, 1.0))
    noise = lib.sample("noise", d.HalfNormal(1.0))
    far = (x[:, None] - x[None, :]) ** 2
    cov = amplitude**2 * lib.xp.exp(-0.5 * far / length**2) + (noise**2 + 1e-4) * lib.xp.eye(count)
    lib.sample("y", d.MultivariateNormal(lib.xp.zeros(count), covariance_matrix=cov), obs=y)


def _clinics(lib: Library, g: Any, x: Any, y: Any) -> None:
    d = lib.dist
    mu = lib.sample("mu", d.Normal(0.0, 10.0))
    b = lib.sample("b", d.Normal(0.0, 10.0))
    tau = lib.sample("tau", d.HalfCauchy(2.5))
    with lib.plate("clinics", 15):
        theta = lib.sample("theta", d.Normal(mu, tau))
    with lib.plate("data", len(y)):
        lib.sample("y", d.Bernoulli(logits=theta[g] + b * x), obs=y)


def _incomes(rng: np.random.Generator) -> Data:
    x = rng.uniform(20, 65, 80)
    return {"x": x, "y": rng.gamma(4.0, np.exp(9.5 + 0.02 * x) / 4.0)}


def _grades(rng: np.random.Generator) -> Data:
    x = rng.normal(size=70)
    return {"x": x, "y": np.digitize(1.2 * x + rng.logistic(size=70), [-2.5, -0.5, 1.0, 3.0])}


def _sparse(rng: np.random.Generator) -> Data:
    x = rng.normal(size=(60, 8))
    return {"x": x, "y": x @ np.array([3.0, -2.0, 0, 0, 0, 0, 0, 0]) + rng.normal(size=60)}


def _mixed(rng: np.random.Generator) -> Data:
    m = rng.dirichlet(np.full(4, 3.0), 12)
    return {"m": m, "y": rng.poisson(200.0 * m @ np.array([0.6, 0.3, 0.08, 0.02])).astype(float)}


def _shops(rng: np.random.Generator) -> Data:
    n = np.array([2e6, 5e5, 3e6, 1e5, 8e5, 1e6])
    return {"n": n, "y": rng.binomial(n.astype(int), 1 / (1 + np.exp(4 - 0.3 * rng.normal(size=6)))).astype(float)}


def _coal(rng: np.random.Generator) -> Data:
    t = np.arange(112.0)
    return {"t": t, "y": rng.poisson(np.where(t < 41, 3.0, 0.9)).astype(float)}


def _patients(rng: np.random.Generator) -> Data:
    x = rng.integers(0, 2, 60).astype(float)
    t, limit = np.exp(6.0 + 0.7 * x) * rng.weibull(1.4, 60), rng.uniform(200, 900, 60)
    return {"t": np.minimum(t, limit), "dead": (t < limit).astype(float), "x": x}


def _series(rng: np.random.Generator) -> Data:
    y = [500.0]
    for _ in range(49):
        y.append(500.0 + 0.9 * (y[-1] - 500.0) + 4.0 * float(rng.normal()))
    return {"y": np.array(y)}


def _separated(rng: np.random.Generator) -> Data:
    x = np.stack([np.ones(10), np.linspace(-2, 2, 10)], 1)
    return {"x": x, "y": (x[:, 1] > 0).astype(float)}


def _curve(rng: np.random.Generator) -> Data:
    x = np.sort(rng.uniform(0, 6, 10))
    return {"x": x, "y": 3.0 * np.sin(x) + 0.3 * rng.normal(size=10)}


def _visits(rng: np.random.Generator) -> Data:
    g, x = np.arange(150) % 15, rng.normal(size=150)
    logits = rng.normal(size=15)[g] - 1.0 + 0.8 * x
    return {"g": g, "x": x, "y": (rng.random(150) < 1 / (1 + np.exp(-logits))).astype(float)}


# name: program, data
HARD: dict[str, tuple[Callable[..., Any], Callable[[], Data]]] = {
    "gamma regression of incomes": (_gamma, rows(11, _incomes)),
    "grades in five steps": (_ordinal, rows(12, _grades)),
    "horseshoe over 8 columns": (_horseshoe, rows(13, _sparse)),
    "blends of 4 sources": (_blend, rows(14, _mixed)),
    "rates of a million visits": (_binomial, rows(15, _shops)),
    "change of a rate": (_change, rows(16, _coal)),
    "censored survival in days": (_survival, rows(17, _patients)),
    "AR(1) around 500": (_ar, rows(18, _series)),
    "separated, Cauchy priors": (_cauchy, rows(19, _separated)),
    "Uniform at its edge": (_edge, lambda: {"y": np.array([-0.6, -0.2, -0.9, 0.1, -0.4, -0.7])}),
    "a line through 3 rows": (_line, lambda: {"x": np.array([1.0, 2, 3]), "y": np.array([10.1, 11.9, 14.2])}),
    "one row": (_single, lambda: {"y": np.array([7.0])}),
    "a process on 10 rows": (_process, rows(21, _curve)),
    "clinics, centred": (_clinics, rows(22, _visits)),
}
