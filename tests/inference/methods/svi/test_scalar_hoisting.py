"""Numbers that larger operations read are computed once, and the results stay the same."""

from __future__ import annotations

import pytest
import torch

from jensen.inference.step.compile.graph import trace
from jensen.inference.step.compile.inductor import compile_with_inductor
from jensen.inference.step.compile.scalar_hoisting import keep_scalars


def _update(parameter: torch.Tensor, gradient: torch.Tensor, step: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    step = step + 1
    return step, parameter - 0.1 * gradient / (1 - 0.9**step) + step


@pytest.fixture
def inputs() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(5_000, generator=generator), torch.randn(5_000, generator=generator), torch.tensor(3.0)]


def _names(module: torch.fx.GraphModule) -> list[str]:
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


def test_no_large_operation_reads_a_fresh_number(inputs: list[torch.Tensor]) -> None:
    module = trace(_update, inputs)
    keep_scalars(module)
    for node in module.graph.nodes:
        if node.op != "call_function" or "kept" in str(node.target) or node.meta["val"].dim() == 0:
            continue
        for source in node.all_input_nodes:
            fresh = source.op == "call_function" and source.meta["val"].dim() == 0
            assert not fresh or "kept" in str(source.target), f"{node} reads {source}"


def test_a_division_by_a_number_becomes_a_product(inputs: list[torch.Tensor]) -> None:
    module = trace(_update, inputs)
    assert "aten.div.Tensor" in _names(module)
    keep_scalars(module)
    assert "aten.div.Tensor" not in _names(module)[:-1] and "aten.reciprocal.default" in _names(module)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_values_stay(inputs: list[torch.Tensor], dtype: torch.dtype) -> None:
    inputs = [tensor.to(dtype) for tensor in inputs]
    step, expected = _update(*inputs)
    module = trace(_update, inputs)
    keep_scalars(module)
    module.recompile()
    torch.testing.assert_close(module(*inputs)[1], expected)
    compiled = compile_with_inductor(trace(lambda p, g, s: _update(p, g, s)[1:], inputs), inputs, 0)
    torch.testing.assert_close(compiled(*inputs)[0], expected)
    assert step == 4


def test_few_numbers_are_left_alone() -> None:
    module = trace(_update, [torch.ones(50), torch.ones(50), torch.tensor(3.0)])
    keep_scalars(module)
    assert not any("kept" in name for name in _names(module))
