"""Binarise intensities in [0, 1]: afresh at every presentation, once by a seed, or at a threshold."""

from __future__ import annotations

__all__ = ["DynamicBinarization", "binarize", "threshold"]

from dataclasses import dataclass

import torch
from torch import Tensor

from .dataset import Batch, Dataset


@dataclass(frozen=True)
class DynamicBinarization:
    """`b ~ Bernoulli(x)`, drawn afresh each time a batch is presented.

    A training loop calls it on the batch of a step with that step's generator or seed; the same seed gives the same
    bits, so that a resumed run sees the data an uninterrupted one would have seen. Under data parallelism, apply it to
    the global batch before it is divided.

    Args:
        keys: which tensors of the batch; the others pass through untouched.

    Reference: Salakhutdinov and Murray, "On the quantitative analysis of deep belief networks", 2008,
    https://dl.acm.org/doi/10.1145/1390156.1390266; as training-time noise: Burda, Grosse and Salakhutdinov,
    "Importance weighted autoencoders", 2015, https://arxiv.org/abs/1509.00519.

    Example:
        >>> import torch
        >>> from jensen.datasets import DynamicBinarization
        >>> transform = DynamicBinarization()
        >>> batch = {"x": torch.full((2, 4), 0.5), "y": torch.tensor([3, 7])}
        >>> bool((transform(batch, 0)["x"] == transform(batch, 0)["x"]).all())
        True
    """

    keys: tuple[str, ...] = ("x",)

    def check(self, batch: Batch) -> None:
        """Look at intensities before they are drawn from; a fit does so once, and no step reads them back.

        Raises:
            ValueError: a key the batch lacks; entries that are not intensities in [0, 1].
        """
        self._check_keys(batch)
        for key in self.keys:
            _check_intensities(f"`{key}`", batch[key])

    def __call__(self, batch: Batch, generator: torch.Generator | int | None = None) -> Batch:
        """The batch with `keys` drawn: tensors of 0 and 1, shapes, dtype and device as before.

        Args:
            batch: intensities in [0, 1] under each of `keys`, which `check` verifies and this does not.
            generator: on the device of the batch; or a seed; or None for torch's global generator.

        Raises:
            ValueError: a key the batch lacks.
        """
        self._check_keys(batch)
        if isinstance(generator, int):
            device = batch[self.keys[0]].device
            generator = torch.Generator(device).manual_seed(generator)
        return {**batch, **{key: _draw(batch[key], generator) for key in self.keys}}

    def _check_keys(self, batch: Batch) -> None:
        for key in self.keys:
            if key not in batch:
                raise ValueError(f"`keys`: expected some of {sorted(batch)}, got `{key}`")


def binarize(dataset: Dataset, *, seed: int = 0, key: str = "x") -> Dataset:
    """Fixed binarisation: `b ~ Bernoulli(x)` drawn once by `seed`, every split with its own stream.

    Raises:
        ValueError: entries of `key` outside [0, 1].
    """
    for split, batch in dataset.splits():
        if key in batch:
            _check_intensities(f"`{key}` of `{split}`", batch[key])
    return dataset.draw(DynamicBinarization((key,)), seed=seed)


def threshold(dataset: Dataset, *, at: float = 0.5, key: str = "x") -> Dataset:
    """Deterministic binarisation: `b = 1` where `x > at`, in every split."""
    if key not in dataset.train:
        raise ValueError(f"`key`: expected one of {sorted(dataset.train)}, got `{key}`")
    return dataset.map(lambda batch: {**batch, key: (batch[key] > at).to(batch[key].dtype)})


def _draw(x: Tensor, generator: torch.Generator | None) -> Tensor:
    # rand is uniform on [0, 1): P(rand < x) = x, and exactly 0 and 1 at the ends
    return (torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device) < x).to(x.dtype)


def _check_intensities(name: str, x: Tensor) -> None:
    if not x.is_floating_point() or not bool(((x >= 0) & (x <= 1)).all()):
        low, high = x.min().item(), x.max().item()
        raise ValueError(
            f"{name}: expected floating-point intensities in [0, 1], got {x.dtype} in [{low:g}, {high:g}]. Rescale it: "
            f"divide pixels from 0 to 255 by 255, and leave out what centres or standardises."
        )
