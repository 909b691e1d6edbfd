"""Many steps in one call: a loop in C around the kernels of one compiled step.

A small step is a kernel or two of a few microseconds, and calling it from Python takes longer than it does. The kernels
are functions of pointers: those of the state stay, those of a step's own rows (batch, noise, rates) move on by a row.
"""

from __future__ import annotations

__all__ = ["KernelLoop", "loop_kernels"]

import ast
import ctypes
from collections.abc import Callable
from typing import Any

import torch

from ...tensors import TensorList
from .buffer_hoisting import equal
from .generated_code import GeneratedCode

Runner = Callable[..., Any]

_TRIED = 3  # steps that must be the same as by single calls


class KernelLoop:
    """Steps ``(state, shared data, stacked rows) -> bounds``; the state is updated in place.

    Args:
        library: has the loop, ``run(steps, kernels, pointers, strides)``.
        kernels: addresses of the kernels' functions.
        places: for every argument of every kernel, in order: the tensor's number among (constants, inputs), or None for
            the result, or the tensor itself where it is a buffer; and its offset in bytes.
        constants: the first tensors.
        rows: how many of the inputs, the last ones, are rows.
        result: an example of the result of one step.
        held: what must not be freed as long as the loop lives.
    """

    def __init__(
        self,
        library: Any,
        kernels: list[Any],
        places: list[tuple[Any, int]],
        constants: TensorList,
        rows: int,
        result: torch.Tensor,
        held: Any,
    ) -> None:
        self._run, self._places, self._constants = library.run, places, constants
        self._kernels = (ctypes.c_void_p * len(kernels))(
            *[ctypes.cast(kernel, ctypes.c_void_p).value for kernel in kernels]
        )
        self._rows, self._result, self._held = rows, result, held
        self._run.restype = None

    def __call__(self, inputs: TensorList, count: int) -> torch.Tensor:
        """The results ``(count, …)`` of `count` steps. Rows are ``(count, …)`` each."""
        tensors = [*self._constants, *inputs]
        first_row = len(tensors) - self._rows
        results = self._result.new_empty(count, *self._result.shape)
        pointers, strides = [], []
        for place, offset in self._places:
            if place is None:
                base, moves = results, True
            elif isinstance(place, torch.Tensor):
                base, moves = place, False
            else:
                base, moves = tensors[place], place >= first_row
            pointers.append(base.data_ptr() + offset)
            strides.append(base.stride(0) * base.element_size() if moves else 0)
        number = len(pointers)
        self._run(
            ctypes.c_long(count),
            self._kernels,
            (ctypes.c_void_p * number)(*pointers),
            (ctypes.c_long * number)(*strides),
        )
        return results


def loop_kernels(
    compiled: Runner, code: GeneratedCode | None, constants: TensorList, inputs: TensorList, rows: int
) -> KernelLoop | None:
    """The loop over a compiled step's kernels, or None where the step is more than kernels.

    Args:
        compiled: the compiled step, which updates its state in place and returns one tensor.
        code: the code generated for it, if it is of the known form.
        constants: the parameters and buffers of the graph's module, which the compiler made its first inputs.
        inputs: example inputs of one step. They are not changed.
        rows: how many of them, the last ones, are a step's own.
    """
    if code is None or any(not tensor.is_contiguous() for tensor in inputs[len(inputs) - rows :]):
        return None
    try:
        loop = _built(code, constants, inputs, rows)
    except Exception:  # another form of the code, no compiler, …: the step is then called from Python
        return None
    if loop is None:
        return None
    ours, theirs = ([tensor.detach().clone() for tensor in inputs] for _ in range(2))
    first_row = len(inputs) - rows
    stacked = [torch.stack([row] * _TRIED) for row in ours[first_row:]]
    with torch.no_grad():
        got = loop([*ours[:first_row], *stacked], _TRIED)
        expected = torch.stack([compiled(*theirs)[0] for _ in range(_TRIED)])
    same = equal(got, expected) and all(map(equal, ours[:first_row], theirs[:first_row]))
    return loop if same else None


def _built(code: GeneratedCode, constants: TensorList, inputs: TensorList, rows: int) -> KernelLoop | None:
    calls: list[ast.Call] = []
    for line in code.work:
        match line:
            case ast.Expr(ast.Call(ast.Name(), arguments, []) as call) if all(
                isinstance(a, ast.Name) for a in arguments
            ):
                calls.append(call)
            case _:
                return None
    if not calls or len(code.results) != 1:
        return None
    example = [*constants, *[tensor.detach().clone() for tensor in inputs]]
    names = code.run(code.buffers, code.names | dict(zip(code.inputs, example, strict=True)))
    result = names[code.results[0]]
    if not result.is_contiguous():
        return None
    known: dict[int, Any] = {tensor.untyped_storage().data_ptr(): i for i, tensor in enumerate(example)}
    known[result.untyped_storage().data_ptr()] = None
    bases = {place: example[place] for place in known.values() if place is not None} | {None: result}
    places: list[tuple[Any, int]] = []
    kernels, widths = [], []
    held: list[Any] = [names]
    for call in calls:
        function = names[ast.unparse(call.func)]
        library = ctypes.CDLL(function.__self__.__file__)
        held.append(library)
        kernels.append(library.kernel)
        widths.append(len(call.args))
        for argument in call.args:
            tensor = names[ast.unparse(argument)]
            storage = tensor.untyped_storage().data_ptr()
            if storage in known:
                place = known[storage]
                places.append((place, tensor.data_ptr() - bases[place].data_ptr()))
            else:
                places.append((tensor, 0))
    return KernelLoop(_compiled(widths), kernels, places, constants, rows, result, held)


def _compiled(widths: list[int]) -> Any:
    """The loop's library, for kernels of so many arguments each."""
    from torch._inductor.codecache import CppCodeCache

    lines, first = [], 0
    for number, width in enumerate(widths):
        types = ", ".join(["char*"] * width)
        arguments = ", ".join(f"a[{i}] + i * s[{i}]" for i in range(first, first + width))
        lines.append(f"((void (*)({types}))k[{number}])({arguments});")
        first += width
    body = "\n        ".join(lines)
    return CppCodeCache.load(f"""
extern "C" void run(long n, void** k, char** a, const long* s) {{
    for (long i = 0; i < n; ++i) {{
        {body}
    }}
}}
""")
