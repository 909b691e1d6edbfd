"""On a GPU: a captured graph gives the eager numbers, and runs resume bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jensen.inference import (
    IWAE,
    SVI,
    BetaELBO,
    DReG,
    Linear,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceMeanField_ELBO,
    iwae_schedule,
)

pytestmark = pytest.mark.gpu

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "logistic regression": ("logistic", {"objective": Trace_ELBO(2)}),
    "autoencoder in ragged mini-batches": ("vae", {"objective": TraceMeanField_ELBO(), "batch_size": 16}),
    "importance weights": ("vae", {"objective": IWAE(5), "batch_size": 25}),
    "doubly reparameterised": ("vae", {"objective": DReG(5), "batch_size": 25}),
    "mixture": ("mixture", {"objective": TraceEnum_ELBO()}),
    "opaque draws": ("gamma", {"objective": Trace_ELBO(2)}),
    "schedules, clipping, averaging": (
        "vae",
        {
            "objective": BetaELBO(Linear()),
            "lr_schedule": iwae_schedule,
            "clip_norm": 1.0,
            "average": 0.9,
            "batch_size": 25,
        },
    ),
}


@pytest.mark.parametrize("mode", ["auto", "trace", "cudagraph"])
@pytest.mark.parametrize(("problem", "options"), CASES.values(), ids=CASES, indirect=["problem"])
def test_every_mode_equals_eager(problem: Any, options: dict[str, Any], mode: str, same: Callable[..., None]) -> None:
    options = {"steps": 90, "lr": 0.02, "log_every": 20, "device": "cuda", **options}
    eager, other = (SVI(compile=compile, **options).fit(*problem, seed=3) for compile in (False, mode))
    assert next(other.program.parameters()).is_cuda
    same(eager, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("problem", ["logistic", "vae"], indirect=True)
def test_a_captured_run_resumes_bit_for_bit(problem: Any, tmp_path: Path, same: Callable[..., None]) -> None:
    svi = SVI(TraceMeanField_ELBO(), steps=200, lr=0.02, log_every=20, device="cuda", compile="cudagraph")

    def interrupt(progress: Any) -> None:
        if progress.step == 100:
            raise KeyboardInterrupt

    svi.fit(*problem, checkpoint=tmp_path, callbacks=[interrupt])
    same(svi.fit(*problem, checkpoint=tmp_path), svi.fit(*problem))


def test_the_caller_s_cuda_generator_is_kept(vae: Any) -> None:
    states = torch.cuda.get_rng_state(), torch.get_rng_state()
    SVI(TraceMeanField_ELBO(), steps=30, device="cuda", batch_size=16).fit(*vae)
    assert torch.equal(torch.cuda.get_rng_state(), states[0])
    assert torch.equal(torch.get_rng_state(), states[1])


def test_a_device_that_is_absent_is_counted(vae: Any) -> None:
    from jensen.inference import ConfigurationError

    count = torch.cuda.device_count()
    with pytest.raises(ConfigurationError, match=f"`device` is 'cuda:{count}', but there are {count} CUDA devices"):
        SVI(device=f"cuda:{count}")
