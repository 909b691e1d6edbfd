"""Hide labels, to see what a semi-supervised model makes of the few that are left."""

from __future__ import annotations

__all__ = ["hide_labels"]

from dataclasses import replace

import torch

from .dataset import Dataset


def hide_labels(
    dataset: Dataset, num_labelled: int, *, seed: int = 0, balanced: bool = True, key: str = "y"
) -> Dataset:
    """The data set with the labels of all but `num_labelled` rows of `train` set to -1; the other splits keep theirs.

    Args:
        dataset: with class labels 0, 1, ... under `key`.
        num_labelled: how many rows keep their label.
        seed: which rows; the same on every machine.
        balanced: the same number of labels for every class, to within one; otherwise any rows.
        key: of the labels.

    Raises:
        ValueError: no such key, labels hidden already, a number of labels that the data do not have, or fewer labels
            than classes if balanced.

    Example:
        >>> from jensen.datasets import digits, hide_labels
        >>> few = hide_labels(digits(), 100)
        >>> few.train["y"][few.train["y"] >= 0].bincount()
        tensor([10, 10, 10, 10, 10, 10, 10, 10, 10, 10])
    """
    if key not in dataset.train:
        raise ValueError(f"`key`: expected one of {sorted(dataset.train)}, got `{key}`")
    labels = dataset.train[key].cpu()
    if bool((labels < 0).any()):
        raise ValueError(f"`{key}` of `{dataset.name}`: expected class labels 0, 1, ..., got {int(labels.min())}")
    if not 0 < num_labelled <= len(labels):
        raise ValueError(f"`num_labelled`: expected 1 to {len(labels)} rows, got {num_labelled}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    if balanced:
        order = order[_by_turns(labels[order], num_labelled, generator)]
    shown = order[:num_labelled].to(dataset.train[key].device)
    hidden = torch.full_like(dataset.train[key], -1)
    hidden[shown] = dataset.train[key][shown]
    return replace(dataset, train={**dataset.train, key: hidden})


def _by_turns(labels: torch.Tensor, num_labelled: int, generator: torch.Generator) -> torch.Tensor:
    """An order of the rows in which the classes, themselves in random order, take turns."""
    _, classes, counts = labels.unique(return_inverse=True, return_counts=True)
    if num_labelled < len(counts):
        raise ValueError(f"`num_labelled`: expected one or more for each of {len(counts)} classes, got {num_labelled}")
    if num_labelled > len(counts) * int(counts.min()) + (len(counts) - 1) * (int(counts.min()) < int(counts.max())):
        raise ValueError(
            f"`num_labelled`: expected at most {len(counts) * int(counts.min())}, as the smallest class has "
            f"{int(counts.min())} rows, got {num_labelled}; or pass `balanced=False`"
        )
    turn = torch.randperm(len(counts), generator=generator)
    grouped = classes.argsort(stable=True)
    rank = torch.empty_like(classes)
    rank[grouped] = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[classes[grouped]]
    return (rank * len(counts) + turn[classes]).argsort()
