"""Devices and number types that a program fixes: named in its source, met in a run, or kept in plain tensors."""

from __future__ import annotations

__all__ = ["check_device_and_dtype"]

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jensen.models import LatentVariableModel

from ..pair.program import Program
from ..pair.recorded_run import Run, run
from .case import Examination

_LIBRARIES = ("torch.", "pyro.", "jensen.", "builtins", "abc")
_DEVICE_CURE = (
    "Leave the device out: a fit runs the program under its own (`torch.zeros(n)` lands there; `x.new_zeros(n)` and "
    "`register_buffer` follow the data and the module)."
)
_DTYPE_CURE = (
    "Leave the number type out, or take it from the data (`x.new_zeros(n)`, `dtype=x.dtype`): a fit sets torch's "
    "default to its own `dtype`."
)
_BUILT_CURE = (
    "For fits in another precision or on a GPU, make constants in `model` or buffers, and priors functions of the "
    "module: `PyroSample(lambda self: dist.Normal(torch.zeros(n), 1.0).to_event(1))`."
)


def check_device_and_dtype(case: Examination) -> None:
    """Find devices and number types that model or guide fix."""
    named = list(dict.fromkeys(found for function in _own_functions(case.program) for found in _names_in(function)))
    for kind, text in named:
        if kind == "device":
            case.fault("device", "", f"The program names a device: {text}.", _DEVICE_CURE)
    types = "; ".join(text for kind, text in named if kind == "dtype")
    drawn = _in_this_precision(case)
    broken = drawn or _in_the_other_precision(case)
    if broken and (drawn or types):
        where = f" It names one: {types}." if types else ""
        case.fault("dtype", "", f"The program fixes its number type: {broken}.{where}", _DTYPE_CURE)
    elif broken:
        case.warn("dtype", "", f"The program keeps the number type it was built in: {broken}.", _BUILT_CURE)
    elif types:
        case.warn("dtype", "", f"The program names a number type: {types}.", _DTYPE_CURE)
    _plain_tensors(case)


# In the source.


def _own_functions(program: Program) -> list[Callable[..., Any]]:
    """The user's own functions that a run may enter: of the classes of model and guide, or the programs themselves."""
    found: list[Any] = []
    for owner, function in ((program.model_owner, program.model), (program.guide_owner, program.guide)):
        if not isinstance(owner, nn.Module):
            found.append(function)
            continue
        classes = [kind for kind in type(owner).__mro__ if not kind.__module__.startswith(_LIBRARIES)]
        found += [value for kind in classes for value in vars(kind).values() if inspect.isfunction(value)]
    return list(dict.fromkeys(filter(inspect.isfunction, map(inspect.unwrap, found))))


def _names_in(function: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """(``"device"`` or ``"dtype"``, the expression and its place) for each that a function's source names."""
    try:
        lines, start = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
        file = Path(inspect.getsourcefile(function) or "?").name
    except (OSError, TypeError, SyntaxError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword):
            kind = _named_by_keyword(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            kind = _named_by_call(node.func.attr, node.args, bare=not (node.args or node.keywords))
        else:
            continue
        if kind is not None:
            text = ast.unparse(node)
            shown = text if len(text) <= 60 else text[:57] + "…"
            yield kind, f"`{shown}` ({file}:{start + node.lineno - 1})"


def _named_by_keyword(keyword: ast.keyword) -> str | None:
    """Of ``device="cuda"`` and ``dtype=torch.float64``, as keywords of any call."""
    if keyword.arg == "device" and isinstance(keyword.value, ast.Constant):
        return "device" if isinstance(keyword.value.value, (str, int)) else None
    return "dtype" if keyword.arg == "dtype" and _is_floating_type(keyword.value) else None


def _named_by_call(method: str, arguments: list[ast.expr], bare: bool) -> str | None:
    """Of ``x.cuda()``, ``torch.device("cuda")``, ``x.to("cpu")``, ``x.double()`` and ``x.to(torch.float32)``."""
    constants = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
    if method == "cuda" or (method in ("cpu", "mps") and bare):
        return "device"
    if (method == "device" and constants) or (method == "to" and any(isinstance(value, str) for value in constants)):
        return "device"
    if (method in ("float", "double", "half", "bfloat16") and bare) or method in ("FloatTensor", "DoubleTensor"):
        return "dtype"
    return "dtype" if method == "to" and any(map(_is_floating_type, arguments)) else None


def _is_floating_type(node: ast.expr) -> bool:
    module, _, name = ast.unparse(node).partition(".")
    found = getattr(torch, name, None) if module == "torch" else None
    return isinstance(found, torch.dtype) and found.is_floating_point


# In a run.


def _in_this_precision(case: Examination) -> str | None:
    """The first latent of another number type than the fit's, in words."""
    here = torch.get_default_dtype()
    return _stray(case.guide.run, here, "is") or _stray(case.model.run, here, "is")


def _in_the_other_precision(case: Examination) -> str | None:
    """Run a copy of the pair in the other precision; what fails or stays behind, in words."""
    if not case.complete:
        return None
    here = torch.get_default_dtype()
    there = torch.float64 if here == torch.float32 else torch.float32
    torch.set_default_dtype(there)
    try:
        program: Program = copy.deepcopy(case.program).to(there)
        batch = {n: v.to(there) if v.is_floating_point() else v for n, v in case.batch.items()}
        for who, function in (("guide", program.guide), ("model", program.model)):
            record = run(program, function, batch)
            if record.error is not None:
                reason = (str(record.error).strip().splitlines() or [""])[0]
                return f"the {who} fails in {_shown(there)} ({reason})"
            if stray := _stray(record, there, "stays"):
                return stray
    finally:
        torch.set_default_dtype(here)
    return None


def _stray(record: Run, dtype: torch.dtype, verb: str) -> str | None:
    for name, value in record.draws.items():
        if value.is_floating_point() and value.dtype != dtype:
            return f"`{name}` {verb} {_shown(value.dtype)} in a {_shown(dtype)} fit"
    return None


def _shown(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# In the modules.


def _plain_tensors(case: Examination) -> None:
    """Tensors kept as plain attributes, which follow neither the fit's device nor its number type."""
    for module in case.program.modules():
        if isinstance(module, Program) or type(module).__module__.startswith(("pyro.", "torch.", "jensen.")):
            continue
        ignored = ("init_arguments",) if isinstance(module, LatentVariableModel) else ()
        for name, value in vars(module).items():
            if name in ignored or name.startswith("_") or not isinstance(value, torch.Tensor):
                continue
            case.warn(
                "plain-tensor",
                name,
                f"`{type(module).__name__}.{name}` is a tensor that is neither a parameter nor a buffer, so it does "
                f"not follow the fit's device and number type.",
                f'Write `self.register_buffer("{name}", …)`.',
            )
