"""A loop in C around a step's kernels gives what the steps give one by one."""

from __future__ import annotations

import pytest
import torch

from jensen.inference.step.compile.graph import trace
from jensen.inference.step.compile.inductor import CompiledStep, compile_with_inductor

pytestmark = pytest.mark.slow  # Inductor takes about ten seconds to import and to build its first kernel

STEPS = 7


def _regression(
    w: torch.Tensor, mean: torch.Tensor, x: torch.Tensor, noise: torch.Tensor, rate: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    gradient = x.mT @ torch.tanh(x @ w - 1.0) + noise[0]
    mean = 0.9 * mean + gradient
    return w - rate * mean, mean, torch.stack([gradient.square().sum(), w.sum()])


def _inputs(rows: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(5,), (5,), (20, 5), (rows, 1, 5)]
    numbers = [torch.randn(shape, generator=generator, dtype=torch.float32) for shape in shapes]
    return [*numbers, torch.linspace(1e-3, 1e-2, rows, dtype=torch.float32)]


@pytest.fixture(scope="module")
def compiled() -> CompiledStep:
    *shared, noise, rates = _inputs(1)
    inputs = [*shared, noise[0], rates[0]]
    return compile_with_inductor(trace(_regression, inputs), inputs, state=2, rows=2)


def test_a_block_is_its_steps(compiled: CompiledStep) -> None:
    assert compiled.loop is not None
    looped, single = _inputs(STEPS), _inputs(STEPS)
    bounds = compiled.loop(looped, STEPS)
    *_, noise, rates = single
    expected = [compiled(*single[:3], noise[i], rates[i])[-1].clone() for i in range(STEPS)]
    assert torch.equal(bounds, torch.stack(expected))
    assert all(map(torch.equal, looped, single))  # the state moved, in place, and the data and rows did not


def test_blocks_end_anywhere(compiled: CompiledStep) -> None:
    assert compiled.loop is not None
    whole, parts = _inputs(STEPS), _inputs(STEPS)
    compiled.loop(whole, STEPS)
    *shared, noise, rates = parts
    for start, count in ((0, 2), (2, 1), (3, 4)):
        part = slice(start, start + count)
        compiled.loop([*shared, noise[part], rates[part]], count)
    assert all(map(torch.equal, whole[:2], shared[:2]))


def test_the_numbers_are_the_programs(compiled: CompiledStep) -> None:
    assert compiled.loop is not None
    w, mean, x, noise, rates = _inputs(STEPS)
    state = (w.clone(), mean.clone())
    bounds = compiled.loop([w, mean, x, noise, rates], STEPS)
    for i in range(STEPS):
        *state, row = _regression(*state, x, noise[i], rates[i])  # type: ignore[assignment]
        torch.testing.assert_close(bounds[i], row, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(w, state[0], rtol=1e-4, atol=1e-5)


def test_a_step_with_other_operations_has_no_loop() -> None:
    def step(a: torch.Tensor, row: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return a + torch.linalg.cholesky(a @ a.mT + row), a.sum()

    inputs = [torch.eye(4), torch.eye(4)]
    assert compile_with_inductor(trace(step, inputs), inputs, state=1, rows=1).loop is None
