"""Hard-coded devices and number types, found in a program's source and by a run in another precision."""

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
from ..pair.recorded_run import run
from .case import Examination

_DEVICE_CALLS = ("cuda", "cpu", "mps")
_DTYPE_CALLS = ("float", "double", "half", "bfloat16")
_DTYPES = ("float16", "float32", "float64", "half", "float", "double", "bfloat16")
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
    named: list[tuple[str, str, str]] = []
    for function in _functions(case):
        named += _read(function)
    wrong = _own_precision(case)
    broken = wrong or _other_precision(case)
    types = "; ".join(f"`{text}` ({place})" for kind, text, place in dict.fromkeys(named) if kind == "dtype")
    for kind, text, place in dict.fromkeys(named):
        if kind == "device":
            case.fault("device", "", f"The program names a device: `{text}` ({place}).", _DEVICE_CURE)
    if broken and (wrong or types):
        where = f" It names one: {types}." if types else ""
        case.fault("dtype", "", f"The program fixes its number type: {broken}.{where}", _DTYPE_CURE)
    elif broken:
        case.warn("dtype", "", f"The program keeps the number type it was built in: {broken}.", _BUILT_CURE)
    elif types:
        case.warn("dtype", "", f"The program names a number type: {types}.", _DTYPE_CURE)
    _plain_tensors(case)


def _functions(case: Examination) -> Iterator[Callable[..., Any]]:
    """The user's own functions that a run may enter: of the classes of model and guide, or the programs themselves."""
    seen: set[int] = set()
    for owner, program in (
        (case.program.model_owner, case.program.model),
        (case.program.guide_owner, case.program.guide),
    ):
        classes = type(owner).__mro__ if isinstance(owner, nn.Module) else ()
        own = [cls for cls in classes if not cls.__module__.startswith(_LIBRARIES)]
        found: list[Any] = [f for cls in own for f in vars(cls).values() if inspect.isfunction(f)]
        if not isinstance(owner, nn.Module):
            found.append(program)
        for function in found:
            function = inspect.unwrap(function)
            if inspect.isfunction(function) and id(function) not in seen:
                seen.add(id(function))
                yield function


def _read(function: Callable[..., Any]) -> Iterator[tuple[str, str, str]]:
    """(``"device"`` or ``"dtype"``, the expression, its place) for each that a function names."""
    try:
        lines, start = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
        file = Path(inspect.getsourcefile(function) or "?").name
    except (OSError, TypeError, SyntaxError):
        return
    for node in ast.walk(tree):
        kind = _kind(node)
        if kind is not None:
            text = ast.unparse(node)
            shown = text if len(text) <= 60 else text[:57] + "…"
            yield kind, shown, f"{file}:{start + getattr(node, 'lineno', 1) - 1}"


def _kind(node: ast.AST) -> str | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        name, bare = node.func.attr, not node.args and not node.keywords
        if name in _DEVICE_CALLS and (bare or name == "cuda"):
            return "device"
        if name in _DTYPE_CALLS and bare:
            return "dtype"
        if name == "device" and node.args and isinstance(node.args[0], ast.Constant):
            return "device"
        if name == "to" and any(isinstance(a, ast.Constant) and isinstance(a.value, str) for a in node.args):
            return "device"
        if name == "to" and any(_is_dtype(a) for a in node.args):
            return "dtype"
        if name in ("FloatTensor", "DoubleTensor"):
            return "dtype"
    if isinstance(node, ast.keyword):
        if node.arg == "device" and isinstance(node.value, ast.Constant) and isinstance(node.value.value, (str, int)):
            return "device"
        if node.arg == "dtype" and _is_dtype(node.value):
            return "dtype"
    return None


def _is_dtype(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr in _DTYPES
        and isinstance(node.value, ast.Name)
        and node.value.id == "torch"
    )


def _own_precision(case: Examination) -> str | None:
    """The first latent of another number type than the fit's."""
    mine = torch.get_default_dtype()
    for site, node in {**case.guide_run.sites, **case.model_run.sites}.items():
        if node["value"].is_floating_point() and node["value"].dtype != mine and not node["is_observed"]:
            return f"`{site}` is {_short(node['value'].dtype)} in a {_short(mine)} fit"
    return None


def _other_precision(case: Examination) -> str | None:
    """Run a copy of the pair in the other precision; what fails or stays behind, in words."""
    if not (case.model_run.complete and case.guide_run.complete):
        return None
    mine = torch.get_default_dtype()
    other = torch.float64 if mine == torch.float32 else torch.float32
    name = _short(other)
    torch.set_default_dtype(other)
    try:
        program: Program = copy.deepcopy(case.program).to(other)
        batch = {n: v.to(other) if v.is_floating_point() else v for n, v in case.batch.items()}
        for who, function in (("guide", program.guide), ("model", program.model)):
            record = run(program, function, batch)
            if record.error is not None:
                reason = (str(record.error).strip().splitlines() or [""])[0]
                return f"the {who} fails in {name} ({reason})"
            for site, node in record.sites.items():
                value = node["value"]
                if value.is_floating_point() and value.dtype != other and not node["is_observed"]:
                    return f"`{site}` stays {_short(value.dtype)} in a {name} fit"
    finally:
        torch.set_default_dtype(mine)
    return None


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


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
