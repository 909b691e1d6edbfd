"""Turn a pure function of tensors into a lean graph: trace it, then drop, share and fold what needs no computing."""

from __future__ import annotations

__all__ = ["interpreted", "trace", "updating_inputs"]

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from .recording import record, spec_of

_FOLD_LIMIT = 1 << 20  # numbers; larger constants are recomputed rather than kept
_CREATION = ("zeros", "ones", "full", "arange", "scalar_tensor", "eye", "linspace", "lift_fresh_copy", "new_zeros")
_UNTAGGED = ("aten.binomial.", "aten._sample_dirichlet.")  # random operations that torch does not mark as such
_NO_OP = ("aten.alias.default", "aten.detach.default")


def trace(function: Callable[..., Any], inputs: Sequence[torch.Tensor]) -> fx.GraphModule:
    """Record `function` on `inputs` as a flat graph of ATen operations.

    Raises:
        Exception: whatever the function raises when it depends on tensor *values* (a branch, an `.item()`); the caller
            decides how to go on.
    """
    module = record(function, inputs)
    _drop(module)
    _forget_fills(module.graph)
    if not any(_mutates(node) for node in module.graph.nodes):
        _drop_copies(module.graph)
        _share(module.graph)
        _fold(module)
        _name_places(module)
    module.graph.eliminate_dead_code(is_impure_node=_is_kept)
    module.recompile()
    return module


def updating_inputs(module: fx.GraphModule, count: int) -> fx.GraphModule:
    """A copy of the graph that writes its first `count` results into its first `count` inputs, and returns the others.

    A compiler then updates these in one sweep, instead of writing new tensors beside the old ones.
    """
    changed = copy.deepcopy(module)
    graph = changed.graph
    inputs = [node for node in graph.nodes if node.op == "placeholder"][:count]
    output = next(node for node in graph.nodes if node.op == "output")
    results = list(output.args[0])
    with graph.inserting_before(output):
        for target, value in zip(inputs, results[:count], strict=True):
            if value is not target:
                graph.call_function(torch.ops.aten.copy_.default, (target, value))
    output.args = (tuple(results[count:]),)
    changed.recompile()
    return changed


def _mutates(node: fx.Node) -> bool:
    return (
        node.op == "call_function"
        and isinstance(node.target, torch._ops.OpOverload)
        and node.target._schema.is_mutable
        and node.target.namespace != "profiler"
    )


def _is_random(node: fx.Node) -> bool:
    tags = getattr(node.target, "tags", ())
    return torch.Tag.nondeterministic_seeded in tags or str(node.target).startswith(_UNTAGGED)


def _is_kept(node: fx.Node) -> bool:
    """Whether the node stays though nothing uses it: later draws come after those that are thrown away."""
    return node.op in ("placeholder", "output") or _mutates(node) or _is_random(node)


def _drop(module: fx.GraphModule) -> None:
    """Remove profiler marks and aliases."""
    for node in reversed(list(module.graph.nodes)):
        if node.op == "call_function" and getattr(node.target, "namespace", "") == "profiler" and not node.users:
            module.graph.erase_node(node)
    for node in list(module.graph.nodes):
        if node.op == "call_function" and str(node.target) in _NO_OP:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)


def _drop_copies(graph: fx.Graph) -> None:
    """Where nothing is written to, a copy is as good as what it is of."""
    for node in list(graph.nodes):
        if node.op == "call_function" and str(node.target) in ("aten.clone.default", "aten.copy.default"):
            source = node.args[-1]
            if spec_of(node) is not None and spec_of(source) == spec_of(node):
                node.replace_all_uses_with(source)
                graph.erase_node(node)


def _forget_fills(graph: fx.Graph) -> None:
    """Use what is written into a tensor that was made to hold it, instead of the tensor, if nothing else is written."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    changing = [node for node in graph.nodes if _mutates(node)]
    for node in changing:
        if node.target is not torch.ops.aten.copy_.default:
            return
        target, value = node.args[0], node.args[1]
        made = isinstance(target, fx.Node) and target.op == "call_function" and "empty" in str(target.target)
        if not made or any(order[user] < order[node] for user in target.users) or not _alike(target, value):
            return
    for node in changing:
        target, value = node.args[0], node.args[1]
        node.replace_all_uses_with(value)
        target.replace_all_uses_with(value, delete_user_cb=lambda user, node=node: user is not node)
        graph.erase_node(node)


def _alike(left: fx.Node, right: Any) -> bool:
    """Whether two nodes are tensors of one shape and type, as far as the trace knows."""
    if not isinstance(right, fx.Node):
        return False
    one, other = spec_of(left), spec_of(right)
    return one is not None and other is not None and (one.shape, one.dtype) == (other.shape, other.dtype)


def _share(graph: fx.Graph) -> None:
    """Compute equal expressions once (the guide scored twice, a decoder run for two gradients)."""
    seen: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op == "get_attr":
            key: Any = ("get_attr", node.target)
        elif node.op == "call_function" and not _is_random(node) and "empty" not in str(node.target):
            key = (node.target, _hashable(node.args), _hashable(node.kwargs))
        else:
            continue
        if key in seen:
            node.replace_all_uses_with(seen[key])
            graph.erase_node(node)
        else:
            seen[key] = node


def _hashable(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_hashable(item) for item in value)
    if isinstance(value, dict):
        return tuple(sorted((key, _hashable(item)) for key, item in value.items()))
    if isinstance(value, (bool, int, float)):
        return (type(value), repr(value))
    return value


def _fold(module: fx.GraphModule) -> None:
    """Evaluate, once and for all, expressions of constants only."""
    graph = module.graph
    constant: dict[fx.Node, torch.Tensor] = {}
    for node in list(graph.nodes):
        if node.op == "get_attr":
            value = getattr(module, node.target)
            if isinstance(value, torch.Tensor):
                constant[node] = value
            continue
        if node.op != "call_function" or _is_random(node) or "empty" in str(node.target):
            continue
        inputs = node.all_input_nodes
        created = any(name in str(node.target) for name in _CREATION)
        if not (inputs or created) or any(item not in constant for item in inputs):
            continue
        arguments = fx.map_arg((node.args, node.kwargs), lambda item: constant[item])
        with torch.no_grad():
            value = node.target(*arguments[0], **arguments[1])
        if isinstance(value, torch.Tensor) and value.numel() <= _FOLD_LIMIT:
            constant[node] = value
    for index, (node, value) in enumerate(constant.items()):
        if node.op == "get_attr" or all(user in constant for user in node.users):
            continue
        name = f"_folded_{index}"
        module.register_buffer(name, value.detach().clone(), persistent=False)
        with graph.inserting_before(node):
            replacement = graph.get_attr(name)
        node.replace_all_uses_with(replacement)


def _name_places(module: fx.GraphModule) -> None:
    """Index by the numbers of the places that a constant mask chooses."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or str(node.target) not in ("aten.index.Tensor", "aten.index_put.default"):
            continue
        indices: list[Any] = []
        for item in node.args[1]:
            mask = getattr(module, str(item.target)) if item is not None and item.op == "get_attr" else None
            if mask is None or mask.dtype != torch.bool:
                indices.append(item)
                continue
            for dim, places in enumerate(mask.nonzero().unbind(1)):
                name = f"_places_{node.name}_{len(indices)}_{dim}"
                module.register_buffer(name, places.contiguous(), persistent=False)
                with graph.inserting_before(node):
                    indices.append(graph.get_attr(name))
        node.args = (node.args[0], indices, *node.args[2:])


def interpreted(module: fx.GraphModule) -> Callable[..., Any]:
    """The graph's generated Python code, without autograd."""
    forward = module.forward

    def run(*inputs: torch.Tensor) -> Any:
        return forward(*inputs)

    return run
