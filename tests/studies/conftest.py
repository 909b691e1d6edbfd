"""A method that fits nothing, so that the tests of studies are about studies."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas
import pytest
import torch
from torch import nn


class Net(nn.Module):
    """Stands for a model."""

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.init_arguments = {"size": size}
        self.weight = nn.Parameter(torch.zeros(size))


@dataclass(frozen=True)
class FakeFit:
    """What the studies ask of a Fit."""

    value: float
    data_size: int
    status: str = "finished"
    info: Mapping[str, Any] = field(default_factory=lambda: {"steps": 3, "steps_per_second": 30.0, "seconds": 0.1})

    @property
    def history(self) -> pandas.DataFrame:
        seconds, bounds = [0.01, 0.05, 0.1], [self.value - 2.0, self.value - 0.5, self.value]
        return pandas.DataFrame({"step": [1, 2, 3], "seconds": seconds, "bound_per_datum": bounds})

    def save(self, folder: Path) -> None:
        Path(folder).mkdir(parents=True)
        (Path(folder) / "fit.json").write_text(json.dumps({"value": self.value, "data_size": self.data_size}))


@dataclass(frozen=True)
class FakeMethod:
    """Fits by remembering ``value``; ``log`` (a file) counts the runs, ``fail`` and ``interrupt`` are what they say."""

    value: float = -1.0
    log: str = ""
    fail: str = ""
    interrupt: str = ""
    pause: float = 0.0

    def fit(
        self, model: Any, data: Any, *, seed: int, validation: Any = None, checkpoint: Any = None, callbacks: Any = ()
    ) -> FakeFit:
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{self.value} {seed}\n")
        if self.fail:
            raise ValueError(self.fail)
        if self.interrupt == "raise":
            raise KeyboardInterrupt
        time.sleep(self.pause)
        for callback in callbacks:
            callback(SimpleNamespace(step=1, steps=3, row={"bound_per_datum": self.value}))
        status = "interrupted" if self.interrupt == "return" else "finished"
        return FakeFit(self.value, len(data["x"]), status)


def log_evidence(fit: Any, data: Any, *, seed: int) -> Any:
    """A total over the data, exactly ``value`` per datum."""
    return _Estimate(fit.value * len(data["x"]), 0.1 * len(data["x"]), len(data["x"]))


def pareto_k(fit: Any, data: Any, *, seed: int) -> Any:
    """No total."""
    return _Estimate(0.3, 0.0, 1)


class _Estimate(float):
    def __new__(cls, value: float, stderr: float, n: int) -> _Estimate:
        estimate = super().__new__(cls, value)
        estimate.stderr, estimate.n = stderr, n
        return estimate


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The fakes, with `jensen.inference.load` reading fake fits."""
    import jensen.inference

    def load(folder: Path, model: Any = None, guide: Any = None) -> FakeFit:
        return FakeFit(**json.loads((Path(folder) / "fit.json").read_text()))

    monkeypatch.setattr(jensen.inference, "load", load, raising=False)
    return SimpleNamespace(Net=Net, Method=FakeMethod, log_evidence=log_evidence, pareto_k=pareto_k)


@pytest.fixture
def study(fake: SimpleNamespace, tmp_path: Path) -> Callable[..., Any]:
    """Make a Study of fakes whose runs are counted in ``tmp_path/log``."""
    from jensen.studies import Study

    def make(**changes: Any) -> Any:
        log = str(tmp_path / "log")
        options: dict[str, Any] = {
            "model": fake.Net,
            "data": {"x": torch.zeros(10, 2)},
            "methods": {"one": fake.Method(-1.0, log), "two": fake.Method(-2.0, log)},
            "metrics": [fake.log_evidence, fake.pareto_k],
            "seeds": range(2),
        }
        return Study("fakes", **(options | changes))

    return make


@pytest.fixture
def runs(tmp_path: Path) -> Callable[[], list[str]]:
    """The fits that were run so far, as ``value seed``."""
    log = tmp_path / "log"
    return lambda: log.read_text().split("\n")[:-1] if log.exists() else []
