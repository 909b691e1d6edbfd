"""Steps as a compiled C function: a compiler's half second, where Inductor takes ten."""

from __future__ import annotations

__all__ = ["CSteps", "compile_with_c"]

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import fx

from ....tensors import TensorList
from .lowering import Lowered, lower
from .operations import Unsupported

_FLAGS = (
    *("-O2", "-ftree-vectorize", "-fno-math-errno", "-fno-trapping-math"),
    *("-fPIC", "-shared", "-w", "-x", "c"),
)
_KEPT = 64  # compiled functions that a process keeps
_BLAS = {"gemm_float": "sgemm_", "gemm_double": "dgemm_"}
_VECTORS = "".join(  # glibc has them for several numbers at once
    f'__attribute__((simd("notinbranch"))) {kind} {name}{suffix}({kind});\n'
    for name in ("exp", "log", "sin", "cos")
    for kind, suffix in (("float", "f"), ("double", ""))
)


class CSteps:
    """Many steps in one call: ``(state, shared data, stacked rows) -> results``; the state is updated in place.

    Args:
        lowered: the code.
        run: its function, compiled.
        constants: the graph's own tensors.
        layouts: strides of the first inputs; the others are each step's own.
    """

    def __init__(self, lowered: Lowered, run: Any, constants: TensorList, layouts: list[tuple[int, ...]]) -> None:
        self._lowered, self._run, self._constants, self._layouts = lowered, run, constants, layouts
        self._space = torch.empty(lowered.space + 64, dtype=torch.uint8, device="cpu")
        self._base = -(-self._space.data_ptr() // 64) * 64

    def __call__(self, inputs: TensorList, count: int) -> torch.Tensor:
        """The results ``(count, …)`` of `count` steps. Rows are ``(count, …)`` each."""
        first = len(self._layouts)
        given = [_laid_out(x, layout) for x, layout in zip(inputs, self._layouts, strict=False)]
        rows = [row if row[0].is_contiguous() else row.contiguous() for row in inputs[first:]]
        shape, dtype = self._lowered.result
        results = torch.empty(count, *shape, dtype=dtype, device="cpu")
        moving = {id(row) for row in (*rows, results)}
        tensors = [*given, *rows, *self._constants, results]
        pointers = (ctypes.c_void_p * len(tensors))(*[tensor.data_ptr() for tensor in tensors])
        strides = (ctypes.c_long * len(tensors))(
            *[t.stride(0) * t.element_size() if id(t) in moving else 0 for t in tensors]
        )
        threads = ctypes.c_int(torch.get_num_threads())
        self._run(ctypes.c_long(count), pointers, strides, ctypes.c_void_p(self._base), threads)
        for own, tensor in zip(inputs, given, strict=False):
            if own is not tensor:
                own.copy_(tensor)
        return results


def _laid_out(tensor: torch.Tensor, layout: tuple[int, ...]) -> torch.Tensor:
    """The tensor, or a copy where its strides are others than the code was written for."""
    if tensor.stride() == layout:
        return tensor
    return torch.empty_strided(tensor.shape, layout, dtype=tensor.dtype).copy_(tensor)


def _has_own_places(tensor: torch.Tensor) -> bool:
    """Whether no two numbers of it share a place, so that each can be written."""
    return tensor.is_contiguous() or torch.empty_like(tensor, device="meta").stride() == tensor.stride()


def compile_with_c(module: fx.GraphModule, inputs: TensorList, state: int, rows: int) -> CSteps | None:
    """The steps of a graph; None where there is no C code for it, or no compiler.

    Args:
        module: the graph, whose first `state` results are the new values of its first inputs, and which has one more.
        inputs: example inputs, of one step. They are not changed.
        state: how many inputs are updated in place.
        rows: how many inputs, the last ones, are each step's own.
    """
    first_row = len(inputs) - rows
    if not all(map(_has_own_places, inputs[:state])) or not all(row.is_contiguous() for row in inputs[first_row:]):
        return None
    try:
        lowered = lower(module, state)
    except Unsupported:
        return None
    functions = {name: _function_of_torch(_BLAS[name]) for name in sorted(lowered.uses)}
    if None in functions.values():
        return None
    run = _compiled(lowered.source, tuple(functions.items()))
    if run is None:
        return None
    nodes = [node for node in module.graph.nodes if node.op == "get_attr"]
    layouts = [tensor.stride() for tensor in inputs[:first_row]]
    steps = CSteps(lowered, run, [getattr(module, str(node.target)) for node in nodes], layouts)
    return steps if _faithful(steps, module, inputs, state, rows) else None


def _faithful(steps: CSteps, module: fx.GraphModule, inputs: TensorList, state: int, rows: int) -> bool:
    """Whether two steps in C give what the graph gives, up to rounding."""
    ours = [tensor.detach().clone() for tensor in inputs]
    first = len(inputs) - rows
    with torch.no_grad():
        found = steps([*ours[:first], *(torch.stack([row] * 2) for row in ours[first:])], 2)
        theirs, expected = [tensor.detach().clone() for tensor in inputs], []
        for _ in range(2):
            *new, bound = module(*theirs)
            theirs[:state] = new
            expected.append(bound)
    pairs = [(found, torch.stack(expected)), *zip(ours[:state], theirs[:state], strict=True)]
    return all(_close(a, b) for a, b in pairs)


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    tolerance = 1e-8 if a.dtype == torch.float64 else 1e-3
    scale = float(b.abs().nan_to_num(posinf=0.0).max()) if b.numel() and b.is_floating_point() else 0.0
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * max(scale, 1e-30), equal_nan=True)


def _function_of_torch(name: str) -> int | None:
    """The address of a BLAS function in the libraries that torch has loaded; None if they do not show it."""
    folder = Path(torch.__file__).parent / "lib"
    for library in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        try:
            return ctypes.cast(getattr(ctypes.CDLL(str(folder / library)), name), ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
    return None


@functools.lru_cache(maxsize=_KEPT)
def _compiled(source: str, functions: tuple[tuple[str, int | None], ...]) -> Any:
    """The function ``run`` of the source, which calls these functions; None if no compiler makes it.

    It holds nothing, so that fits of one model to data of one shape share it.
    """
    names = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    compiler = next((path for name in names if name and (path := shutil.which(name))), None)
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory(prefix="jensen_") as folder:
        tries = ((True, ("-march=native", "-fopenmp")), (True, ("-march=native", "-fopenmp-simd")), (False, ()))
        for number, (vectors, options) in enumerate(tries):
            text, library = Path(folder) / "step.c", Path(folder) / f"step{number}.so"
            text.write_text(source.replace("<math.h>\n", f"<math.h>\n{_VECTORS}") if vectors else source)
            command = [compiler, *_FLAGS, *options, str(text), "-o", str(library), "-lm"]
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=300)
                loaded = ctypes.CDLL(str(library))
            except (OSError, subprocess.SubprocessError):
                continue
            for name, address in functions:
                ctypes.c_void_p.in_dll(loaded, name).value = address
            loaded.run.restype = None
            return loaded.run
    return None
