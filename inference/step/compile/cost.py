"""Estimated cost of a step graph, from its shapes: kernel launches, multiply-adds, numbers touched."""

from __future__ import annotations

__all__ = ["Cost", "estimate_cost"]

from dataclasses import dataclass

from torch import fx

from .recording import spec_of

_VIEWS = ("view", "expand", "alias", "unsqueeze", "squeeze", "transpose", "aten.t.", "permute", "slice", "select.int")
_PRODUCTS = ("aten.mm.", "addmm", "aten.mv.", "bmm", "convolution")


@dataclass(frozen=True)
class Cost:
    """Of one step.

    Attributes:
        operations: kernels launched when the graph runs node by node (views are free).
        flops: floating-point operations of matrix products and convolutions.
        elements: numbers written by all other kernels.
    """

    operations: int
    flops: float
    elements: float


def estimate_cost(module: fx.GraphModule) -> Cost:
    """Add up the nodes of a traced graph. Depends on shapes alone, so it is the same in every run."""
    operations, flops, elements = 0, 0.0, 0.0
    for node in module.graph.nodes:
        name = str(node.target)
        if node.op != "call_function" or any(view in name for view in _VIEWS):
            continue
        operations += 1
        spec = spec_of(node)
        if spec is None:
            continue
        shape = spec.shape
        inputs = [found.shape for n in node.all_input_nodes if (found := spec_of(n)) is not None]
        if any(product in name for product in _PRODUCTS) and len(inputs) >= 2:
            weight = inputs[-1]
            inner = weight.numel() / max(weight[0], 1) if "convolution" in name else inputs[-2][-1]
            flops += 2.0 * shape.numel() * float(inner)
        else:
            elements += float(shape.numel())
    return Cost(operations, flops, elements)
