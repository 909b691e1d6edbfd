"""Convolutions of images with holes: each output is made of the seen pixels alone, and counts how many they are."""

from __future__ import annotations

__all__ = ["PartialConv2d", "PartialConvolutionalEncoder"]

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from .networks import activation, halved_sides, loc_and_scale, split_image_shape


class PartialConv2d(nn.Conv2d):
    r"""Convolution over seen pixels, scaled up for those that are hidden.

    .. math::
        y_p = \frac{|w_p|}{\sum_{q \in w_p} m_q} \sum_{q \in w_p} W_{q - p}\, m_q x_q + b
        \quad \text{where } \sum_{q \in w_p} m_q > 0, \text{ else } 0,

    where :math:`w_p` are the window's pixels inside the image. So with all pixels seen this is `torch.nn.Conv2d`,
    zero padding at the border included, and the values of hidden pixels are never read. An output is seen if any pixel
    of its window is.

    Arguments are those of `torch.nn.Conv2d` with zero padding.

    Raises:
        ValueError: another padding than zeros, or a mask that is not ``(B, 1, height, width)``.

    Reference: G. Liu et al., *Image Inpainting for Irregular Holes Using Partial Convolutions*, 2018,
    https://arxiv.org/abs/1804.07723 (there :math:`|w_p|` also counts the pixels outside the image).

    Example:
        >>> convolve, x, mask = PartialConv2d(1, 4, 3, padding=1), torch.randn(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
        >>> y, seen = convolve(x, mask)
        >>> torch.allclose(y, torch.nn.functional.conv2d(x, convolve.weight, convolve.bias, padding=1), atol=1e-6)
        True
    """

    window: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **options: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)  # type: ignore[arg-type]
        if self.padding_mode != "zeros":
            raise ValueError(f"`padding_mode` must be 'zeros', got {self.padding_mode!r}.")
        self.register_buffer("window", torch.ones(1, 1, *self.kernel_size), persistent=False)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Map ``(B, in, H, W)`` and the mask ``(B, 1, H, W)`` (1 is seen) to the output and the mask of its pixels."""
        if mask.shape != (len(x), 1, *x.shape[-2:]):
            raise ValueError(
                f"`mask` must have shape {(len(x), 1, *x.shape[-2:])}, one number per pixel, got {tuple(mask.shape)}."
            )
        seen, inside = self._count(mask), self._count(torch.ones_like(mask))
        known = (seen > 0.5).to(x.dtype)
        x = torch.where(mask > 0, x, torch.zeros_like(x))
        summed = conv2d(x, self.weight, None, self.stride, self.padding, self.dilation, self.groups)
        output = summed * (inside / seen.clamp_min(1.0))
        if self.bias is not None:
            output = output + self.bias[:, None, None]
        return output * known, known

    def _count(self, mask: Tensor) -> Tensor:
        return conv2d(mask, self.window, None, self.stride, self.padding, self.dilation)


class PartialConvolutionalEncoder(nn.Module):
    r"""Maps a masked image to :math:`(\mu, \sigma)` by partial convolutions of stride 2 and a linear layer.

    The linear layer also sees the mask, so that it knows how much the features rest on.

    Args:
        image_shape: ``(height, width)`` or ``(channels, height, width)``.
        latent_dim: L.
        channels: number of channels after each convolution; each halves the sides, rounded up.
        nonlinearity: name of the activation after each convolution.

    Raises:
        ValueError: not an image shape, no `channels`, or sides too short for that many halvings.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        latent_dim: int,
        channels: Sequence[int] = (32, 64),
        nonlinearity: str = "elu",
    ) -> None:
        super().__init__()
        self.image_shape = split_image_shape(image_shape, channels)
        self.event_dim = len(image_shape)
        steps = itertools.pairwise([self.image_shape[0], *channels])
        self.body = nn.ModuleList([PartialConv2d(a, b, 3, stride=2, padding=1) for a, b in steps])
        self.nonlinearity = activation(nonlinearity)
        height, width = halved_sides(*self.image_shape[1:], len(channels))[-1]
        self.output = nn.Linear(channels[-1] * height * width + math.prod(self.image_shape[1:]), 2 * latent_dim)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(..., *image_shape)`` and a mask of that shape to location and scale, each ``(..., L)``.

        A pixel counts as seen if all its channels are.
        """
        batch_shape = x.shape[: x.ndim - self.event_dim]
        x = x.reshape(-1, *self.image_shape)
        holes = seen = mask.reshape(-1, *self.image_shape).amin(1, keepdim=True)
        for convolve in self.body:
            x, seen = convolve(x, seen)
            x = self.nonlinearity(x) * seen
        features = torch.cat([x.flatten(1), holes.flatten(1)], -1)
        return loc_and_scale(self.output(features).reshape(*batch_shape, -1))
