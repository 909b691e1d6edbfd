"""Write a graph as one C function."""

from __future__ import annotations

__all__ = ["Lowered", "lower"]

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from ..recording import spec_of
from .code import Code
from .indexing import INDEXING
from .joins import JOINS
from .linalg import LINALG, cholesky
from .operations import CTYPES, LIBRARIES, PRELUDE, Unsupported, constant, elementwise
from .products import PRODUCTS
from .reductions import REDUCTIONS, extreme
from .values import Value, contiguous
from .views import blank, view, viewed

_FILLS = {"ones_like": 1, "zeros_like": 0, "zeros": 0, "ones": 1, "new_zeros": 0, "new_ones": 1}
_FILLS |= {"empty": 0, "empty_like": 0, "new_empty": 0, "empty_strided": 0, "new_empty_strided": 0}
_FILLED_AT = {"full": 1, "full_like": 1, "new_full": 2, "scalar_tensor": 0}  # the argument that fills
_VIEWS = frozenset(
    {"view", "_unsafe_view", "reshape", "expand", "unsqueeze", "squeeze", "permute", "transpose", "t"}
    | {"select", "slice", "diagonal", "unfold", "as_strided"}
)
_SPECIAL = REDUCTIONS | JOINS | PRODUCTS | LINALG | INDEXING
_OF_TENSORS = frozenset({"dtype", "layout", "device", "pin_memory"})  # what the result's own specification says
_PARTS = frozenset({"split", "split_with_sizes", "unbind", "chunk"})
_COSTLY = frozenset(
    {"exp", "log", "log1p", "pow", "tanh", "lgamma", "erf", "sigmoid", "digamma", "log_sigmoid_forward"}
)


@dataclass(frozen=True)
class Lowered:
    """A graph in C.

    Attributes:
        source: the code of ``void run(long n, char* const* p, const long* s, char* space, int threads)``: `n` steps, on
            tensors at `p`, which move on by `s` bytes a step.
        space: bytes of memory that it needs beside them.
        result: shape and type of what each step returns, at the last pointer.
        uses: names of the variables that must point to functions of libraries.
    """

    source: str
    space: int
    result: tuple[tuple[int, ...], torch.dtype]
    uses: frozenset[str]


def lower(module: fx.GraphModule, state: int) -> Lowered:
    """C code for a graph whose first `state` results are the new values of its first inputs, and which has one more.

    Raises:
        Unsupported: if an operation, a number type or a size is beyond it.
    """
    return _Lowering(module, state).code_of_steps()


class _Lowering:
    def __init__(self, module: fx.GraphModule, state: int) -> None:
        self.module, self.state, self.code = module, state, Code()
        self.values: dict[fx.Node, Any] = {}
        self.pointers: list[str] = []  # declarations, inputs first and constants after them
        self.changing = _changing(module.graph)

    def code_of_steps(self) -> Lowered:
        constants, inputs = [], []
        for node in self.module.graph.nodes:
            if node.op == "placeholder":
                inputs.append(node)
            elif node.op == "get_attr":
                constants.append(node)
        for number, node in enumerate([*inputs, *constants]):
            self.values[node] = self._given(node, number)
        for node in self.module.graph.nodes:
            if node.op == "call_function":
                value = self._call(node)
                if isinstance(value, Value) and value.pointer is None:
                    changes = node in self.changing or not self.changing.isdisjoint(node.all_input_nodes)
                    if changes or (value.work > 1 and len(node.users) > 1):
                        value = self.code.store(value)
                self.values[node] = value
            elif node.op == "output":
                shape, dtype = self._finish(node, inputs, len(inputs) + len(constants))
        lines, space = self.code.render()
        body = "\n".join([*self.pointers, lines])
        libraries = "".join(LIBRARIES[name] for name in sorted(self.code.uses))
        source = (
            f"{PRELUDE}{libraries}\nvoid run(long n, char* const* p, const long* s, char* space, int threads) {{\n"
            f"for (long step = 0; step < n; ++step) {{\n{body}\n}}\n}}\n"
        )
        return Lowered(source, space, (shape, dtype), frozenset(self.code.uses))

    def _given(self, node: fx.Node, number: int) -> Value:
        if node.op == "get_attr":
            tensor = getattr(self.module, str(node.target))
            shape, strides, dtype, device = tensor.shape, tensor.stride(), tensor.dtype, tensor.device
        else:
            spec = spec_of(node)
            assert spec is not None
            shape, strides, dtype, device = spec
        if dtype not in CTYPES or device.type != "cpu":
            raise Unsupported(f"numbers of type {dtype} on {device}")
        return self._pointer(number, shape, dtype, strides)

    def _pointer(self, number: int, shape: Any, dtype: torch.dtype, strides: Any) -> Value:
        kind = CTYPES[dtype]
        self.pointers.append(f"{kind}* a{number} = ({kind}*)(p[{number}] + step * s[{number}]);")
        return Value.memory(f"a{number}", tuple(shape), dtype, tuple(strides))

    def _finish(self, node: fx.Node, inputs: list[fx.Node], number: int) -> tuple[tuple[int, ...], torch.dtype]:
        results: list[Any] = list(node.args[0])  # type: ignore[arg-type]
        if len(results) != self.state + 1:
            raise Unsupported(f"{len(results) - self.state} results")
        found = [self.values[result] for result in results]
        own = [self.values[given] for given in inputs[: self.state]]
        kept = [
            new if new.pointer == old.pointer else self.code.store(new) for new, old in zip(found, own, strict=False)
        ]
        for new, old in zip(kept, own, strict=True):
            if new.shape != old.shape or new.dtype != old.dtype:
                raise Unsupported("a state that changes its shape")
            if new.pointer != old.pointer:
                self.code.store(new, old)
        result = found[-1]
        target = self._pointer(number, result.shape, result.dtype, contiguous(result.shape))
        self.code.store(result, target)
        return result.shape, result.dtype

    def operand(self, value: Any, count: int) -> Any:
        """The value of an argument; in memory, if it would be computed more often than it has numbers."""
        if not isinstance(value, fx.Node):
            return value
        found = self.values[value]
        if isinstance(found, Value) and found.pointer is None and found.work and found.count < count:
            found = self.values[value] = self.code.store(found)
        return found

    def _call(self, node: fx.Node) -> Any:
        if node.target is operator.getitem:
            return self.values[node.args[0]][node.args[1]]  # type: ignore[index]
        if not isinstance(node.target, torch._ops.OpOverload) or node.target.namespace != "aten":
            raise Unsupported(str(node.target))
        name, spec = node.target._schema.name.removeprefix("aten::"), spec_of(node)
        if node.target._schema.is_mutable:
            return self._write(node, name.removesuffix("_"))
        if name in _PARTS:
            return self._parts(node)
        if name == "log_sigmoid_forward":
            (x,) = node.all_input_nodes
            own = self.values[x]  # a constant that was folded has no spec
            return [self._elementwise(node, name, own.shape, own.dtype), None]
        if name == "linalg_cholesky_ex":
            return cholesky(self.code, self.operand(node.args[0], 0), bool(node.kwargs.get("upper", False)))
        if name in ("max", "min") and spec is None:
            parts = [found for user in node.users if (found := spec_of(user)) is not None]
            return extreme(self.code, tuple(parts[0].shape), self.operand(node.args[0], 0), node.args[1], name)  # type: ignore[arg-type]
        if spec is None:
            raise Unsupported(name)
        shape, dtype = tuple(spec.shape), spec.dtype
        if name in _FILLS or name in _FILLED_AT:
            number = _FILLS[name] if name in _FILLS else node.args[_FILLED_AT[name]]
            text = constant(number, dtype)
            return Value(shape, dtype, lambda index: text)
        if name in _VIEWS:
            return self._view(node, shape)
        special = _SPECIAL.get(name)
        if special is not None:
            arguments = _mapped(node.args, lambda item: self.operand(item, 0))
            options = {key: value for key, value in node.kwargs.items() if key not in _OF_TENSORS}
            return special(self.code, shape, dtype, *arguments, **options)
        return self._elementwise(node, name, shape, dtype)

    def _write(self, node: fx.Node, name: str) -> Value:
        """Change a part of a tensor that the graph has made."""
        target = self.values[node.args[0]]  # type: ignore[index]
        if target.pointer is None or target.pointer.startswith("a"):
            raise Unsupported(f"{node.target}, which changes what is given")
        found = self.code.store(self._elementwise(node, name, target.shape, target.dtype))
        self.code.overwrite(found, target)
        return target  # type: ignore[no-any-return]

    def _elementwise(self, node: fx.Node, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Value:
        count = torch.Size(shape).numel()
        given = [self.operand(item, count) for item in node.args]
        if any(isinstance(item, (fx.Node, Value)) for item in node.kwargs.values()):
            raise Unsupported(f"a tensor that {name} is passed by name")
        kinds = [item.dtype if isinstance(item, Value) else None for item in given]
        blank = ["x" if isinstance(item, Value) else item for item in given]
        if elementwise(name, blank, node.kwargs, dtype, kinds) is None:
            raise Unsupported(name)

        def load(index: Any) -> str:
            texts = [item.at(index) if isinstance(item, Value) else item for item in given]
            found = elementwise(name, texts, node.kwargs, dtype, kinds)
            assert found is not None
            return found

        work = sum(item.work for item in given if isinstance(item, Value))
        return Value(shape, dtype, load, work + (4 if name in _COSTLY else 1))

    def _view(self, node: fx.Node, shape: tuple[int, ...]) -> Value:
        assert callable(node.target)
        value = self.operand(node.args[0], torch.Size(shape).numel())
        rest = _mapped(node.args[1:], lambda item: torch.empty(self.values[item].shape, device="meta"))
        return view(self.code, value, lambda tensor: node.target(tensor, *rest, **node.kwargs))  # type: ignore[operator]

    def _parts(self, node: fx.Node) -> list[Value]:
        value, function = self.code.kept(self.operand(node.args[0], 0)), node.target
        layout = blank(value)
        return [viewed(value, part) for part in function(layout, *node.args[1:], **node.kwargs)]  # type: ignore


def _changing(graph: fx.Graph) -> set[fx.Node]:
    """The tensors that are written to after they were made, and all views of them."""
    found: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
            found.add(node.args[0])  # type: ignore[arg-type]
        if node in found and _is_view(node):
            found.add(node.args[0])  # type: ignore[arg-type]
    for node in graph.nodes:
        if _is_view(node) and node.args[0] in found:
            found.add(node)
    return found


def _is_view(node: fx.Node) -> bool:
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.name.removeprefix("aten::") in _VIEWS


def _mapped(value: Any, function: Callable[[fx.Node], Any]) -> Any:
    if isinstance(value, fx.Node):
        return function(value)
    if isinstance(value, (list, tuple)):
        return [_mapped(item, function) for item in value]
    return value
