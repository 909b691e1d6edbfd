"""Whether the first layers of networks are given data on their raw scale, under which they saturate."""

from __future__ import annotations

__all__ = ["warn_of_inputs"]

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...pair.eager_run import run_pair
from ...pair.program import Program
from ...tensors import Batch
from ...warn import warn_user

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
_LARGE = 10.0  # root mean square of what a layer is given; initial weights are made for about one


def warn_of_inputs(program: Program, batch: Batch) -> None:
    """Warn, once a fit, of data so large that the layers which see them start saturated, or with gradients to match.

    Looked at is what linear and convolutional layers are given in one run of the pair: data that the program scales
    itself, or by a normalising layer, pass.

    Args:
        program: the pair at its start.
        batch: of the data.
    """
    layers = [module for module in program.modules() if isinstance(module, _LAYERS)]
    large = [name for name, value in batch.items() if value.is_floating_point() and _size(value) > _LARGE]
    if not layers or not large:
        return
    with _inputs(layers) as given:
        run_pair(program, batch)
    for name in large:
        numbers = batch[name].reshape(len(batch[name]), -1)
        if any(_holds(value, numbers) for value in given):
            low, high = float(numbers.nan_to_num().min()), float(numbers.nan_to_num().max())
            warn_user(
                f"A network is given `{name}` on its raw scale, from {low:.4g} to {high:.4g}: its first layer, whose "
                f"weights start for inputs of about one, saturates or learns slowly, and the fit ends lower. Scale "
                f"`{name}` (subtract its mean and divide by its standard deviation, or divide by {_round(numbers)}), "
                f"or put a normalising layer (`nn.BatchNorm1d`) first."
            )


@contextmanager
def _inputs(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """What the layers are given inside."""
    seen: list[Tensor] = []

    def note(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.extend(value.detach() for value in inputs if isinstance(value, Tensor) and value.is_floating_point())

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_pre_hook(note).remove)
        yield seen


def _size(value: Tensor) -> float:
    """The root mean square of what is there."""
    return float(value.detach().double().square().nanmean().sqrt())


def _holds(value: Tensor, numbers: Tensor) -> bool:
    """Whether a layer's input ``(N, …)`` has the numbers ``(N, D)`` of the data among its own, in their order."""
    if value.dim() < 2 or len(value) != len(numbers):
        return False
    wide = value.reshape(len(value), -1)
    count, width = wide.shape[1], numbers.shape[1]
    return any(bool(torch.equal(wide[:, i : i + width], numbers)) for i in range(count - width + 1))


def _round(numbers: Tensor) -> str:
    """The largest size, as a person would say it."""
    largest = float(numbers.nan_to_num().abs().max())
    return "255" if 128.0 < largest <= 255.0 else f"{largest:.2g}"
