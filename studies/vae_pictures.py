"""Pictures of a fitted autoencoder of images: what it rebuilds, what it draws, and how its latent space lies."""

from __future__ import annotations

__all__ = [
    "interpolation",
    "latent_map",
    "latent_traversal",
    "manifold",
    "reconstructions",
    "samples",
    "uncertain_reconstructions",
]

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jensen.inference.errors import ConfigurationError

from . import pictures
from .style import figure, headline, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Every `model` here is a `VAE` or has its methods `decode`, `embed`, `reconstruct` and `generate`; images have values
# in [0, 1], and `shape` is (height, width), by default the model's data shape or the square of that many pixels.


@torch.no_grad()
def reconstructions(
    models: Any, x: Tensor, shape: tuple[int, int] | None = None, title: str = "Reconstructions"
) -> Figure:
    """Draw data ``(M, *data_shape)`` above what one model, or each of ``{label: model}``, decodes for them."""
    models = models if isinstance(models, Mapping) else {"reconstruction": models}
    shape = _sides(next(iter(models.values())), shape)
    rows = {"data": x} | {label: model.reconstruct(x) for label, model in models.items()}
    return pictures.reconstructions({label: _flat(row) for label, row in rows.items()}, shape, title)


@torch.no_grad()
def uncertain_reconstructions(
    model: Any,
    x: Tensor,
    num: int = 200,
    shape: tuple[int, int] | None = None,
    seed: int = 0,
    title: str = "Reconstructions and their uncertainty",
) -> Figure:
    """Draw data ``(M, *data_shape)``, the decoded centre of q(z | x), and mean and sd of `num` decoded draws of it.

    The sd is that of the decoded mean image over the guide's draws, on a scale from 0 (white) to 0.5 (black).
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        draws = model.reconstruct(x, num=num)
    rows = {
        "data": x,
        "decoded centre": model.reconstruct(x),
        f"mean of {num} draws": draws.mean(0),
        "their sd (0 to 0.5)": 2 * draws.std(0),
    }
    return pictures.reconstructions({label: _flat(row) for label, row in rows.items()}, _sides(model, shape), title)


@torch.no_grad()
def samples(
    model: Any,
    num: int = 48,
    shape: tuple[int, int] | None = None,
    seed: int = 0,
    columns: int = 12,
    title: str = "Samples of the prior, decoded",
) -> Figure:
    """Draw the mean images of `num` latents of the prior."""
    drawn = model.generate(num, seed=seed)
    latent = drawn["z"] if "z" in drawn else drawn["z1"]  # the lower of two layers
    return pictures.image_grid(_flat(model.decode(latent)), _sides(model, shape), columns, title)


@torch.no_grad()
def latent_traversal(
    model: Any,
    x: Tensor,
    dims: Sequence[int] | None = None,
    reach: float = 3.0,
    steps: int = 11,
    shape: tuple[int, int] | None = None,
    title: str = "Traversal of the latent",
) -> Figure:
    """Draw what becomes of the first datum as one latent dimension after the other runs from -`reach` to `reach`.

    Args:
        x: ``(M, *data_shape)``; the first is traversed, all of them choose the dimensions.
        dims: the dimensions; by default the (at most) eight whose encoded values vary most over `x`.
        reach: in standard deviations of a standard normal prior.

    Raises:
        ConfigurationError: a dimension that the model lacks.
    """
    codes = model.embed(x)
    if dims is None:
        spread = codes.var(0) if len(codes) > 1 else torch.zeros_like(codes[0])
        dims = spread.argsort(descending=True)[:8].tolist()
    if unknown := [dim for dim in dims if not 0 <= dim < codes.shape[1]]:
        raise ConfigurationError(f"`dims`: expected numbers from 0 to {codes.shape[1] - 1}, got {unknown[0]}.")
    line = torch.linspace(-reach, reach, steps, dtype=codes.dtype, device=codes.device)
    rows = {}
    for dim in dims:
        moved = codes[0].repeat(steps, 1)
        moved[:, dim] = line
        rows[f"z[{dim}]"] = _flat(model.decode(moved))
    return pictures.reconstructions(rows, _sides(model, shape), f"{title}, from {-reach:g} to {reach:g}")


@torch.no_grad()
def interpolation(
    model: Any,
    start: Tensor,
    end: Tensor,
    steps: int = 9,
    shape: tuple[int, int] | None = None,
    title: str = "Between two data, along a line in the latent space",
) -> Figure:
    """Draw each pair of rows of `start` and `end` ``(M, *data_shape)`` and `steps` images decoded between them.

    Raises:
        ConfigurationError: `start` and `end` differ in shape.
    """
    if start.shape != end.shape:
        raise ConfigurationError(f"`end`: expected the shape of `start`, {tuple(start.shape)}, got {tuple(end.shape)}.")
    first, last = model.embed(start), model.embed(end)
    share = torch.linspace(0.0, 1.0, steps, dtype=first.dtype, device=first.device)[:, None]
    rows = {}
    for row in range(len(start)):
        between = _flat(model.decode(torch.lerp(first[row], last[row], share)))
        rows[f"pair {row + 1}"] = torch.cat([_flat(start[row : row + 1]), between, _flat(end[row : row + 1])])
    return pictures.reconstructions(rows, _sides(model, shape), title)


@styled
@torch.no_grad()
def manifold(
    model: Any, size: int = 15, shape: tuple[int, int] | None = None, title: str = "The decoded plane of the latent"
) -> Figure:
    """Draw the images decoded on a grid of a two-dimensional latent, at the standard normal's quantiles (i - 1/2)/size.

    Raises:
        ConfigurationError: the latent has not two dimensions.
    """
    if model.latent_dim != 2:
        raise ConfigurationError(f"`model`: expected a latent of two dimensions, got {model.latent_dim}.")
    height, width = _sides(model, shape)
    like = next(model.parameters())
    line = torch.special.ndtri((torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size)
    across, up = torch.meshgrid(line, line.flip(0), indexing="xy")
    images = _flat(model.decode(torch.stack([across, up], -1).flatten(0, 1)))
    framed = torch.nn.functional.pad(images.reshape(size, size, height, width), (0, 1, 0, 1))  # a white line between
    height, width = height + 1, width + 1
    mosaic = framed.transpose(1, 2).reshape(size * height, size * width)[:-1, :-1]
    picture = figure(6.2, 6.4)
    axes = picture.add_subplot()
    axes.imshow(mosaic.cpu().numpy(), cmap="gray_r", vmin=0.0, vmax=1.0, interpolation="nearest")
    marks = sorted({0, size // 4, size // 2, size - 1 - size // 4, size - 1})
    axes.set_xticks([(i + 0.5) * width - 1.0 for i in marks], [f"{line[i]:.2f}" for i in marks])
    axes.set_yticks([(size - i - 0.5) * height - 1.0 for i in marks], [f"{line[i]:.2f}" for i in marks])
    axes.set(xlabel="first latent dimension (normal quantiles)", ylabel="second latent dimension")
    headline(picture, title)
    return picture


@torch.no_grad()
def latent_map(
    model: Any, x: Tensor, labels: Tensor, names: Sequence[str] | None = None, title: str = "Map of the latent space"
) -> Figure:
    """Draw the encoded data ``(N, *data_shape)`` coloured by label; of more dimensions their two principal ones."""
    return pictures.latent_map(model.embed(x), labels, names, title)


def _flat(images: Tensor) -> Tensor:
    return images.flatten(1)


def _sides(model: Any, shape: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of the model's images."""
    pixels = math.prod(model.data_shape)
    if shape is None:
        side = math.isqrt(pixels)
        shape = tuple(model.data_shape[-2:]) if len(model.data_shape) > 1 else (side, side)
    if math.prod(shape) != pixels:
        raise ConfigurationError(f"`shape`: expected (height, width) of {pixels} pixels, got {tuple(shape)}.")
    return shape
