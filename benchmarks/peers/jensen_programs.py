"""The programs in jensen: ordinary Pyro models, fitted with `SVI(...).fit(model, data)`."""

from __future__ import annotations

import importlib
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pyro
import pyro.distributions as dist
import torch
from data import PROGRAMS, ProgramSpec, load
from peers.networks import Decoder, Encoder
from pyro.nn import PyroParam
from torch import nn
from torch.distributions import constraints

from jensen.inference import IWAE, SVI, Fit, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from jensen.models import LatentVariableModel

__all__ = ["ablation", "finish", "host_reads", "memory", "result", "time_steps"]

_PASSES = {  # of the compiled step: where it is called, and what stands in its place when it is left out
    "fast_activations": ("inductor", "shorten_elementary", lambda module: None),
}


class Regression(LatentVariableModel):
    """``w ~ Normal(0, 1)``, ``y ~ Bernoulli(sigmoid(x w))``."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def model(self, x: torch.Tensor, y: torch.Tensor | None = None) -> None:
        w = pyro.sample("w", dist.Normal(torch.zeros(self.num_features), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


class Mixture(LatentVariableModel):
    """``z ~ Categorical(weights)``, ``x ~ Normal(means[z], scales[z])``; everything but z is a parameter."""

    def __init__(self, means: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(len(means)))
        self.means = nn.Parameter(means)
        self.scales = PyroParam(torch.ones_like(means), constraint=constraints.positive)

    def model(self, x: torch.Tensor | None = None) -> None:
        means, scales = self.means, self.scales
        with pyro.plate("data", 1 if x is None else len(x)):
            z = pyro.sample("z", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(means[z], scales[z]).to_event(1), obs=x)


class Autoencoder(LatentVariableModel):
    """``z ~ Normal(0, 1)``, ``x ~ Bernoulli(decoder(z))``, with an amortised Normal guide."""

    def __init__(self, spec: ProgramSpec, init: dict[str, Any]) -> None:
        super().__init__()
        self.latent = spec.widths[-1]
        self.encoder, self.decoder = Encoder(init, spec.activation), Decoder(init, spec.activation)

    def model(self, x: torch.Tensor | None = None) -> None:
        size = 1 if x is None else len(x)
        with pyro.plate("data", size):
            z = pyro.sample("z", dist.Normal(torch.zeros(size, self.latent), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*self.encoder(x)).to_event(1))


def _fit(name: str, folder: Path, device: str, compile: str, **options: Any) -> Fit:
    spec = PROGRAMS[name]
    arrays, init = load(folder)
    callbacks, rows = options.pop("callbacks", ()), options.pop("rows", None)
    if "y" in arrays:
        model, objective = Regression(arrays["x"].shape[1]), Trace_ELBO()
        options["guide"] = "normal"
    elif spec.widths:
        model = Autoencoder(spec, init)
        objective = IWAE(spec.num_particles) if spec.num_particles > 1 else TraceMeanField_ELBO()
    else:
        model, objective = Mixture(torch.from_numpy(init["means"])), TraceEnum_ELBO()
    options |= {"lr": spec.lr, "batch_size": spec.batch_size, "compile": compile, "device": device, "drop_last": True}
    method = SVI(objective, dtype=torch.float32, **options)
    return method.fit(
        model, {key: torch.from_numpy(value[:rows]) for key, value in arrays.items()}, callbacks=callbacks
    )


def time_steps(name: str, folder: Path, device: str, seconds: float, *, compile: str, **_: object) -> dict[str, float]:
    """Steady seconds a step (`fit.info`) of a fit long enough to last ``seconds``; compile time of the first fit."""
    chunk = PROGRAMS[name].chunk[device]
    first = _fit(name, folder, device, compile, steps=2 * chunk, log_every=max(1, chunk // 5))
    history = first.history  # its rows end with a block of steps, at or just after a multiple of `log_every`
    steps = chunk * max(1, round(seconds * first.info["steps_per_second"] / chunk))
    start = time.perf_counter()
    info = _fit(name, folder, device, compile, steps=steps, log_every=chunk).info
    return {
        "seconds_per_step": 1 / info["steps_per_second"],
        "seconds_compile": first.info["seconds_compile"],
        "seconds_wall": time.perf_counter() - start,
        "steps": steps,
        "bound_per_datum": float(history.bound_per_datum[history.step >= chunk].iloc[0]),
    }


def ablation(name: str, folder: Path, device: str, seconds: float, *, compile: str, rounds: int) -> dict[str, float]:
    """Least seconds a step with every pass of the compiler (key ``""``) and without each of them.

    The variants take turns in one process, so that a busy machine slows them all; a fit's kernels come from the cache
    after its first round.
    """
    chunk = PROGRAMS[name].chunk[device]
    variants = {"": nullcontext()} | {
        key: mock.patch.object(importlib.import_module(f"jensen.inference.step.compile.{module}"), function, neutral)
        for key, (module, function, neutral) in _PASSES.items()
    }
    least = dict.fromkeys(variants, float("inf"))
    steps = 2 * chunk
    for turn in range(rounds + 1):
        for key, without in variants.items():
            with without:
                speed = _fit(name, folder, device, compile, steps=steps, log_every=max(1, chunk // 5)).info
            if turn:
                least[key] = min(least[key], 1 / speed["steps_per_second"])
        steps = chunk * max(2, round(seconds * speed["steps_per_second"] / chunk))
    return least


def finish(folder: Path, device: str, steps: int) -> list[float]:
    """Fit the small logistic regression to the end and return the posterior mean of the weights."""
    fit = _fit("blr", folder, device, "auto", steps=steps)
    return fit.posterior(1_000)["w"].mean(0).tolist()


def result(name: str, folder: Path, device: str, steps: int, *, rows: int, start: str) -> dict[str, Any]:
    """Make a fit of the first `rows` data with `compile="auto"`, as a newcomer does."""
    fit = _fit(name, folder, device, "auto", rows=rows, steps=steps, start=start)
    return {"compile": fit.info["compile"], "bound": float(fit.history.bound_per_datum.iloc[-1])}


def memory(folder: Path, device: str, compile: str, marks: tuple[int, int]) -> dict[str, float]:
    """Resident bytes at the two steps of ``marks`` in one fit of the mini-batch logistic regression."""
    import psutil

    process, seen = psutil.Process(), {}

    def note(progress: Any) -> None:
        for mark in marks:
            if progress.step >= mark:
                seen.setdefault(str(mark), process.memory_info().rss)

    _fit("blr_big", folder, device, compile, steps=marks[1], log_every=marks[0], callbacks=(note,))
    return seen


def host_reads(name: str, folder: Path, device: str, compile: str) -> dict[str, float]:
    """`_local_scalar_dense` calls that a further step and a further logging interval cost, by differences of fits."""
    length = min(100, PROGRAMS[name].chunk[device])

    def count(intervals: int, length: int) -> int:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            _fit(name, folder, device, compile, steps=intervals * length, log_every=length)
        return sum(event.count for event in profile.key_averages() if "_local_scalar_dense" in event.key)

    count(1, length)  # what only the first fit of a process reads
    few, many, longer = count(1, length), count(5, length), count(5, 2 * length)
    return {"reads_per_step": (longer - many) / (5 * length), "reads_per_interval": (many - few) / 4}
