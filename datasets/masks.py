"""Masks over images, 1 seen and 0 hidden: rectangles, single pixels, halves; fresh at every presentation, or fixed."""

from __future__ import annotations

__all__ = ["RandomMasks"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .dataset import Batch, Dataset

_KINDS = ("rectangle", "pixels", "half")


@dataclass(frozen=True)
class RandomMasks:
    """Put a random mask beside each image: the transform of a fit that learns to complete images.

    - ``"rectangle"``: a rectangle is hidden, its sides uniform between a quarter of the image's and all of it, its
      place uniform.
    - ``"pixels"``: a share of the pixels is hidden, uniform on [0, 1] for each image, each pixel independently.
    - ``"half"``: the left, right, upper or lower half is hidden.

    A training loop calls it on the batch of a step with that step's generator or seed, as `DynamicBinarization`; the
    same seed gives the same masks.

    Args:
        kinds: which kinds; one of them is chosen uniformly for each image.
        image_shape: (height, width); by default the last two dimensions of the images, or, of flat ones, the square of
            that many pixels.
        key: the images' name in the batch; mask_key: the masks'.

    Raises:
        ValueError: unknown kinds; images that are not of `image_shape`.

    Example:
        >>> batch = {"x": torch.rand(2, 64)}
        >>> RandomMasks(("half",))(batch, 0)["mask"].sum(-1)
        tensor([32., 32.])
    """

    kinds: tuple[str, ...] = _KINDS
    image_shape: tuple[int, int] | None = None
    key: str = "x"
    mask_key: str = "mask"

    def __post_init__(self) -> None:
        if isinstance(self.kinds, str) or not self.kinds or not set(self.kinds) <= set(_KINDS):
            raise ValueError(f"`kinds` must be a tuple of some of {list(_KINDS)}, got {self.kinds!r}.")

    def __call__(self, batch: Batch, generator: torch.Generator | int | None = None) -> Batch:
        """The batch with masks of the images' shape and dtype, the same for all channels.

        Args:
            batch: images ``(B, H * W)`` or ``(B, ..., H, W)`` under `key`; masks that are there are replaced.
            generator: on the device of the batch; or a seed; or None for torch's global generator.
        """
        if self.key not in batch:
            raise ValueError(f"`key`: expected one of {sorted(batch)}, got `{self.key}`")
        x = batch[self.key]
        if isinstance(generator, int):
            generator = torch.Generator(x.device).manual_seed(generator)
        height, width = self._sides(x)
        size, dtype = len(x), x.dtype if x.is_floating_point() else torch.get_default_dtype()

        def uniform(*shape: int) -> Tensor:
            return torch.rand(size, *shape, generator=generator, dtype=dtype, device=x.device)

        masks = []
        rows = torch.arange(height, device=x.device).view(-1, 1)
        columns = torch.arange(width, device=x.device).view(1, -1)
        for kind in self.kinds:
            if kind == "pixels":
                masks.append(uniform(height, width) >= uniform(1, 1))
            elif kind == "rectangle":
                tall, wide, down, right = uniform(4).unsqueeze(-1).unsqueeze(-1).unbind(1)
                tall = ((0.25 + 0.75 * tall) * height).round().clamp_min(1)
                wide = ((0.25 + 0.75 * wide) * width).round().clamp_min(1)
                top, left = (down * (height - tall + 1)).floor(), (right * (width - wide + 1)).floor()
                inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
                masks.append(~inside)
            else:
                side = uniform(1, 1)
                upper, left = (rows < height // 2).expand(height, width), (columns < width // 2).expand(height, width)
                across = torch.where(side < 0.25, left, ~left)
                masks.append(torch.where(side < 0.5, across, torch.where(side < 0.75, upper, ~upper)))
        mask = masks[0]
        if len(masks) > 1:
            chosen = (uniform(1, 1) * len(masks)).floor()
            for number, other in enumerate(masks[1:], 1):
                mask = torch.where(chosen == number, other, mask)
        return {**batch, self.mask_key: self._like(mask.to(dtype), x)}

    def hide(self, data: Dataset, *, seed: int = 0) -> Dataset:
        """`data` with masks drawn once by `seed` in every split, each with its own stream: for tests, or to start."""
        return data.draw(self, seed=seed)

    def _sides(self, x: Tensor) -> tuple[int, int]:
        pixels = math.prod(x.shape[1:]) if x.ndim == 2 else math.prod(x.shape[-2:])
        side = math.isqrt(pixels)
        shape = self.image_shape or ((side, side) if x.ndim == 2 else (x.shape[-2], x.shape[-1]))
        if math.prod(shape) != pixels or (x.ndim > 2 and tuple(x.shape[-2:]) != tuple(shape)):
            raise ValueError(
                f"`image_shape` must be (height, width) of the images, got {tuple(shape)} for images of shape "
                f"{tuple(x.shape[1:])}."
            )
        return shape

    @staticmethod
    def _like(mask: Tensor, x: Tensor) -> Tensor:
        if x.ndim == 2:
            return mask.flatten(1)
        return mask.view(len(x), *(1,) * (x.ndim - 3), *mask.shape[1:]).expand(x.shape).clone()
