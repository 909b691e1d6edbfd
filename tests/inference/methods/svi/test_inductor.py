"""Compiled steps give the eager numbers: several steps in one call, and single ones with a ragged batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jensen.inference import SVI, BetaELBO, Linear, Trace_ELBO, iwae_schedule
from jensen.inference.step import engine
from jensen.inference.step.compile import inductor

pytestmark = pytest.mark.slow  # Inductor takes about ten seconds to import and to build its first kernel


def test_steps_of_one_call_equal_eager_ones(
    logistic: Any, same: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "block_steps", lambda *_: 3)
    model, data = logistic
    fits = [
        SVI(Trace_ELBO(), steps=29, lr=0.03, log_every=6, average=0.9, compile=mode, device="cpu").fit(model, data)
        for mode in (False, "inductor")
    ]
    assert fits[1].info["compile"] == "inductor"
    same(*fits, rtol=1e-8, atol=1e-10)


def test_mini_batches_with_a_ragged_one_equal_eager_ones(
    vae: Any, same: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
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


def _break(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Let the next compilations fail as a half-written file in the cache makes them fail."""
    from torch._inductor.exc import InductorError

    tries: list[int] = []
    compile_graph = inductor._compile

    def fail(*arguments: Any) -> Any:
        tries.append(len(tries))
        if len(tries) <= times:
            raise InductorError(ImportError("kernel.so: file too short"), None)
        return compile_graph(*arguments)

    monkeypatch.setattr(inductor, "_compile", fail)
    return tries


def test_a_broken_file_in_the_cache_is_compiled_anew(
    logistic: Any, same: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = logistic
    tries = _break(monkeypatch, 1)
    options = {"steps": 12, "lr": 0.03, "log_every": 6, "device": "cpu"}
    fits = [SVI(Trace_ELBO(), compile=mode, **options).fit(model, data) for mode in (False, "inductor")]
    assert (len(tries), fits[1].info["compile"]) == (2, "inductor")
    same(*fits, rtol=1e-8, atol=1e-10)


def test_what_cannot_be_compiled_is_interpreted_with_a_warning(
    logistic: Any, same: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = logistic
    _break(monkeypatch, 10)
    monkeypatch.setattr(engine, "choose_backend", lambda *_: "inductor")
    options = {"steps": 12, "lr": 0.03, "log_every": 6, "device": "cpu"}
    with pytest.warns(UserWarning, match="could not be compiled.*file too short"):
        fit = SVI(Trace_ELBO(), **options).fit(model, data)
    assert fit.info["compile"] == "trace"
    same(SVI(Trace_ELBO(), compile=False, **options).fit(model, data), fit, rtol=1e-8, atol=1e-10)
    with pytest.raises(RuntimeError, match="file too short"):
        SVI(Trace_ELBO(), compile="inductor", **options).fit(model, data)
