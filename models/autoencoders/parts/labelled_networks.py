"""Networks of two inputs, such as a datum and its label: what stands for h(y, z) and q(z | x, y)."""

from __future__ import annotations

__all__ = ["Joined", "LabelledMLP"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .networks import MLP, activation


class Joined(nn.Module):
    """A network that sees two inputs side by side, as one vector.

    Args:
        network: of vectors as long as both inputs.
        event_dims: number of dimensions of an event of the first input and of the second, flattened inside.
    """

    def __init__(self, network: MLP, event_dims: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.event_dims = network, event_dims

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """What the network puts out; the first input may have dimensions in front that the second lacks."""
        first, second = (x.flatten(-dim) for x, dim in zip((first, second), self.event_dims, strict=True))
        output: Tensor = self.network(torch.cat([first, second.expand(*first.shape[:-1], second.shape[-1])], -1))
        return output

    def set_output_bias(self, bias: Tensor) -> None:
        """That of the network."""
        self.network.set_output_bias(bias)


class LabelledMLP(nn.Module):
    r"""Fully connected network of an input and a one-hot label; its first layer is :math:`f(W x + U y + b)`.

    :math:`W x` is computed once a datum, whatever the number of labels it is paired with: summing a label out over `C`
    classes does not repeat the widest product. Glorot weights (of the two inputs together), zero biases.

    Args:
        in_shape: event shape of the input, flattened inside.
        num_classes: C.
        out_shape: event shape of the output.
        hidden: widths of the hidden layers, at least one.
        nonlinearity: name of the activation after each hidden layer.

    Raises:
        ValueError: no hidden layer.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        num_classes: int,
        out_shape: Sequence[int],
        hidden: Sequence[int],
        nonlinearity: str = "softplus",
    ) -> None:
        super().__init__()
        if not hidden:
            raise ValueError(
                "`hidden` must have at least one layer: without it the label and the datum never interact."
            )
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        size, first = math.prod(in_shape), hidden[0]
        joint = nn.init.xavier_uniform_(torch.empty(first, size + num_classes))
        self.of_input, self.of_label = nn.Linear(size, first), nn.Linear(num_classes, first, bias=False)
        self.of_input.weight.data.copy_(joint[:, :size])
        self.of_label.weight.data.copy_(joint[:, size:])
        nn.init.zeros_(self.of_input.bias)
        above = MLP((first,), out_shape, hidden[1:], nonlinearity)
        self.body, self.output = nn.Sequential(activation(nonlinearity), *above.body), above.output

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map ``(..., *in_shape)`` and one-hot ``(..., C)``, leading shapes broadcast, to ``(..., *out_shape)``."""
        if len(self.in_shape) > 1:
            x = x.flatten(-len(self.in_shape))
        output = self.output(self.body(self.of_input(x) + self.of_label(y)))
        return output.unflatten(-1, self.out_shape) if len(self.out_shape) > 1 else output

    def set_output_bias(self, bias: Tensor) -> None:
        """Set what it puts out for inputs without effect, ``out_shape``."""
        self.output.bias.copy_(bias.flatten())
