"""Compiled steps give the eager numbers: several steps fused into one graph, and single ones with a ragged batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jensen.inference import SVI, BetaELBO, Linear, Trace_ELBO, iwae_schedule
from jensen.inference.step import engine

pytestmark = pytest.mark.slow  # Inductor takes about ten seconds to import and to build its first kernel


def test_fused_steps_equal_eager_ones(
    logistic: Any, same: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "choose_unroll", lambda *_: 3)
    model, data = logistic
    fits = [
        SVI(Trace_ELBO(), steps=29, lr=0.03, log_every=6, average=0.9, compile=mode, device="cpu").fit(model, data)
        for mode in (False, "inductor")
    ]
    assert (fits[1].info["compile"], fits[1].info["unroll"]) == ("inductor", 3)
    same(*fits, rtol=1e-8, atol=1e-10)


def test_mini_batches_with_a_ragged_one_equal_eager_ones(
    vae: Any, same: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "choose_unroll", lambda *_: 1)
    model, data = vae
    options = {
        "objective": BetaELBO(Linear()),
        "steps": 26,
        "lr": 0.02,
        "batch_size": 16,
        "log_every": 6,
        "clip_norm": 5.0,
    }
    fits = [
        SVI(lr_schedule=iwae_schedule, compile=mode, device="cpu", **options).fit(model, data)
        for mode in (False, "inductor")
    ]
    assert fits[1].info["compile"] == "inductor"
    same(*fits, rtol=1e-8, atol=1e-10)
