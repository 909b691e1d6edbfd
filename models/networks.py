"""Default networks of the autoencoders: multilayer perceptrons that ask only for the shapes at their ends."""

from __future__ import annotations

__all__ = ["GaussianEncoder", "MLP", "activation"]

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .checks import check_choice

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def activation(name: str) -> nn.Module:
    """The elementwise nonlinearity of this name, as a new module.

    Raises:
        ValueError: unknown name.
    """
    check_choice("activation", name, _ACTIVATIONS)
    return _ACTIVATIONS[name]()


class MLP(nn.Module):
    r"""Fully connected network :math:`(\dots, \text{in}) \to (\dots, \text{out})`, Glorot weights, zero biases.

    Args:
        in_shape: event shape of the input, flattened inside.
        out_shape: event shape of the output.
        hidden: widths of the hidden layers.
        nonlinearity: name of the activation after each hidden layer.
    """

    def __init__(
        self, in_shape: Sequence[int], out_shape: Sequence[int], hidden: Sequence[int], nonlinearity: str = "tanh"
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        widths = [math.prod(in_shape), *hidden]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), activation(nonlinearity)]
        self.body = nn.Sequential(*layers)
        self.output = nn.Linear(widths[-1], math.prod(out_shape))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., *in_shape)`` to ``(..., *out_shape)``."""
        if len(self.in_shape) > 1:
            x = x.flatten(-len(self.in_shape))
        output = self.output(self.body(x))
        return output.unflatten(-1, self.out_shape) if len(self.out_shape) > 1 else output


class GaussianEncoder(nn.Module):
    r"""Maps a datum to :math:`(\mu, \sigma)` of a diagonal Gaussian over the latent: an `MLP` with two heads.

    Args:
        in_shape: event shape of the features.
        latent_dim: L.
        hidden: widths of the hidden layers.
        nonlinearity: name of the activation after each hidden layer.
    """

    def __init__(
        self, in_shape: Sequence[int], latent_dim: int, hidden: Sequence[int], nonlinearity: str = "tanh"
    ) -> None:
        super().__init__()
        self.network = MLP(in_shape, (2 * latent_dim,), hidden, nonlinearity)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(..., *in_shape)`` to location and scale, each ``(..., L)``."""
        loc, log_scale = self.network(x).chunk(2, dim=-1)
        return loc, torch.exp(log_scale)
