"""Fingerprints: equal for equal configurations in any process, different for any change that matters."""

from __future__ import annotations

import functools
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from jensen.studies.arms.fingerprint import describe, fingerprint, outline


@dataclass(frozen=True)
class Method:
    objective: Any = None
    lr: float = 1e-2


class Objective:
    def __init__(self, num_particles: int = 1) -> None:
        self.num_particles = num_particles


def net(seed: int = 0, size: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(size, size)


SAME = {
    "dataclass": lambda: Method(Objective(5), lr=0.1),
    "tensor": lambda: torch.arange(3.0),
    "array": lambda: numpy.arange(3.0),
    "module": lambda: net(),
    "closure": lambda: (lambda size: lambda: net(size=size))(3),
    "partial": lambda: functools.partial(net, size=4),
    "nested": lambda: {"a": [1, (2.0, None)], "b": {3, 1, 2}, "c": float("nan")},
    "class": lambda: Objective,
}


@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
def test_equal_configurations_have_equal_fingerprints(make):
    assert fingerprint(make()) == fingerprint(make())


DIFFERENT = [
    (Method(Objective(5)), Method(Objective(6))),
    (Method(lr=1e-2), Method(lr=1e-3)),
    (torch.zeros(3), torch.zeros(1, 3)),
    (torch.zeros(3), torch.zeros(3, dtype=torch.float64)),
    (torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])),
    (numpy.array(["a", "b"], dtype=object), numpy.array(["a", "c"], dtype=object)),
    (net(0), net(1)),
    (functools.partial(net, size=4), functools.partial(net, size=5)),
    (lambda x: x + 1, lambda x: x + 2),
    ((lambda n: lambda: n)(1), (lambda n: lambda: n)(2)),
    (nn.ReLU(), nn.Tanh()),
    (nn.Dropout(0.1), nn.Dropout(0.2)),
    ([1], [1.5]),
    (torch.nn.Sequential(nn.Linear(2, 2), nn.ReLU()).train(), torch.nn.Sequential(nn.Linear(2, 2), nn.Tanh())),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=range(len(DIFFERENT)))
def test_different_configurations_have_different_fingerprints(one, other):
    assert fingerprint(one) != fingerprint(other)


def test_a_changed_method_body_changes_the_class():
    def made(factor):
        source = (
            "class Model:\n    def __init__(self):\n        super().__init__()\n"
            f"    def model(self, x):\n        return {factor} * x\n"
        )
        scope: dict[str, Any] = {"__name__": "user_code"}
        exec(source, scope)
        return scope["Model"]

    assert fingerprint(made(2)) == fingerprint(made(2))
    assert fingerprint(made(2)) != fingerprint(made(3))


def test_values_that_refer_to_themselves_end():
    loop: Any = Objective()
    loop.self = loop
    assert fingerprint(loop) == fingerprint(loop)


def test_fingerprints_are_the_same_in_another_process():
    code = (
        "import torch, functools; from jensen.studies import fingerprint\n"
        "def f(x, *, y={'a', 'b', 'c'}): return x in {'p', 'q', 'r'}\n"
        "print(fingerprint(f, torch.ones(3), {'k': {'u', 'v', 'w'}}))"
    )
    prints = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment).stdout
        for environment in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"})
    }
    assert len(prints) == 1


def test_outline_is_short():
    assert outline(Method(Objective(5))) == {
        "class": f"{Method.__qualname__}",
        "objective": {"class": Objective.__qualname__, "state": {"num_particles": 5}},
        "lr": 0.01,
    }
    assert outline(torch.zeros(2, 3)) == "float32 (2, 3)"
    assert "code" in describe(net)
