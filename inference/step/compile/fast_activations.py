r"""Elementary functions of many float32 numbers, as short expressions that a compiler can fuse and vectorise.

The library functions that Inductor calls are exact to one unit in the last place, and slow: on a CPU a tanh network's
activations and the likelihood of its pixels take a quarter of its step. What replaces them is exact to 4e-7.
"""

from __future__ import annotations

__all__ = ["log_sigmoid", "shorten_elementary", "tanh"]

import operator
from collections.abc import Callable

import torch
from torch import Tensor, fx

from .graph import trace
from .recording import spec_of

_MANY = 4096
_BOUND = 7.90531110763549805  # beyond it tanh is 1 in float32
# x P(x^2) / Q(x^2), highest power first: Eigen, generic_fast_tanh_float, https://eigen.tuxfamily.org; XLA's as well.
_P = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
_Q = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
_ATANH = tuple(1.0 / power for power in (13, 11, 9, 7, 5, 3, 1))


def tanh(x: Tensor) -> Tensor:
    r""":math:`x P(x^2) / Q(x^2)` for :math:`|x| \le 7.9`, constant beyond."""
    inside = x.clamp(-_BOUND, _BOUND)
    square = inside * inside
    return inside * _polynomial(square, _P) / _polynomial(square, _Q)


def log_sigmoid(x: Tensor) -> Tensor:
    r""":math:`\min(x, 0) - 2 \operatorname{artanh}(z / (2 + z))` with :math:`z = e^{-|x|}`.

    Its series to the power 13 is exact to 2e-8, for the argument is at most a third.
    """
    z = (-x.abs()).exp()
    ratio = z / (2.0 + z)
    return x.clamp(max=0.0) - 2.0 * ratio * _polynomial(ratio * ratio, _ATANH)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    total = coefficients[0] * x + coefficients[1]
    for coefficient in coefficients[2:]:
        total = total * x + coefficient
    return total


def shorten_elementary(module: fx.GraphModule) -> None:
    """Replace tanh and log-sigmoid of large float32 tensors on the CPU, in place."""
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is torch.ops.aten.tanh.default and _applies(node):
            _replace(module, node, node, tanh)
        if node.target is torch.ops.aten.log_sigmoid_forward.default and _applies(node):
            for user in list(node.users):
                if user.target is operator.getitem and user.args[1] == 0:
                    _replace(module, user, node, log_sigmoid)


def _applies(node: fx.Node) -> bool:
    spec = spec_of(node.all_input_nodes[0])
    if spec is None or spec.dtype != torch.float32 or spec.device.type != "cpu":
        return False
    return spec.shape.numel() >= _MANY


def _replace(module: fx.GraphModule, result: fx.Node, call: fx.Node, function: Callable[[Tensor], Tensor]) -> None:
    """Put the graph of ``function(x)`` in the place of `result`, where ``call`` is the operation on `x`."""
    x = call.all_input_nodes[0]
    spec = spec_of(x)
    assert spec is not None
    inner = trace(function, [torch.zeros(spec.shape)])
    with module.graph.inserting_before(result):
        copies: dict[fx.Node, fx.Node] = {}
        for node in inner.graph.nodes:
            if node.op == "placeholder":
                copies[node] = x
            elif node.op == "output":
                result.replace_all_uses_with(copies[node.args[0]])
            else:
                copies[node] = module.graph.node_copy(node, lambda item: copies[item])
    module.graph.erase_node(result)
