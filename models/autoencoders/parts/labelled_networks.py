"""Networks of two inputs, a datum and its label: what stands for h(y, z) and q(z | x, y)."""

from __future__ import annotations

__all__ = ["LabelledGaussianEncoder", "LabelledMLP"]

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .networks import activation


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
        layers: list[nn.Module] = [activation(nonlinearity)]
        for before, after in itertools.pairwise(hidden):
            layers += [nn.Linear(before, after), activation(nonlinearity)]
        self.body = nn.Sequential(*layers)
        self.output = nn.Linear(hidden[-1], math.prod(out_shape))
        for layer in [*self.body, self.output]:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
        for layer in self.modules():
            if isinstance(layer, nn.Linear) and layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map ``(..., *in_shape)`` and one-hot ``(..., C)``, leading shapes broadcast, to ``(..., *out_shape)``."""
        if len(self.in_shape) > 1:
            x = x.flatten(-len(self.in_shape))
        output = self.output(self.body(self.of_input(x) + self.of_label(y)))
        return output.unflatten(-1, self.out_shape) if len(self.out_shape) > 1 else output

    def set_output_bias(self, bias: Tensor) -> None:
        """Set what it puts out for inputs without effect, ``out_shape``."""
        self.output.bias.copy_(bias.flatten())


class LabelledGaussianEncoder(nn.Module):
    r"""Maps a datum and its one-hot label to :math:`(\mu, \sigma)` of a diagonal Gaussian over the latent.

    Args:
        in_shape: event shape of the features.
        num_classes: C.
        latent_dim: L.
        hidden: widths of the hidden layers.
        nonlinearity: name of the activation after each hidden layer.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        num_classes: int,
        latent_dim: int,
        hidden: Sequence[int],
        nonlinearity: str = "softplus",
    ) -> None:
        super().__init__()
        self.network = LabelledMLP(in_shape, num_classes, (2 * latent_dim,), hidden, nonlinearity)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(..., *in_shape)`` and one-hot ``(..., C)`` to location and scale, each ``(..., L)``."""
        loc, log_scale = self.network(x, y).chunk(2, dim=-1)
        return loc, torch.exp(log_scale)
