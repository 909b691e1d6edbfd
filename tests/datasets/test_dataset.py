"""`Dataset`: its checks, views and printed form."""

import pickle

import pytest
import torch

from jensen.datasets import DATASETS, Dataset, breast_cancer, wine

SYNTHETIC_AND_EMBEDDED = sorted(
    set(DATASETS) - {"mnist", "fashion_mnist", "protein_alignment", "simulated_alignment"}  # files, or integer codes
)


@pytest.mark.parametrize("name", SYNTHETIC_AND_EMBEDDED)
def test_contract(name):
    data = DATASETS[name]()
    assert data.name == name
    assert data.train["x"].dtype == torch.get_default_dtype()
    assert all(tensor.isfinite().all() for batch in dict(data.splits()).values() for tensor in batch.values())
    assert name in repr(data)
    again = pickle.loads(pickle.dumps(DATASETS[name]()))
    assert all(torch.equal(again.train[key], data.train[key]) for key in data.train)
    assert DATASETS[name](dtype=torch.float64).train["x"].dtype == torch.float64


def test_default_dtype_is_read_at_the_call(float64):
    assert breast_cancer().train["x"].dtype == float64
    assert breast_cancer().train["y"].dtype == float64


def test_select_and_to():
    data = wine()
    assert set(data.select("x").train) == {"x"}
    assert set(data.train) == {"x", "y"}
    moved = data.to(dtype=torch.float64)
    assert moved.train["x"].dtype == torch.float64 and moved.train["y"].dtype == torch.int64
    assert moved.scaling.mean.dtype == torch.float64
    with pytest.raises(ValueError, match=r"`keys`: expected some of \['x', 'y'\], got \['labels'\]"):
        data.select("labels")


def test_sizes_and_counts():
    data = breast_cancer(test_size=100)
    assert data.sizes == {"train": 469, "test": 100}
    assert data.num_features == 30 and data.num_classes == 2
    assert "malignant: " in repr(data) and "(30 in all)" in repr(data)


def test_classes_are_counted_without_names():
    data = Dataset("toy", {"x": torch.zeros(3, 1), "y": torch.tensor([0, 4, 2])})
    assert data.num_classes == 5


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": {}}, "`train` of `toy`: expected the keys"),
        ({"train": {"x": torch.zeros(0, 2)}}, "expected at least one row, got none"),
        ({"train": {"x": torch.zeros(())}}, "expected at least one row, got none"),
        ({"train": {"x": torch.zeros(3, 2), "y": torch.zeros(2)}}, "equal length, got {'x': 3, 'y': 2}"),
        ({"train": {"x": torch.zeros(3)}, "test": {"z": torch.zeros(3)}}, r"`test` of `toy`: expected .* \['x'\]"),
    ],
)
def test_malformed_splits_are_named(splits, message):
    with pytest.raises(ValueError, match=message):
        Dataset("toy", **splits)


def test_absent_keys_are_named():
    data = Dataset("toy", {"counts": torch.zeros(3, 2)})
    with pytest.raises(ValueError, match="has no `x`"):
        _ = data.num_features
    with pytest.raises(ValueError, match="has no `y`"):
        _ = data.num_classes
