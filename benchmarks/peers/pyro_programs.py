"""The programs in plain Pyro: `pyro.infer.SVI`, `pyro.optim.Adam`, no JIT, as a Pyro user writes them.

Mini-batches are index gathers from a permutation drawn once an epoch; data live on the device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from data import PROGRAMS, ProgramSpec, load
from peers.networks import Decoder, Encoder
from pyro.infer import SVI, RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO, config_enumerate
from pyro.infer.autoguide import AutoNormal
from torch.distributions import constraints

__all__ = ["finish", "time_steps"]

Tensors = dict[str, torch.Tensor]


def _regression(size: int) -> tuple[Callable[..., None], Callable[..., object], object]:
    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        w = pyro.sample("w", dist.Normal(x.new_zeros(x.shape[1]), 1.0).to_event(1))
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=size / len(x)):
            pyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    return model, AutoNormal(model), Trace_ELBO(max_plate_nesting=1)


def _mixture(means: torch.Tensor) -> tuple[Callable[..., None], Callable[..., object], object]:
    @config_enumerate
    def model(x: torch.Tensor) -> None:
        logits = pyro.param("logits", lambda: x.new_zeros(len(means)))
        locs = pyro.param("means", means)
        scales = pyro.param("scales", lambda: torch.ones_like(means), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(logits=logits))
            pyro.sample("x", dist.Normal(locs[z], scales[z]).to_event(1), obs=x)

    return model, lambda x: None, TraceEnum_ELBO(max_plate_nesting=1)


def _autoencoder(spec: ProgramSpec, init: dict, device: str) -> tuple[Callable[..., None], Callable[..., None], object]:
    encoder = Encoder(init, spec.activation).to(device)
    decoder = Decoder(init, spec.activation).to(device)

    def model(x: torch.Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), spec.widths[-1]), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    if spec.num_particles > 1:
        return model, guide, RenyiELBO(0, spec.num_particles, max_plate_nesting=1, vectorize_particles=True)
    return model, guide, TraceMeanField_ELBO(max_plate_nesting=1)


def _batches(data: Tensors, batch_size: int | None) -> Iterator[Tensors]:
    size = len(data["x"])
    while batch_size is None:
        yield data
    while True:
        order = torch.randperm(size, device=data["x"].device)
        for rows in order[: size - size % batch_size].split(batch_size):
            yield {key: value[rows] for key, value in data.items()}


def _build(name: str, folder: Path, device: str) -> tuple[SVI, Iterator[Tensors], int]:
    """The SVI object, the endless batches, and the data that one loss is a sum over."""
    pyro.set_rng_seed(0)
    spec = PROGRAMS[name]
    arrays, init = load(folder)
    data = {key: torch.from_numpy(value).to(device) for key, value in arrays.items()}
    size = len(data["x"])
    if "y" in data:
        model, guide, objective = _regression(size)
    elif spec.widths:
        model, guide, objective = _autoencoder(spec, init, device)
        size = spec.batch_size or size
    else:
        model, guide, objective = _mixture(torch.from_numpy(init["means"]).to(device))
    svi = SVI(model, guide, pyro.optim.Adam({"lr": spec.lr}), objective)
    return svi, _batches(data, spec.batch_size), size


def time_steps(name: str, folder: Path, device: str, seconds: float, *, peer: str, **_: object) -> dict[str, float]:
    """Seconds a step after one warm-up chunk, over at least ``seconds``; ``peer="pyro_lean"`` drops validation."""
    if peer == "pyro_lean":
        pyro.enable_validation(False)
    svi, batches, size = _build(name, folder, device)
    chunk = PROGRAMS[name].chunk[device]
    losses = [svi.step(**next(batches)) for _ in range(chunk)]  # each step reads its loss: nothing is left running
    steps, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or steps == 0:
        for _ in range(max(1, chunk // 10)):
            svi.step(**next(batches))
            steps += 1
    tail = losses[-max(1, chunk // 5) :]
    return {"seconds_per_step": elapsed / steps, "steps": steps, "bound_per_datum": -sum(tail) / len(tail) / size}


def finish(folder: Path, device: str, steps: int) -> list[float]:
    """Fit the small logistic regression to the end and return the posterior median of the weights."""
    svi, batches, _ = _build("blr", folder, device)
    for _ in range(steps):
        svi.step(**next(batches))
    return svi.guide.median()["w"].tolist()
