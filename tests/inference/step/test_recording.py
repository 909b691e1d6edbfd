"""A recorded graph does what the function does, and refuses what it could not repeat."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from jensen.inference.step.compile.graph import trace
from jensen.inference.step.compile.recording import record, spec_of


def _in_place(x: Tensor) -> Tensor:
    total = x.clone()
    total += 1.0
    total.mul_(x)
    return total


def _through_a_view(x: Tensor) -> Tensor:
    whole = torch.zeros(4, 3)
    whole[1] = x.sum(0)
    whole[2].add_(1.0)
    return whole


def _gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        value = torch.vmap(lambda row: torch.logsumexp(row.tanh(), 0))(leaf).sum()
        return value.detach(), torch.autograd.grad(value, leaf)[0]


def _constants(x: Tensor) -> Tensor:
    scale = torch.tensor(2.0)
    scale += 1.0
    return x * scale * float(torch.ones(3).sum())


@pytest.mark.parametrize("function", [_in_place, _through_a_view, _gradient, _constants])
def test_it_repeats_the_function_on_other_numbers(function: Callable[..., Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    first, *others = (torch.randn(5, 3, generator=generator) for _ in range(3))
    for graph in (record(function, [first]), trace(function, [first])):
        for x in (first, *others, others[0]):
            for found, expected in zip(_flat(graph(x.clone())), _flat(function(x.clone())), strict=True):
                torch.testing.assert_close(found, expected)


def _flat(found: Any) -> list[Tensor]:
    return list(found) if isinstance(found, (list, tuple)) else [found]


def test_writing_into_a_tensor_of_its_own_becomes_a_new_tensor() -> None:
    names = [str(node.target) for node in trace(_in_place, [torch.ones(5, 3)]).graph.nodes if node.op != "output"]
    assert names == ["input_0", "aten.add.Tensor", "aten.mul.Tensor"]


def test_one_tensor_twice_is_two_inputs() -> None:
    x = torch.ones(2)
    graph = record(lambda a, b: a - 2.0 * b, [x, x])
    assert graph(torch.tensor([5.0, 5.0]), torch.tensor([1.0, 2.0])).tolist() == [3.0, 1.0]


@pytest.mark.parametrize(
    "function",
    [lambda x: x * x.sum().item(), lambda x: x if x.max() > 0 else -x, lambda x: x * float(torch.randn(()))],
)
def test_looking_at_a_value_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(RuntimeError, match="Python reads a tensor's value"):
        record(function, [torch.ones(3)])


def test_nodes_know_their_shapes() -> None:
    graph = record(lambda x: (x @ x.mT).split(2)[0], [torch.ones(4, 3)])
    *_, last, _output = graph.graph.nodes
    spec = spec_of(last)
    assert spec is not None and spec.shape == (2, 4)


def test_a_fit_imports_neither_torchs_compiler_nor_sympy() -> None:
    code = """
import sys, torch, pyro, pyro.distributions as dist
from jensen.inference import SVI
def model(x):
    w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(w.sum(), 1.0), obs=x)
SVI(guide="normal", steps=300, device="cpu", progress=False).fit(model, {"x": torch.arange(5.0)})
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
