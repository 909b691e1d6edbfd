"""Compute a number once, where a compiler would compute it anew for every element that it multiplies.

Inductor writes the whole expression of an element into one loop. Adam's bias corrections ``1 - beta ** step`` are two
powers of a number, and inside the loop they cost more than the update itself (the C++ compiler cannot move them out:
the loop writes to memory that the step's count might share).
"""

from __future__ import annotations

__all__ = ["keep_scalars"]

import functools
from typing import Any

import torch
from torch import fx

_LIBRARIES: list[torch.library.Library] = []  # an operation lives as long as its library

_FEW = 4096  # numbers, for which computing the number anew costs less than a loop of its own


@functools.cache
def _kept() -> Any:
    """``jensen::kept(x) = x``: an operation at which Inductor stores its argument."""
    from torch._inductor.lowering import clone, register_lowering

    library = torch.library.Library("jensen", "FRAGMENT")
    library.define("kept(Tensor x) -> Tensor")
    library.impl("kept", torch.clone, "CompositeExplicitAutograd")
    _LIBRARIES.append(library)
    operation = torch.ops.jensen.kept.default

    @register_lowering(operation, type_promotion_kind=None)  # type: ignore[untyped-decorator]
    def lower(x: Any) -> Any:
        x.realize()
        return clone(x)

    return operation


def keep_scalars(module: fx.GraphModule) -> None:
    """Mark, in place, every computed number that an operation on a large tensor reads."""
    graph = module.graph
    for node in list(graph.nodes):
        value = node.meta.get("val")
        if node.op != "call_function" or not isinstance(value, torch.Tensor) or value.dim() or value.is_cuda:
            continue
        readers = [user for user in node.users if _dimensions(user) > 0]
        large = any(user.meta["val"].numel() > _FEW for user in readers)
        if large and all(_dimensions(item) == 0 for item in node.all_input_nodes):
            with graph.inserting_after(node):
                kept = graph.call_function(_kept(), (node,))
            kept.meta["val"] = value
            for reader in readers:
                reader.replace_input_with(node, kept)
            _multiply_by_inverse(graph, kept)


def _multiply_by_inverse(graph: fx.Graph, divisor: fx.Node) -> None:
    """``x / number`` as ``x * (1 / number)``: one division in all instead of one an element (rounding differs)."""
    ratios = [user for user in divisor.users if user.target is torch.ops.aten.div.Tensor and user.args[1] is divisor]
    if not ratios:
        return
    with graph.inserting_before(divisor):
        inverse = graph.call_function(torch.ops.aten.reciprocal.default, divisor.args)
    inverse.meta["val"] = divisor.meta["val"]
    with graph.inserting_after(divisor):
        kept = graph.call_function(_kept(), (inverse,))
    kept.meta["val"] = divisor.meta["val"]
    for ratio in ratios:
        ratio.target = torch.ops.aten.mul.Tensor
        ratio.replace_input_with(divisor, kept)


def _dimensions(node: fx.Node) -> int:
    value = node.meta.get("val")
    return value.dim() if isinstance(value, torch.Tensor) else 0
