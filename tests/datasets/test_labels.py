"""hide_labels."""

from __future__ import annotations

import pytest
import torch

from jensen.datasets import Dataset, digits, hide_labels


def test_labels_are_hidden_in_train_only():
    data = digits(test_size=0.2, seed=0)
    few = hide_labels(data, 104, seed=3)
    shown = few.train["y"] >= 0
    assert int(shown.sum()) == 104 and torch.equal(few.train["y"][shown], data.train["y"][shown])
    counts = few.train["y"][shown].bincount(minlength=10)
    assert sorted(counts.tolist()) == [10] * 6 + [11] * 4
    assert (few.train["y"][~shown] == -1).all() and torch.equal(few.test["y"], data.test["y"])
    assert torch.equal(few.train["x"], data.train["x"]) and few.train["y"].dtype == data.train["y"].dtype
    assert not (data.train["y"] < 0).any()
    assert "classes" in repr(few) and few.num_classes == 10


def test_the_seed_says_which():
    data = digits()
    labels = [hide_labels(data, 50, seed=seed, balanced=balanced).train["y"] for seed, balanced in
              [(0, True), (0, True), (1, True), (0, False)]]  # fmt: skip
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[0], labels[2]) and not torch.equal(labels[0], labels[3])
    assert all(int((y >= 0).sum()) == 50 for y in labels)
    assert torch.equal(hide_labels(data, len(data.train["y"]), balanced=False).train["y"], data.train["y"])


def test_numbers_that_cannot_be():
    data = Dataset("few", train={"x": torch.zeros(7, 1), "y": torch.tensor([0, 0, 0, 0, 1, 1, 2])})
    assert (hide_labels(data, 3).train["y"] >= 0).sum() == 3
    for number, message in [(0, "expected 1 to 7"), (8, "expected 1 to 7"), (2, "each of 3 classes"), (6, "at most 3")]:
        with pytest.raises(ValueError, match=message):
            hide_labels(data, number)
    with pytest.raises(ValueError, match="`key`: expected one of"):
        hide_labels(data, 3, key="label")
    with pytest.raises(ValueError, match="expected class labels 0, 1"):
        hide_labels(hide_labels(data, 3), 3)
