"""Encoder and decoder of the image programs in torch, shared by the Pyro and the jensen peer."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

__all__ = ["Decoder", "Encoder"]

_ACTIVATIONS = {"softplus": nn.Softplus, "tanh": nn.Tanh}


def _linear(init: dict[str, np.ndarray], name: str) -> nn.Linear:
    weight, bias = torch.from_numpy(init[f"{name}.weight"]), torch.from_numpy(init[f"{name}.bias"])
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def _stack(init: dict[str, np.ndarray], name: str) -> list[nn.Linear]:
    return [_linear(init, f"{name}{i}") for i in range(sum(f"{name}{i}.weight" in init for i in range(10)))]


class Encoder(nn.Module):
    """``x (..., 784) -> loc (..., L), scale (..., L)`` of q(z | x)."""

    def __init__(self, init: dict[str, np.ndarray], activation: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for layer in _stack(init, "encoder"):
            layers += [layer, _ACTIVATIONS[activation]()]
        self.hidden = nn.Sequential(*layers)
        self.loc = _linear(init, "loc")
        self.log_scale = _linear(init, "log_scale")

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.hidden(x)
        return self.loc(hidden), self.log_scale(hidden).exp()


class Decoder(nn.Module):
    """``z (..., L) -> logits (..., 784)`` of p(x | z)."""

    def __init__(self, init: dict[str, np.ndarray], activation: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for layer in _stack(init, "decoder"):
            layers += [layer, _ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(z)
        return logits
