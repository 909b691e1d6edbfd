"""`Dataset`: named splits of tensors, keyed by the argument names that models use."""

from __future__ import annotations

__all__ = ["SPLITS", "Batch", "Dataset"]

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .scaling import Standardizer

Batch = dict[str, Tensor]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, repr=False, eq=False)
class Dataset:
    """Train, validation and test data, each a dict of tensors with the data along the first dimension.

    The keys are the argument names of the models (`"x"` observations or inputs, `"y"` targets), so that a split is a
    batch as it stands: `fit(model, dataset.train)`. For a model that takes fewer arguments: `dataset.select("x")`.

    Args:
        name: what the data are called in tables and pictures.
        train: tensors `(N, ...)` keyed by argument name; required, never empty.
        validation: the same keys, `(N_validation, ...)`, or None.
        test: the same keys, `(N_test, ...)`, or None.
        feature_names: names of the columns of `x`; may be empty.
        target_names: names of the classes of `y`, in the order of the labels; may be empty.
        description: origin, licence and units, for a person to read.
        truth: what a synthetic generator drew, by name: parameters, and latents `(N_all, ...)` in the original order.
        rows: for each split, the row numbers it has of the data before splitting, `(N_split,)` int64.
        scaling: the standardisation that was applied to `x`; `scaling.inverse` leads back to the original units.

    Raises:
        ValueError: a split that is empty, has other keys than `train`, or tensors of unequal length.

    Example:
        >>> import torch
        >>> from jensen.datasets import Dataset
        >>> data = Dataset("toy", train={"x": torch.zeros(8, 3), "y": torch.zeros(8)})
        >>> data
        Dataset `toy`
          train       8 rows   x (3,) float32   y () float32
        >>> data.select("x").train.keys()
        dict_keys(['x'])
    """

    name: str
    train: Batch
    validation: Batch | None = None
    test: Batch | None = None
    feature_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    description: str = ""
    truth: Mapping[str, Tensor] = field(default_factory=dict)
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    scaling: Standardizer | None = None

    def __post_init__(self) -> None:
        for split, batch in self.splits():
            _check(self.name, split, batch, expected=set(self.train))

    def splits(self) -> Iterator[tuple[str, Batch]]:
        """The splits that exist, as `(name, batch)` in the order train, validation, test."""
        for split in SPLITS:
            batch = getattr(self, split)
            if batch is not None:
                yield split, batch

    @property
    def sizes(self) -> dict[str, int]:
        """Number of rows of each split that exists."""
        return {split: _length(batch) for split, batch in self.splits()}

    @property
    def num_features(self) -> int:
        """Number of entries of one row of `x`."""
        if "x" not in self.train:
            raise ValueError(f"`{self.name}` has no `x`: expected a key `x`, got {sorted(self.train)}")
        return self.train["x"][0].numel()

    @property
    def num_classes(self) -> int:
        """Number of classes of `y`, from `target_names` or else the largest label."""
        if self.target_names:
            return len(self.target_names)
        if "y" not in self.train:
            raise ValueError(f"`{self.name}` has no `y`: expected a key `y`, got {sorted(self.train)}")
        return int(max(batch["y"].max() for _, batch in self.splits())) + 1

    def map(self, f: Callable[[Batch], Batch]) -> Dataset:
        """The data set with `f` applied to each split."""
        changed: dict[str, Batch] = {split: f(batch) for split, batch in self.splits()}
        return replace(self, **changed)  # type: ignore[arg-type]

    def draw(self, transform: Callable[[Batch, int], Batch], *, seed: int = 0) -> Dataset:
        """The data set with a random transform of batches applied once by `seed`, every split with its own stream."""
        seeds = {split: len(SPLITS) * seed + SPLITS.index(split) for split in SPLITS}
        drawn = {split: transform(batch, seeds[split]) for split, batch in self.splits()}
        return replace(self, **drawn)  # type: ignore[arg-type]

    def select(self, *keys: str) -> Dataset:
        """The data set with only these keys, for a model that takes only these arguments."""
        unknown = [key for key in keys if key not in self.train]
        if unknown or not keys:
            raise ValueError(f"`keys`: expected some of {sorted(self.train)}, got {list(keys)}")
        return self.map(lambda batch: {key: batch[key] for key in keys})

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Dataset:
        """The data set on `device`, its floating-point tensors as `dtype`; integer labels and `scaling` keep theirs."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)

        def move_all(tensors: Mapping[str, Tensor]) -> Batch:
            return {key: move(tensor) for key, tensor in tensors.items()}

        return replace(self.map(move_all), truth=move_all(self.truth))

    def __repr__(self) -> str:
        lines = [f"Dataset `{_plain(self.name)}`"]
        for split, batch in self.splits():
            shapes = "   ".join(f"{key} {_shape(tensor)}" for key, tensor in batch.items())
            lines.append(f"  {split:<11} {_length(batch):,} rows   {shapes}")
        if self.feature_names:
            lines.append(f"  features    {_shorten(self.feature_names)}")
        if self.target_names and "y" in self.train:
            labels = self.train["y"].long()
            counts = torch.bincount(labels[labels >= 0], minlength=len(self.target_names)).tolist()
            named = zip(self.target_names, counts, strict=False)
            lines.append("  classes     " + ", ".join(f"{_plain(name)}: {count:,}" for name, count in named))
        if self.truth:
            lines.append("  truth       " + ", ".join(f"{key} {tuple(t.shape)}" for key, t in self.truth.items()))
        if self.scaling is not None:
            lines.append("  scaling     standardised with the statistics of train")
        return "\n".join(lines)


def _check(name: str, split: str, batch: Batch, *, expected: set[str]) -> None:
    if not batch or set(batch) != expected:
        raise ValueError(f"`{split}` of `{name}`: expected the keys {sorted(expected) or ['x']}, got {sorted(batch)}")
    lengths = {key: len(tensor) if tensor.ndim else 0 for key, tensor in batch.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"`{split}` of `{name}`: expected tensors of equal length, got {lengths}")
    if not all(lengths.values()):
        raise ValueError(f"`{split}` of `{name}`: expected at least one row, got none; use None for an absent split")


def _length(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _shape(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape[1:])} {str(tensor.dtype).removeprefix('torch.')}"


def _plain(name: str) -> str:
    """A name from a file, without the characters that a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def _shorten(names: tuple[str, ...], limit: int = 6) -> str:
    shown = ", ".join(map(_plain, names[:limit]))
    return shown if len(names) <= limit else f"{shown}, ... ({len(names)} in all)"
