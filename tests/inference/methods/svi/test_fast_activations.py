"""Short forms of elementary functions: close to the exact ones, and only where they apply."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from jensen.inference.step.compile.fast_activations import log_sigmoid, shorten_elementary, tanh
from jensen.inference.step.compile.graph import trace

NUMBERS = torch.cat([torch.linspace(-20, 20, 100_001), torch.logspace(-30, 2, 1_001), -torch.logspace(-30, 2, 1_001)])


def test_tanh_is_close() -> None:
    exact = NUMBERS.double().tanh()
    torch.testing.assert_close(tanh(NUMBERS).double(), exact, rtol=4e-7, atol=0)
    torch.testing.assert_close(
        tanh(torch.tensor([torch.inf, -torch.inf])), torch.tensor([1.0, -1.0]), rtol=4e-7, atol=0
    )
    assert tanh(torch.zeros(1)) == 0
    assert tanh(torch.tensor([torch.nan])).isnan().all()


def test_log_sigmoid_is_close() -> None:
    exact = logsigmoid(NUMBERS.double())
    torch.testing.assert_close(log_sigmoid(NUMBERS).double(), exact, rtol=3e-7, atol=1e-37)
    assert log_sigmoid(torch.tensor([800.0, -800.0])).tolist() == [0.0, -800.0]


def _step(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x.tanh(), logsigmoid(x)


def _targets(x: torch.Tensor) -> tuple[list[str], torch.fx.GraphModule]:
    module = trace(_step, [x])
    shorten_elementary(module)
    module.graph.lint()
    module.recompile()
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"], module


def test_large_float32_graphs_are_rewritten() -> None:
    targets, module = _targets(NUMBERS)
    assert not any("tanh" in name for name in targets)
    for found, expected in zip(module(NUMBERS), _step(NUMBERS), strict=True):
        torch.testing.assert_close(found, expected, rtol=5e-7, atol=1e-37)


def test_others_are_left_alone() -> None:
    for x in (NUMBERS.double(), NUMBERS[:100]):
        assert any("tanh" in name for name in _targets(x)[0])
