"""The Python code that Inductor generates for a graph, taken apart: which lines make buffers, and which compute."""

from __future__ import annotations

__all__ = ["GeneratedCode", "generated_modules"]

import ast
import contextlib
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ALLOCATION, _VIEW = "empty_strided_cpu", "reinterpret_tensor"


@contextlib.contextmanager
def generated_modules() -> Iterator[list[types.ModuleType]]:
    """Collect the Python modules that Inductor loads inside, new ones and those of its cache."""
    from torch._inductor.codecache import PyCodeCache

    found: list[types.ModuleType] = []
    holder: Any = PyCodeCache
    load = holder.__dict__["load_by_key_path"]

    def load_and_note(cls: type, *args: Any, **kwargs: Any) -> types.ModuleType:
        module: types.ModuleType = load.__get__(None, cls)(*args, **kwargs)
        found.append(module)
        return module

    holder.load_by_key_path = classmethod(load_and_note)
    try:
        yield found
    finally:
        holder.load_by_key_path = load


@dataclass(frozen=True)
class GeneratedCode:
    """The function ``call(args)`` of a generated module, which is a plain sequence of kernels and small allocations.

    Attributes:
        names: the module's globals, which the lines refer to.
        path: of the module's file.
        inputs: names of the arguments.
        buffers: the lines that make tensors or views of tensors.
        kept: those of them whose tensors no result shares, so that they may be made once and for all.
        work: the lines that compute, in order.
        results: names of what is returned.
    """

    names: dict[str, Any]
    path: str
    function: ast.FunctionDef
    inputs: list[str]
    buffers: list[ast.Assign]
    kept: list[ast.Assign]
    work: list[ast.stmt]
    results: list[str]

    @classmethod
    def read(cls, module: types.ModuleType) -> GeneratedCode | None:
        """The code of a module, or None where it is not of the known form."""
        path = getattr(module, "__file__", None)
        if path is None or not callable(getattr(module, "call", None)):
            return None
        functions = [
            node
            for node in ast.walk(ast.parse(Path(path).read_text()))
            if isinstance(node, ast.FunctionDef) and node.name == "call"
        ]
        if len(functions) != 1 or any(_kind(statement) is None for statement in functions[0].body):
            return None
        body = functions[0].body
        inputs: list[str] = []
        for statement in body:
            match statement:
                case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Name("args")):
                    inputs = [name.id for name in names if isinstance(name, ast.Name)]
        fresh = _reaching(body)  # what is returned must be new at every call
        known: set[str] = set()
        buffers, kept, work = [], [], []
        for statement in body:
            kind = _kind(statement)
            if kind == "buffer":
                assert isinstance(statement, ast.Assign)
                buffers.append(statement)
                if _sources(statement) <= known and not _targets(statement) & fresh:
                    known |= _targets(statement)
                    kept.append(statement)
            elif kind == "call":
                work.append(statement)
        returned = [node for statement in body if isinstance(statement, ast.Return) for node in ast.walk(statement)]
        results = [node.id for node in returned if isinstance(node, ast.Name)]
        return cls(dict(vars(module)), str(path), functions[0], inputs, buffers, kept, work, results)

    def run(self, statements: list[Any], names: dict[str, Any]) -> dict[str, Any]:
        """Execute lines; returns `names` with what they assign."""
        code = ast.fix_missing_locations(ast.Module(list(statements), []))
        exec(compile(code, self.path, "exec"), names)
        return names

    def assigned(self, statements: list[ast.Assign]) -> set[str]:
        """Names that the lines assign."""
        return {name for statement in statements for name in _targets(statement)}


def _kind(statement: ast.stmt) -> str | None:
    """What a line of the generated code does; None if it is not one that may be moved or kept as it is."""
    match statement:
        case ast.Assign(targets=[ast.Name()], value=ast.Name()):
            return "buffer"
        case ast.Assign(targets=[ast.Name()], value=ast.Call(ast.Name(name))) if name in (_ALLOCATION, _VIEW):
            return "buffer"
        case ast.Assign(targets=[ast.Tuple()], value=ast.Name("args")):
            return "arguments"
        case ast.Expr(ast.Call(ast.Attribute(ast.Name("args"), "clear"))):
            return "arguments"
        case ast.Assign() | ast.Expr(ast.Call()):
            return "call"
        case ast.Delete():
            return "delete"
        case ast.Return():
            return "return"
    return None


def _targets(statement: ast.stmt) -> set[str]:
    assert isinstance(statement, ast.Assign)
    return {node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def _sources(statement: ast.stmt) -> set[str]:
    """The tensors that an assignment reads."""
    assert isinstance(statement, ast.Assign)
    names = {node.id for node in ast.walk(statement.value) if isinstance(node, ast.Name)}
    return names - {_ALLOCATION, _VIEW, "torch"}


def _reaching(body: list[ast.stmt]) -> set[str]:
    """The tensors that share memory with one that is returned."""
    found = {
        node.id
        for statement in body
        if isinstance(statement, ast.Return)
        for node in ast.walk(statement)
        if isinstance(node, ast.Name)
    }
    while True:
        before = len(found)
        for statement in body:
            if isinstance(statement, ast.Assign) and not isinstance(statement.targets[0], ast.Tuple | ast.List):
                names = _targets(statement) | _sources(statement)
                if names & found:
                    found |= names
        if len(found) == before:
            return found
