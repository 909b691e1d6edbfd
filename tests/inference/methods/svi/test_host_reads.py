"""Between two rows of the history no step waits for the device: nothing is read as a Python number."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

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
from jensen.inference.step.engine import Engine

READS = ("aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::nonzero", "aten::equal")


class Reads(TorchDispatchMode):
    """Counts the operations that make the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().split(".")[0]
        if name in READS or (name == "aten::_to_copy" and "device" in (kwargs or {})):
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "logistic regression": ("logistic", {"objective": Trace_ELBO(2)}),
    "autoencoder in ragged mini-batches": ("vae", {"objective": TraceMeanField_ELBO(), "batch_size": 16}),
    "importance weights": ("vae", {"objective": IWAE(3), "batch_size": 25}),
    "doubly reparameterised": ("vae", {"objective": DReG(3), "batch_size": 25}),
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


def reads_in_steps(problem: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Counter[str], int]:
    """Reads within the steps 20, 21, … 39, that is after everything was traced, and how many steps those were."""
    counts: Counter[str] = Counter()
    steps = 0
    run = Engine.run

    def counted(self: Engine, step: int, count: int) -> torch.Tensor:
        nonlocal steps
        if step < 20:
            return run(self, step, count)
        with Reads() as reads:
            out = run(self, step, count)
        counts.update(reads.counts)
        steps += count
        return out

    monkeypatch.setattr(Engine, "run", counted)
    SVI(**{"steps": 40, "lr": 0.01, "device": "cpu", **options}).fit(*problem)
    return counts, steps


@pytest.mark.parametrize(("problem", "options"), CASES.values(), ids=CASES, indirect=["problem"])
def test_traced_steps_read_nothing(problem: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    counts, steps = reads_in_steps(problem, monkeypatch, compile="trace", **options)
    assert steps == 20
    assert not counts


@pytest.mark.parametrize(("problem", "options"), CASES.values(), ids=CASES, indirect=["problem"])
def test_eager_steps_read_nothing(problem: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**options, "optimizer": torch.optim.RMSprop}
    counts, steps = reads_in_steps(problem, monkeypatch, compile=False, **options)
    assert steps == 20
    assert not counts


def test_eager_adam_reads_only_its_own_counter_on_the_host(logistic: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's Adam on the CPU keeps its step count in host memory, one for the one vector of parameters."""
    counts, steps = reads_in_steps(logistic, monkeypatch, objective=Trace_ELBO(), compile=False)
    assert set(counts) <= {"aten::_local_scalar_dense", "aten::item"}
    assert counts["aten::_local_scalar_dense"] <= steps


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["trace", "cudagraph"])
@pytest.mark.parametrize(("problem", "options"), CASES.values(), ids=CASES, indirect=["problem"])
def test_steps_never_wait_for_the_gpu(
    problem: Any, options: dict[str, Any], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Engine.run

    def strict(self: Engine, step: int, count: int) -> torch.Tensor:
        torch.cuda.set_sync_debug_mode("error" if step >= 20 else "default")
        try:
            return run(self, step, count)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Engine, "run", strict)
    SVI(**{"steps": 60, "lr": 0.01, "device": "cuda", "compile": mode, **options}).fit(*problem)
