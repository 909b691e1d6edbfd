"""float64, float32 and bfloat16: asked for by the method, whatever the caller's default is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from jensen.inference import SVI, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO

OPTIONS: dict[str, Any] = {"steps": 12, "lr": 0.02, "log_every": 4, "device": "cpu"}


def dtypes(fit: Any) -> set[torch.dtype]:
    tensors = [*fit.program.parameters(), *fit.program.buffers(), *fit.data.values()]
    return {tensor.dtype for tensor in tensors if tensor.is_floating_point()}


@pytest.mark.parametrize("mode", [False, "trace"])
@pytest.mark.parametrize("problem", ["logistic", "vae", "mixture", "linear"], indirect=True)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_has_the_dtype_that_was_asked_for(problem: Any, dtype: torch.dtype, mode: Any) -> None:
    model, data = problem
    torch.set_default_dtype(torch.float32 if dtype == torch.float64 else torch.float64)
    try:
        fit = SVI(Trace_ELBO(), dtype=dtype, compile=mode, **OPTIONS).fit(
            model, {k: v.float() for k, v in data.items()}
        )
    finally:
        torch.set_default_dtype(torch.float64)
    assert dtypes(fit) == {dtype}
    assert fit.info["dtype"] == str(dtype).removeprefix("torch.")


def test_float32_follows_float64(mixture: Any) -> None:
    fits = [
        SVI(TraceEnum_ELBO(), dtype=dtype, compile="trace", **OPTIONS).fit(*mixture)
        for dtype in (torch.float64, torch.float32)
    ]
    assert fits[0].history["bound"].iloc[-1] == pytest.approx(fits[1].history["bound"].iloc[-1], rel=1e-4)


@pytest.mark.parametrize("mode", [False, "trace"])
def test_bfloat16_runs_the_networks_and_keeps_the_parameters(vae: Any, mode: Any) -> None:
    model, data = vae
    seen: set[torch.dtype] = set()
    model.decoder.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    options = {**OPTIONS, "dtype": torch.float32, "batch_size": 16, "compile": mode, "steps": 30}
    half = SVI(TraceMeanField_ELBO(), precision="bf16", **options).fit(model, data)
    assert torch.bfloat16 in seen
    assert dtypes(half) == {torch.float32}
    full = SVI(TraceMeanField_ELBO(), **options).fit(model, data)
    assert half.history["bound"].iloc[-1] == pytest.approx(full.history["bound"].iloc[-1], rel=0.02)
    assert half.history["bound"].iloc[-1] != full.history["bound"].iloc[-1]


def test_bfloat16_traced_equals_eager(vae: Any, same: Callable[..., None]) -> None:
    options = {**OPTIONS, "dtype": torch.float32, "precision": "bf16", "batch_size": 25}
    fits = [SVI(TraceMeanField_ELBO(), compile=mode, **options).fit(*vae) for mode in (False, "trace")]
    same(*fits, rtol=2e-2, atol=2e-2)
