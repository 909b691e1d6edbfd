"""The targets of `jensen.datasets.targets` as NumPyro programs, written anew, and their chains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS

__all__ = ["PROGRAMS", "sample"]


def _correlated_gaussian(y: Any) -> None:
    place = jnp.arange(30)
    errors = 0.9 ** jnp.abs(place[:, None] - place)
    x = numpyro.sample("x", dist.Normal(jnp.zeros(30), 10.0).to_event(1))
    numpyro.sample("y", dist.MultivariateNormal(x, errors), obs=y)


def _linear_gaussian(x: Any, y: Any) -> None:
    w = numpyro.sample("w", dist.Normal(jnp.zeros(5), 1.0).to_event(1))
    numpyro.sample("y", dist.Normal(x @ w, 2.0).to_event(1), obs=y)


def _logistic_regression(x: Any, y: Any) -> None:
    w = numpyro.sample("w", dist.Normal(jnp.zeros(30), 1.0).to_event(1))
    b = numpyro.sample("b", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Bernoulli(logits=x @ w + b).to_event(1), obs=y)


def _mixture(y: Any) -> None:
    w = numpyro.sample("w", dist.Beta(2.0, 2.0))
    mu = numpyro.sample("mu", dist.Normal(jnp.array([-1.0, 2.0]), 0.5).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    kinds = dist.Categorical(probs=jnp.stack([1.0 - w, w]))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.MixtureSameFamily(kinds, dist.Normal(mu, sigma)), obs=y)


def _eight_schools(y: Any, sigma: Any) -> None:
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", 8):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        theta = numpyro.deterministic("theta", mu + tau * z)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def _ar1(y: Any) -> None:
    phi = numpyro.sample("phi", dist.Uniform(-1.0, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    x = 0.0
    for t in range(len(y)):
        x = numpyro.sample(f"x_{t}", dist.Normal(phi * x, sigma))
        numpyro.sample(f"y_{t}", dist.Normal(x, 0.3), obs=y[t])


def _banana(y: Any) -> None:
    a = numpyro.sample("a", dist.Normal(0.0, 10.0))
    numpyro.sample("b", dist.Normal(0.03 * (a**2 - 100.0), 1.0))


PROGRAMS: dict[str, Callable[..., None]] = {
    "correlated_gaussian": _correlated_gaussian,
    "linear_gaussian": _linear_gaussian,
    "logistic_regression": _logistic_regression,
    "mixture": _mixture,
    "eight_schools_noncentred": _eight_schools,
    "ar1": _ar1,
    "banana": _banana,
}


def sample(
    name: str, data: Mapping[str, np.ndarray], steps: int, warmup: int, chains: int, acceptance: float, seed: int
) -> dict[str, np.ndarray]:
    """Draws ``(chains, steps, …)`` by latent of NumPyro's NUTS with a dense metric, one chain after another."""
    numpyro.enable_x64()
    kernel = NUTS(PROGRAMS[name], dense_mass=True, target_accept_prob=acceptance)
    run = MCMC(
        kernel, num_warmup=warmup, num_samples=steps, num_chains=chains, chain_method="sequential", progress_bar=False
    )
    run.run(jax.random.PRNGKey(seed), **{key: jnp.asarray(value) for key, value in data.items()})
    return {key: np.asarray(value) for key, value in run.get_samples(group_by_chain=True).items()}
