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

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jensen.inference.errors import ConfigurationError

from .images import draw_image, image_grid
from .images import reconstructions as rows_of_images
from .plane import latent_map as map_of_points
from .style import figure, headline, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Every `model` here is a `VAE` or has those of its methods `decode`, `embed`, `reconstruct` and `generate` that the
# picture asks for; of a `HierarchicalVAE` the upper layer is embedded and decoded. Images have values in [0, 1].
# `shape` is (height, width), or (3, height, width) for red, green and blue: by default the model's data shape, or the
# square of that many pixels.


@torch.no_grad()
def reconstructions(
    models: Any, x: Tensor, shape: tuple[int, ...] | None = None, title: str = "Reconstructions"
) -> Figure:
    """Draw data ``(M, *data_shape)`` above what one model, or each of ``{label: model}``, decodes for them."""
    models = models if isinstance(models, Mapping) else {"reconstruction": models}
    decoded = {label: _flat(model, _ask(model, "reconstruct", x)) for label, model in models.items()}
    shape = _shape(next(iter(models.values())), shape)
    return rows_of_images({"data": x.flatten(1)} | decoded, shape, title)


@torch.no_grad()
def uncertain_reconstructions(
    model: Any,
    x: Tensor,
    num: int = 200,
    shape: tuple[int, ...] | None = None,
    seed: int = 0,
    title: str = "Reconstructions and their uncertainty",
) -> Figure:
    """Draw data ``(M, *data_shape)``, the decoded centre of q(z | x), and mean and sd of `num` decoded draws of it.

    The sd is that of the decoded mean image over the guide's draws, on a scale from 0 (white) to 0.5 (black); of
    colours it is the root of their mean variance.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        draws = _ask(model, "reconstruct", x, num=num)
    centre = _flat(model, _ask(model, "reconstruct", x))
    shape, ink = _shape(model, shape), 2 * draws.std(0).flatten(1)
    if len(shape) == 3:  # in light, not in ink
        ink = 1 - ink.unflatten(1, (3, -1)).square().mean(1).sqrt().repeat(1, 3)
    rows = {
        "data": x.flatten(1),
        "decoded centre": centre,
        f"mean of {num} draws": draws.mean(0).flatten(1),
        "their sd (0 to 0.5)": ink,
    }
    return rows_of_images(rows, shape, title)


@torch.no_grad()
def samples(
    model: Any,
    num: int = 48,
    shape: tuple[int, ...] | None = None,
    seed: int = 0,
    columns: int = 12,
    title: str = "Samples of the prior, decoded",
) -> Figure:
    """Draw the mean images of `num` latents of the prior."""
    drawn = _ask(model, "generate", num, seed=seed)
    latents = [drawn[name] for name in ("z", "z1", "codes") if name in drawn]  # of two layers the lower
    images = _flat(model, _ask(model, "decode", *latents[:1]))
    return image_grid(images, _shape(model, shape), columns, title)


@torch.no_grad()
def latent_traversal(
    model: Any,
    x: Tensor,
    dims: Sequence[int] | None = None,
    reach: float = 3.0,
    steps: int = 11,
    shape: tuple[int, ...] | None = None,
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
    codes = _ask(model, "embed", x)
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
        rows[f"z[{dim}]"] = _flat(model, _decode(model, moved))
    return rows_of_images(rows, _shape(model, shape), f"{title}, from {-reach:g} to {reach:g}")


@torch.no_grad()
def interpolation(
    model: Any,
    start: Tensor,
    end: Tensor,
    steps: int = 9,
    shape: tuple[int, ...] | None = None,
    title: str = "Between two data, along a line in the latent space",
) -> Figure:
    """Draw each pair of rows of `start` and `end` ``(M, *data_shape)`` and `steps` images decoded between them.

    Raises:
        ConfigurationError: `start` and `end` differ in shape.
    """
    if start.shape != end.shape:
        raise ConfigurationError(f"`end`: expected the shape of `start`, {tuple(start.shape)}, got {tuple(end.shape)}.")
    first, last = _ask(model, "embed", start), _ask(model, "embed", end)
    share = torch.linspace(0.0, 1.0, steps, dtype=first.dtype, device=first.device)[:, None]
    rows = {}
    for row in range(len(start)):
        between = _flat(model, _decode(model, torch.lerp(first[row], last[row], share)))
        ends = start[row].reshape(1, -1), end[row].reshape(1, -1)
        rows[f"pair {row + 1}"] = torch.cat([ends[0], between, ends[1]])
    return rows_of_images(rows, _shape(model, shape), title)


@styled
@torch.no_grad()
def manifold(
    model: Any, size: int = 15, shape: tuple[int, ...] | None = None, title: str = "The decoded plane of the latent"
) -> Figure:
    """Draw the images decoded on a grid of a two-dimensional latent, at the standard normal's quantiles (i - 1/2)/size.

    Raises:
        ConfigurationError: the latent has not two dimensions.
    """
    if (dim := getattr(model, "latent_dim", None)) != 2:
        got = f"{dim}" if dim else f"a `{type(model).__name__}` without `latent_dim`"
        raise ConfigurationError(f"`model`: expected a latent of two dimensions, got {got}. See `latent_traversal`.")
    shape = _shape(model, shape)
    height, width = shape[-2:]
    like = next(model.parameters())
    line = torch.special.ndtri((torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size)
    across, up = torch.meshgrid(line, line.flip(0), indexing="xy")
    images = _flat(model, _decode(model, torch.stack([across, up], -1).flatten(0, 1)))
    white = 1.0 if len(shape) == 3 else 0.0  # of the lines between the images
    framed = torch.nn.functional.pad(images.reshape(size, size, -1, height, width), (0, 1, 0, 1), value=white)
    height, width = height + 1, width + 1
    mosaic = framed.permute(2, 0, 3, 1, 4).reshape(-1, size * height, size * width)[:, :-1, :-1]
    picture = figure(6.2, 6.4)
    axes = picture.add_subplot()
    draw_image(axes, mosaic, mosaic.shape[-len(shape) :])
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
    return map_of_points(_ask(model, "embed", x), labels, names, title)


def _ask(model: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Call the model's method of that name; a model that has none which takes these arguments is refused."""
    try:
        method = getattr(model, name, None)
        inspect.signature(method).bind(*args, **kwargs)  # type: ignore[arg-type]  # of None a TypeError as well
    except TypeError:
        kind = type(model).__name__
        what = f"{name}({', '.join(['z' if name == 'decode' else 'x', *kwargs])})"
        raise ConfigurationError(
            f"`model`: expected one with `{what}` as `VAE` has it, got a `{kind}`, for which this picture is not made. "
            "Draw the images that you decode yourself by `jensen.studies.pictures.image_grid`."
        ) from None
    return method(*args, **kwargs)  # type: ignore[misc]


def _decode(model: Any, z: Tensor) -> Tensor:
    """The images of points of the space that `embed` gives."""
    images: Tensor = _ask(model, "decode_upper" if hasattr(model, "decode_upper") else "decode", z)
    return images


def _flat(model: Any, images: Tensor) -> Tensor:
    """Decoded images as rows of numbers, one for each number of a datum."""
    if images.shape[1:] != torch.Size(model.data_shape):
        raise ConfigurationError(
            f"`model`: expected decoded images of the data's shape {tuple(model.data_shape)}, got "
            f"{tuple(images.shape[1:])}; a categorical likelihood gives each pixel's probabilities. Choose one, as in "
            "`model.decode(z)[..., 1]`, or the `argmax(-1)` scaled to [0, 1], and draw it by "
            "`jensen.studies.pictures.image_grid`."
        )
    return images.flatten(1)


def _shape(model: Any, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of the model's images: (height, width), or (3, height, width)."""
    size = math.prod(model.data_shape)
    if shape is None:
        side = math.isqrt(size)
        shape = tuple(model.data_shape) if len(model.data_shape) > 1 else (side, side)
        while len(shape) > 2 and shape[0] == 1:
            shape = shape[1:]
    drawable = len(shape) == 2 or (len(shape) == 3 and shape[0] == 3)
    if not drawable or math.prod(shape) != size:
        raise ConfigurationError(
            f"`shape`: expected (height, width), or (3, height, width) for colours, of {size} numbers, got "
            f"{tuple(shape)}. Channels that are no colours are drawn under one another with (channels * height, width)."
        )
    return shape
