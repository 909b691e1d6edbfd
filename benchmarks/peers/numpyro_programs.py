"""The programs in NumPyro: `lax.scan` over many steps, or one jitted `svi.update` a step.

The mixture is a `MixtureSameFamily` (a NumPyro user's marginalised mixture; faster than enumeration). Mini-batches
are drawn inside the compiled step with `jax.random.randint`, the cheapest sampler there is (with replacement).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from data import PROGRAMS, Arrays, ProgramSpec, load
from jax import lax, random
from numpyro.distributions import constraints
from numpyro.infer import SVI, RenyiELBO, Trace_ELBO, TraceMeanField_ELBO, init_to_feasible
from numpyro.infer.autoguide import AutoNormal

__all__ = ["finish", "result", "time_steps"]

Batch = dict[str, jax.Array]
_ACTIVATIONS = {"softplus": jax.nn.softplus, "tanh": jnp.tanh}


def _regression(size: int) -> tuple[Callable[..., None], Any, Any]:
    def model(x: jax.Array, y: jax.Array) -> None:
        w = numpyro.sample("w", dist.Normal(jnp.zeros(x.shape[1]), 1.0).to_event(1))
        with numpyro.plate("data", len(x)), numpyro.handlers.scale(scale=size / len(x)):
            numpyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    return model, AutoNormal(model, init_loc_fn=init_to_feasible), Trace_ELBO()


def _mixture(means: jax.Array) -> tuple[Callable[..., None], Any, Any]:
    def model(x: jax.Array) -> None:
        logits = numpyro.param("logits", jnp.zeros(len(means)))
        locs = numpyro.param("means", means)
        scales = numpyro.param("scales", jnp.ones_like(means), constraint=constraints.positive)
        parts = dist.Normal(locs, scales).to_event(1)
        with numpyro.plate("data", len(x)):
            numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(logits=logits), parts), obs=x)

    return model, lambda x: None, Trace_ELBO()


def _autoencoder(spec: ProgramSpec, init: Arrays) -> tuple[Callable[..., None], Callable[..., None], Any]:
    act, weights = _ACTIVATIONS[spec.activation], {key: jnp.asarray(value) for key, value in init.items()}
    depth = len(spec.widths) - 2

    def layer(params: Batch, name: str, x: jax.Array) -> jax.Array:
        return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]

    def encode(params: Batch, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        for i in range(depth):
            x = act(layer(params, f"encoder{i}", x))
        return layer(params, "loc", x), jnp.exp(layer(params, "log_scale", x))

    def decode(params: Batch, z: jax.Array) -> jax.Array:
        for i in range(depth):
            z = act(layer(params, f"decoder{i}", z))
        return layer(params, f"decoder{depth}", z)

    def declare(name: str, apply: Callable[..., Any], is_part: Callable[[str], bool]) -> Callable[..., Any]:
        part = {key: value for key, value in weights.items() if is_part(key)}
        return numpyro.module(name, (lambda key, shape: (None, part), apply), input_shape=(1,))

    def model(x: jax.Array) -> None:
        decoder = declare("decoder", decode, lambda key: key.startswith("decoder"))
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", dist.Normal(jnp.zeros((len(x), spec.widths[-1])), 1.0).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        encoder = declare("encoder", encode, lambda key: not key.startswith("decoder"))
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    objective = RenyiELBO(0, spec.num_particles) if spec.num_particles > 1 else TraceMeanField_ELBO()
    return model, guide, objective


def _build(name: str, folder: Path) -> tuple[SVI, Batch, int]:
    """The SVI object, the data on the device, and the data that one loss is a sum over."""
    spec = PROGRAMS[name]
    arrays, init = load(folder)
    data = {key: jnp.asarray(value) for key, value in arrays.items()}
    size = len(data["x"])
    if "y" in data:
        model, guide, objective = _regression(size)
    elif spec.widths:
        model, guide, objective = _autoencoder(spec, init)
        size = spec.batch_size or size
    else:
        model, guide, objective = _mixture(jnp.asarray(init["means"]))
    return SVI(model, guide, numpyro.optim.Adam(spec.lr), objective), data, size


def _draw(key: jax.Array, data: Batch, batch_size: int) -> Batch:
    rows = random.randint(key, (batch_size,), 0, len(data["x"]))
    return {name: value[rows] for name, value in data.items()}


def time_steps(name: str, folder: Path, device: str, seconds: float, *, peer: str, **_: object) -> dict[str, float]:
    """Seconds a step over at least ``seconds``, and the compile time: the first call less a later one."""
    svi, data, size = _build(name, folder)
    spec, chunk = PROGRAMS[name], PROGRAMS[name].chunk[device]

    def step(carry: tuple[Any, jax.Array], data: Batch) -> tuple[tuple[Any, jax.Array], jax.Array]:
        state, key = carry
        if spec.batch_size is None:
            state, loss = svi.update(state, **data)
            return (state, key), loss
        key, batch_key = random.split(key)
        state, loss = svi.update(state, **_draw(batch_key, data, spec.batch_size))
        return (state, key), loss

    @jax.jit
    def scan(carry: tuple[Any, jax.Array], data: Batch) -> tuple[tuple[Any, jax.Array], jax.Array]:
        return lax.scan(lambda c, _: step(c, data), carry, None, length=chunk)

    jitted = jax.jit(step)

    def loop(carry: tuple[Any, jax.Array], data: Batch) -> tuple[tuple[Any, jax.Array], list[jax.Array]]:
        losses = []
        for _ in range(chunk):
            carry, loss = jitted(carry, data)
            losses.append(loss)
        return carry, losses

    run = scan if peer == "numpyro_scan" else loop
    first = data if spec.batch_size is None else _draw(random.key(2), data, spec.batch_size)
    carry = jax.block_until_ready((svi.init(random.key(0), **first), random.key(1)))
    start = time.perf_counter()
    carry, losses = jax.block_until_ready(run(carry, data))
    first_chunk = time.perf_counter() - start
    chunks, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or chunks == 0:
        carry, _ = jax.block_until_ready(run(carry, data))
        chunks += 1
    tail = jnp.asarray(losses)[-max(1, chunk // 5) :]
    return {
        "seconds_per_step": elapsed / (chunks * chunk),
        "seconds_compile": max(0.0, first_chunk - elapsed / chunks),
        "steps": chunks * chunk,
        "bound_per_datum": -float(tail.mean()) / size,
    }


def finish(folder: Path, device: str, steps: int) -> list[float]:
    """Fit the small logistic regression to the end and return the posterior median of the weights."""
    svi, data, _ = _build("blr", folder)
    result = svi.run(random.key(0), steps, progress_bar=False, **data)
    return [float(w) for w in svi.guide.median(result.params)["w"]]


def result(name: str, folder: Path, device: str, steps: int, *, rows: int, start: str) -> dict[str, float]:
    """Make a fit of the first `rows` data: `svi.run`, or `lax.scan` over all steps where they take mini-batches."""
    svi, data, size = _build(name, folder)
    data, spec = {key: value[:rows] for key, value in data.items()}, PROGRAMS[name]
    if spec.batch_size is None:
        losses = svi.run(random.key(0), steps, progress_bar=False, **data).losses
        return {"bound": -float(losses[-1]) / size}
    batch_size = spec.batch_size

    @jax.jit
    def scan(carry: tuple[Any, jax.Array], data: Batch) -> tuple[tuple[Any, jax.Array], jax.Array]:
        def step(carry: tuple[Any, jax.Array], _: None) -> tuple[tuple[Any, jax.Array], jax.Array]:
            state, key = carry
            key, batch_key = random.split(key)
            state, loss = svi.update(state, **_draw(batch_key, data, batch_size))
            return (state, key), loss

        return lax.scan(step, carry, None, length=steps)

    carry = (svi.init(random.key(0), **_draw(random.key(2), data, batch_size)), random.key(1))
    _, losses = jax.block_until_ready(scan(carry, data))
    return {"bound": -float(losses[-100:].mean()) / size}
