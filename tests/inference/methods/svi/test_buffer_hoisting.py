"""Compiled steps keep their buffers between calls, where that changes nothing else."""

from __future__ import annotations

import dis
import types
from pathlib import Path

import pytest
import torch

from jensen.inference.step.compile.buffer_hoisting import _hoisted, hoist_buffers
from jensen.inference.step.compile.generated_code import GeneratedCode, generated_modules
from jensen.inference.step.compile.graph import trace
from jensen.inference.step.compile.inductor import compile_with_inductor


def _step(state: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    state = 0.9 * state + (x @ x.mT.sum(0)).tanh().sum()
    return state, (state - x.mean(0)).square()


@pytest.fixture
def inputs() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(7, generator=generator), torch.randn(7, 7, generator=generator)]


def _allocations(function: types.FunctionType) -> int:
    return sum(line.argval == "empty_strided_cpu" for line in dis.get_instructions(function))


def test_only_what_is_returned_is_allocated(inputs: list[torch.Tensor]) -> None:
    def block(state: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = []
        for _ in range(2):
            state, out = _step(state, x)
            rows.append(out)
        return state, torch.stack(rows)

    with generated_modules() as modules:
        compile_with_inductor(trace(block, inputs), inputs, 1)
    before = modules[-1].call
    code = GeneratedCode.read(modules[-1])
    assert code is not None
    hoisted = _hoisted(code)
    assert _allocations(hoisted) == 1 < _allocations(getattr(before, "__func__", before))


def test_calls_do_not_disturb_one_another(inputs: list[torch.Tensor]) -> None:
    compiled = compile_with_inductor(trace(_step, inputs), inputs, 1)
    state, x = (tensor.clone() for tensor in inputs)
    results, expected, plain = [], [], inputs[0]
    for i in range(4):
        state, out = compiled(state, x + i)
        plain, other = _step(plain, x + i)
        results.append(out)
        expected.append(other)
    torch.testing.assert_close(torch.stack(results), torch.stack(expected))
    torch.testing.assert_close(state, plain)


SOURCE = """
import torch
guards = torch._C._dynamo.guards
empty_strided_cpu, reinterpret_tensor = guards._empty_strided_cpu, guards._reinterpret_tensor
calls = []
def cpp_fused_double(a, out):
    torch.mul(a, 2.0, out=out)
def call(args):
    a, = args
    args.clear()
    buf0 = empty_strided_cpu((3, ), (1, ), torch.float32)
    buf1 = empty_strided_cpu((3, ), (1, ), torch.float32)
    cpp_fused_double(a, buf0)
    del a
    buf2 = reinterpret_tensor(buf0, (3, 1), (1, 1), 0)  # alias
    {extra}
    cpp_fused_double(buf0, buf1)
    del buf0
    return (buf1, )
"""


def _module(folder: Path, extra: str) -> types.ModuleType:
    path = folder / "generated.py"
    path.write_text(SOURCE.format(extra=extra))
    module = types.ModuleType("generated")
    module.__file__ = str(path)
    exec(path.read_text(), vars(module))
    return module


def _plain(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (4.0 * x,)


@pytest.mark.parametrize("extra", ["pass", "if a is None: pass", "for _ in range(2): pass"])
def test_code_of_another_form_is_left_alone(extra: str, tmp_path: Path) -> None:
    assert GeneratedCode.read(_module(tmp_path, extra)) is None
    assert hoist_buffers(_plain, None, [], [torch.ones(3)]) is _plain


def test_a_different_result_is_left_alone(tmp_path: Path) -> None:
    code = GeneratedCode.read(_module(tmp_path, "buf0.add_(1.0)"))
    assert hoist_buffers(_plain, code, [], [torch.ones(3)]) is _plain


def test_constants_come_first_and_intermediates_stay(tmp_path: Path) -> None:
    module = _module(tmp_path, "calls.append(buf0)")
    hoisted = hoist_buffers(lambda: (torch.full((3,), 4.0),), GeneratedCode.read(module), [torch.ones(3)], [])
    first, second = hoisted()[0], hoisted()[0]
    assert first is not second and first.data_ptr() != second.data_ptr()
    assert torch.equal(second, torch.full((3,), 4.0))
    assert len({tensor.data_ptr() for tensor in module.calls}) == 1 and len(module.calls) == 3


def test_too_large_buffers_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = _module(tmp_path, "calls.append(buf0)")
    monkeypatch.setattr("jensen.inference.step.compile.buffer_hoisting._MOST_BYTES", 8)
    assert hoist_buffers(_plain, GeneratedCode.read(module), [], [torch.ones(3)]) is _plain
