"""Splits: disjoint, complete, reproducible, stratified."""

import pytest
import torch

from jensen.datasets import iris, linear_gaussian, split, split_rows, wine


@pytest.mark.parametrize("labels", [None, torch.arange(101) % 3])
@pytest.mark.parametrize(("validation_size", "test_size"), [(0.2, 0.1), (7, 0), (0, 0.5), (1, 99)])
def test_every_row_is_in_one_split(labels, validation_size, test_size):
    if labels is not None and test_size == 99:
        validation_size = 0
    rows = split_rows(101, validation_size=validation_size, test_size=test_size, seed=3, labels=labels)
    assert torch.equal(torch.cat(list(rows.values())).sort().values, torch.arange(101))
    assert list(rows) == [name for name in ("train", "validation", "test") if name in rows]


def test_seed_decides():
    a, b, c = (split_rows(200, test_size=0.25, seed=seed)["test"] for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert len(a) == 50


@pytest.mark.parametrize("seed", range(5))
def test_stratified_splits_keep_the_proportions(seed):
    data = split(wine(), validation_size=0.25, test_size=0.25, seed=seed, stratify="y")
    whole = torch.bincount(wine().train["y"]) / 178
    for _, batch in data.splits():
        counts = torch.bincount(batch["y"], minlength=3)
        assert ((counts - whole * counts.sum()).abs() < 2).all()


def test_splits_of_a_split_point_to_the_original_rows():
    data = linear_gaussian(num_data=50)
    x = data.train["x"]
    data = split(data, test_size=10, seed=1)
    data = split(data, validation_size=10, seed=2)
    assert data.sizes == {"train": 30, "validation": 10, "test": 10}
    for name, batch in data.splits():
        assert torch.equal(x[data.rows[name]], batch["x"])


def test_no_split_asked_for_changes_nothing():
    data = iris()
    assert split(data) is data


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"test_size": -1}, "`test_size`: expected a number of rows or a fraction below 1, got -1"),
        ({"test_size": 1.0}, "`test_size`: expected an int"),
        ({"validation_size": 75, "test_size": 75}, "at least one of 150 rows for train"),
    ],
)
def test_impossible_sizes(sizes, message):
    with pytest.raises(ValueError, match=message):
        iris(**sizes)


def test_second_test_split_is_refused():
    with pytest.raises(ValueError, match="has a test split already; expected 0, got 5"):
        split(iris(test_size=5), test_size=5)


def test_class_too_small_to_stratify():
    with pytest.raises(ValueError, match="every class to have 3 rows or more, got 1"):
        split_rows(5, validation_size=1, test_size=1, labels=torch.tensor([0, 0, 0, 0, 1]))
    with pytest.raises(ValueError, match="`stratify`: expected one of"):
        split(iris(), test_size=5, stratify="species")
    with pytest.raises(ValueError, match="expected 5 class labels"):
        split_rows(5, test_size=1, labels=torch.zeros(5, 2))
