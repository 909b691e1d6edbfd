"""Program run by `test_parallel.py`, in one process or under torchrun: fit; the first process writes the results.

Usage: parallel_fits.py FOLDER. Every fit is of the same data, seed and global batch, whatever the number of processes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch.utils.data import DataLoader, TensorDataset

from jensen.datasets import DynamicBinarization
from jensen.inference import (
    IWAE,
    SVI,
    BetaELBO,
    ConfigurationError,
    Linear,
    ModelError,
    Trace_ELBO,
    TraceMeanField_ELBO,
)
from jensen.models import VAE, BayesianLogisticRegression, GaussianMixture

OPTIONS: dict[str, Any] = {"steps": 12, "lr": 0.02, "log_every": 4, "device": "cpu", "dtype": torch.float64}
GENERATOR = torch.Generator().manual_seed(1)
X = torch.randn(40, 3, generator=GENERATOR, dtype=torch.float64)
Y = (X.sum(-1) > 0).double()
BITS = torch.bernoulli(torch.full((48, 6), 0.4, dtype=torch.float64), generator=GENERATOR)
GREY = torch.rand(48, 6, generator=GENERATOR, dtype=torch.float64)


def interrupt(progress: Any) -> None:
    if progress.step == 8:
        raise KeyboardInterrupt


def logistic(folder: Path, mode: Any) -> Any:
    svi = SVI(Trace_ELBO(2), compile=mode, average=0.9, **OPTIONS)
    return svi.fit(BayesianLogisticRegression(3), {"x": X, "y": Y}, seed=3)


def mini_batches(folder: Path, mode: Any) -> Any:
    more: dict[str, Any] = {"batch_size": 16, "clip_norm": 5.0, "lr_schedule": lambda f: 1.0 - 0.5 * f}
    svi = SVI(BetaELBO(Linear()), compile=mode, **more, **OPTIONS)
    return svi.fit(VAE(6, 2, hidden=(4,)), BITS, seed=3, validation=BITS[:10])


def importance(folder: Path, mode: Any) -> Any:
    return SVI(IWAE(3), batch_size=16, compile=mode, **OPTIONS).fit(VAE(6, 2, hidden=(4,)), BITS, seed=3)


def global_latents(folder: Path, mode: Any) -> Any:
    svi = SVI(TraceMeanField_ELBO(2), batch_size=20, compile=mode, **OPTIONS)
    return svi.fit(BayesianLogisticRegression(3), {"x": X, "y": Y}, seed=3)


def mixture(folder: Path, mode: Any) -> Any:
    return SVI("TraceEnum_ELBO", compile=mode, **OPTIONS).fit(GaussianMixture(2, 3), X, seed=3)


def transformed(folder: Path, mode: Any) -> Any:
    svi = SVI(TraceMeanField_ELBO(), batch_size=16, transform=DynamicBinarization(), compile=mode, **OPTIONS)
    return svi.fit(VAE(6, 2, hidden=(4,)), GREY, seed=3)


def loader(folder: Path, mode: Any) -> Any:
    batches = DataLoader(TensorDataset(BITS), batch_size=16, shuffle=True)
    return SVI(TraceMeanField_ELBO(), compile=mode, **OPTIONS).fit(VAE(6, 2, hidden=(4,)), batches, seed=3)


def resumed(folder: Path, mode: Any) -> Any:
    svi = SVI(TraceMeanField_ELBO(), batch_size=16, compile=mode, **OPTIONS)
    part = svi.fit(VAE(6, 2, hidden=(4,)), BITS, seed=3, checkpoint=folder / f"run-{mode}", callbacks=[interrupt])
    assert part.status == "interrupted", part.status
    return svi.fit(VAE(6, 2, hidden=(4,)), BITS, seed=3, checkpoint=folder / f"run-{mode}")


def stopped(folder: Path, mode: Any) -> Any:
    """One process alone wants to stop."""
    first = int(os.environ.get("RANK", "0")) == 0
    svi = SVI(TraceMeanField_ELBO(), batch_size=16, compile=mode, **OPTIONS)
    return svi.fit(VAE(6, 2, hidden=(4,)), BITS, seed=3, callbacks=[lambda progress: first and progress.step == 8])


FITS: tuple[Callable[[Path, Any], Any], ...] = (
    logistic,
    mini_batches,
    importance,
    global_latents,
    mixture,
    transformed,
    loader,
    resumed,
    stopped,
)


def shared_gamma(x: torch.Tensor) -> None:
    rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Poisson(rate), obs=x)


def gamma_guide(x: torch.Tensor) -> None:
    """Draws a global latent in a way that no base noise can make."""
    shape = pyro.param("shape", torch.tensor(2.0), constraint=dist.constraints.positive)
    pyro.sample("rate", dist.Gamma(shape, 1.0))


def refusals() -> list[str]:
    """What a parallel run says about batches that it cannot divide."""
    said = []
    for options, data in (
        ({"batch_size": 15}, BITS[:45]),
        ({"batch_size": 32}, BITS),
        ({}, BITS[:47]),
        ({}, DataLoader(TensorDataset(BITS), batch_size=20)),
    ):
        try:
            SVI(TraceMeanField_ELBO(), compile=False, **OPTIONS, **options).fit(VAE(6, 2, hidden=(4,)), data)
            said.append("nothing")
        except (ConfigurationError, ModelError) as error:
            said.append(str(error))
    try:
        svi = SVI(Trace_ELBO(), guide=lambda model: gamma_guide, compile=False, **OPTIONS)
        svi.fit(shared_gamma, {"x": torch.ones(4)})
        said.append("nothing")
    except ConfigurationError as error:
        said.append(str(error))
    return said


def main(folder: Path) -> None:
    results: dict[str, Any] = {}
    for fit in FITS:
        for mode in (False, "trace"):
            torch.manual_seed(int(os.environ.get("RANK", "0")))  # each process makes a model of its own
            made = fit(folder, mode)
            results[f"{fit.__name__} {mode}"] = {
                "parameters": {name: value.detach().tolist() for name, value in made.program.named_parameters()},
                "history": made.history.drop(columns="seconds").to_numpy().tolist(),
                "status": made.status,
            }
    results["refusals"] = refusals()
    if int(os.environ.get("RANK", "0")) == 0:
        (folder / "results.json").write_text(json.dumps(results))


def leave() -> None:
    """End all processes together, without the interpreter's teardown, which gloo's threads now and then outlive."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave()
