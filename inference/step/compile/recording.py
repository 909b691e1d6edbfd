"""Record what a function of tensors computes, as a graph of ATen operations with fixed shapes.

PyTorch's `make_fx` does the same with symbolic shapes and fake tensors, whose imports alone take longer than a small
fit.
"""

from __future__ import annotations

__all__ = ["Spec", "record", "spec_of"]

import operator
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

_aten = torch.ops.aten
_SPEC = "spec"  # of a node: what is known of its tensor


class Spec(NamedTuple):
    """What a graph knows of a tensor."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> Spec:
        strided = tensor.layout == torch.strided
        return cls(tensor.shape, tensor.stride() if strided else (), tensor.dtype, tensor.device)


def spec_of(node: Any) -> Spec | None:
    """The tensor that a node makes; None where it makes none, or several."""
    return node.meta.get(_SPEC) if isinstance(node, fx.Node) else None


def record(function: Callable[..., Any], inputs: Sequence[Tensor]) -> fx.GraphModule:
    """The operations of ``function(*inputs)``, below autograd and vmap. Tensors from elsewhere become constants.

    Raises:
        RuntimeError: if Python looks at a tensor's value (a branch, an `.item()`).
        Exception: whatever the function raises.
    """
    own = [tensor.detach() for tensor in inputs]  # one object an input, whatever is passed twice
    recorder = _Recorder(own)
    with torch.no_grad(), recorder:
        results = function(*own)
    recorder.graph.output(tree_map(recorder.node_of, results))
    return fx.GraphModule(recorder.root, recorder.graph)


class _Recorder(TorchDispatchMode):
    """Note every operation as a node. Only what depends on no input may be looked at."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.root, self.graph = nn.Module(), fx.Graph()
        self._nodes: Any = WeakIdKeyDictionary()
        self._sharing: dict[int, list[weakref.ref[Tensor]]] = {}
        self._moving: set[int] = set()  # memory that holds what depends on an input or on chance
        for number, tensor in enumerate(inputs):
            self._note(tensor, self.graph.placeholder(f"input_{number}"), moving=True)

    def node_of(self, value: Any) -> Any:
        """The node of a tensor; other values as they are."""
        if not isinstance(value, Tensor):
            return value
        if value not in self._nodes:
            name = f"_constant_{len(dict(self.root.named_buffers(remove_duplicate=False)))}"
            self.root.register_buffer(name, value.detach(), persistent=False)
            self._note(value, self.graph.get_attr(name), moving=False)
        return self._nodes[value]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its own compiler only to keep it from reading these lines

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not isinstance(func, torch._ops.OpOverload) or func.namespace in ("prim", "profiler"):
            return func(*args, **kwargs)
        if func is _aten.lift_fresh.default:  # a number written in the program: what is done to it stays in this step
            func = _aten.lift_fresh_copy.default
        with self:
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        random = torch.Tag.nondeterministic_seeded in func.tags
        moving = random or any(_memory(tensor) in self._moving for tensor in tensors)
        if torch.Tag.data_dependent_output in func.tags:
            if moving:
                raise RuntimeError(f"Python reads a tensor's value ({func.name()})")
            return func(*args, **kwargs)
        named = tree_map(self.node_of, (args, kwargs))
        pure = None if random else self._without_writing(func, args, kwargs)
        found = func(*args, **kwargs)
        node = self.graph.call_function(pure or func, *named)
        if isinstance(found, Tensor):
            self._note(found, node, moving)
        elif isinstance(found, (list, tuple)):
            for number, part in enumerate(found):
                if isinstance(part, Tensor):
                    self._note(part, self.graph.call_function(operator.getitem, (node, number)), moving)
        return found

    def _without_writing(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The operation that makes what `func` writes into its first argument, if nobody else sees that change."""
        name = func._schema.name.removeprefix("aten::")
        if func.namespace != "aten" or not name.endswith("_") or name.startswith("_"):
            return None
        target = args[0]
        if self.node_of(target).op != "call_function" or len(self._living(target)) != 1:
            return None
        pure = getattr(getattr(_aten, name[:-1], None), func._overloadname, None)
        if pure is None or pure._schema.is_mutable:
            return None
        made = pure(*args, **kwargs)
        return pure if Spec.of(made)[::2] == Spec.of(target)[::2] else None

    def _living(self, tensor: Tensor) -> list[Tensor]:
        """The tensors that share its memory."""
        refs = self._sharing.get(_memory(tensor), [])
        return [other for ref in refs if (other := ref()) is not None]

    def _note(self, tensor: Tensor, node: fx.Node, moving: bool) -> None:
        self._nodes[tensor] = node
        node.meta[_SPEC] = Spec.of(tensor)
        living = self._living(tensor)
        if not any(other is tensor for other in living):
            self._sharing[_memory(tensor)] = [weakref.ref(other) for other in (*living, tensor)]
        if moving:
            self._moving.add(_memory(tensor))
        elif not living:  # memory that was freed and is another tensor's now
            self._moving.discard(_memory(tensor))


def _memory(tensor: Tensor) -> int:
    """What tells the memory of one tensor from that of another; of views the same."""
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else id(tensor)
