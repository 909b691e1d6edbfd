"""Networks of the autoencoders, perceptrons and convolutions, that ask only for the shapes at their ends."""

from __future__ import annotations

__all__ = [
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
    "GaussianEncoder",
    "MLP",
    "activation",
    "halved_sides",
    "loc_and_scale",
    "split_image_shape",
]

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...common.validation import check_choice, check_widths

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


def loc_and_scale(output: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`\mu` and :math:`\sigma`, each ``(..., L)``, of the output :math:`(\mu, \log \sigma)`, ``(..., 2 L)``."""
    loc, log_scale = output.chunk(2, dim=-1)
    return loc, torch.exp(log_scale)


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

    def set_output_bias(self, bias: Tensor) -> None:
        """Set what it puts out for an input without effect, ``out_shape``."""
        self.output.bias.copy_(bias.flatten())


class GaussianEncoder(nn.Module):
    r"""Reads what a network puts out as :math:`(\mu, \log \sigma)` of a diagonal Gaussian over the latent.

    Args:
        network: any module that puts out ``(..., 2 L + context_dim)``.
        context_dim: size of a third output, what a flow over the latent may see of the datum; 0 for none.
    """

    def __init__(self, network: nn.Module, context_dim: int = 0) -> None:
        super().__init__()
        self.network, self.context_dim = network, context_dim

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map the network's inputs to location and scale, each ``(..., L)``, and the context if there is one."""
        output: Tensor = self.network(*inputs)
        if not self.context_dim:
            return loc_and_scale(output)
        moments, context = output.split([output.shape[-1] - self.context_dim, self.context_dim], dim=-1)
        return *loc_and_scale(moments), context


def split_image_shape(shape: Sequence[int], channels: Sequence[int]) -> tuple[int, int, int]:
    """``(planes, height, width)`` of an image shape, which as many convolutions halve as there are `channels`.

    Raises:
        ValueError: not an image shape, no `channels`, or sides too short for that many halvings.
    """
    check_widths("channels", channels)
    halvings = len(channels)
    if halvings < 1:
        raise ValueError("`channels` must hold at least one number of channels, one for each convolution, got none.")
    if len(shape) not in (2, 3) or min(shape[-2:]) < 2**halvings:
        raise ValueError(
            "`image_shape` must be (height, width) or (channels, height, width) with sides of at least "
            f"{2**halvings} for {halvings} convolutions that halve them, got {tuple(shape)}. Use fewer "
            "`channels`, or an `MLP`."
        )
    planes, height, width = shape if len(shape) == 3 else (1, *shape)
    return planes, height, width


def halved_sides(height: int, width: int, halvings: int) -> list[tuple[int, int]]:
    """Height and width before and after each halving, rounded up."""
    return [(-(-height // 2**k), -(-width // 2**k)) for k in range(halvings + 1)]


class ConvolutionalEncoder(nn.Module):
    r"""Maps an image to :math:`(\mu, \sigma)`: 3 x 3 convolutions of stride 2, then one linear layer with two heads.

    Args:
        image_shape: ``(height, width)`` or ``(channels, height, width)``.
        latent_dim: L.
        channels: number of channels after each convolution; each halves the sides, rounded up.
        nonlinearity: name of the activation after each convolution.
        num_categories: C, if the image is one of codes: the input then is one-hot, ``(*image_shape, C)``, and its last
            dimension becomes channels.

    Raises:
        ValueError: not an image shape, no `channels`, or sides too short for that many halvings.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        latent_dim: int,
        channels: Sequence[int] = (32, 64),
        nonlinearity: str = "elu",
        num_categories: int | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim, self.image_shape, self.num_categories = latent_dim, tuple(image_shape), num_categories
        self.event_dim = len(image_shape) + (num_categories is not None)
        self.planes = split_image_shape(image_shape, channels)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise([self.planes[0] * (num_categories or 1), *channels]):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), activation(nonlinearity)]
        self.body = nn.Sequential(*layers)
        height, width = halved_sides(*self.planes[1:], len(channels))[-1]
        self.output = nn.Linear(channels[-1] * height * width, 2 * latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(..., *image_shape)``, or ``(..., *image_shape, C)``, to location and scale, each ``(..., L)``."""
        batch_shape = x.shape[: x.ndim - self.event_dim]
        if self.num_categories is None:
            x = x.reshape(-1, *self.planes)
        else:
            x = x.reshape(-1, *self.planes, self.num_categories).movedim(-1, 2).flatten(1, 2)
        features = self.body(x).flatten(1)
        return loc_and_scale(self.output(features).reshape(*batch_shape, -1))


class ConvolutionalDecoder(nn.Module):
    r"""Maps a latent to an image: the mirror of `ConvolutionalEncoder`, plus a bias of its own for every pixel.

    Args:
        latent_dim: L.
        image_shape: ``(height, width)`` or ``(channels, height, width)`` of the output; any sides, odd ones too.
        channels: number of channels before each transposed convolution; each doubles the sides.
        nonlinearity: name of the activation.
        num_categories: C, if the image is one of codes: the output then is ``(*image_shape, C)``, log-odds.

    Raises:
        ValueError: not an image shape, no `channels`, or sides too short for that many doublings.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: Sequence[int],
        channels: Sequence[int] = (64, 32),
        nonlinearity: str = "elu",
        num_categories: int | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim, self.image_shape, self.num_categories = latent_dim, tuple(image_shape), num_categories
        self.out_shape = self.image_shape if num_categories is None else (*self.image_shape, num_categories)
        self.planes = split_image_shape(image_shape, channels)
        last, height, width = self.planes[0] * (num_categories or 1), *self.planes[1:]
        sides = halved_sides(height, width, len(channels))[::-1]
        self.start = (channels[0], *sides[0])
        self.input = nn.Sequential(nn.Linear(latent_dim, math.prod(self.start)), activation(nonlinearity))
        layers: list[nn.Module] = []
        steps = itertools.pairwise([*channels, last])
        for (before, after), (low, high) in zip(steps, itertools.pairwise(sides), strict=True):
            # 2 n - 1 pixels come of n; an even side needs one more.
            extra = (high[0] - 2 * low[0] + 1, high[1] - 2 * low[1] + 1)
            layers += [
                nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=extra),
                activation(nonlinearity),
            ]
        self.body = nn.Sequential(*layers[:-1])
        self.bias = nn.Parameter(torch.zeros(self.out_shape))

    def forward(self, z: Tensor) -> Tensor:
        """Map ``(..., L)`` to ``(..., *image_shape)``, or ``(..., *image_shape, C)``."""
        image = self.body(self.input(z).reshape(-1, *self.start))
        if self.num_categories is not None:
            image = image.unflatten(1, (self.planes[0], self.num_categories)).movedim(2, -1)
        return image.reshape(*z.shape[:-1], *self.out_shape) + self.bias

    def set_output_bias(self, bias: Tensor) -> None:
        """Set what it adds to every image, ``image_shape`` or ``(*image_shape, C)``."""
        self.bias.copy_(bias)
