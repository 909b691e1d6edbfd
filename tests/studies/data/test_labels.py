"""Labels of any kind become codes, and the names of their classes lead back."""

from __future__ import annotations

import pytest
import torch

from jensen.inference.errors import ConfigurationError, DataError
from jensen.models import BayesianLinearRegression, BayesianLogisticRegression, ConditionalVAE, SemiSupervisedVAE
from jensen.studies.data.labels import encode
from jensen.studies.data.sizes import data_sizes, with_labels
from jensen.studies.data.sources import Source

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "codes", "classes"),
    [
        ([1.0, 2.0, 1.0], [0, 1, 0], ("1", "2")),
        ([-1, 1, 1], [0, 1, 1], ("-1", "1")),
        ([10.0, 9.0], [1, 0], ("9", "10")),
        (["10", "9"], [1, 0], ("9", "10")),
        (["yes", " no", "yes "], [1, 0, 1], ("no", "yes")),
        (["True", "False"], [1, 0], ("False", "True")),
        ([0.0, NAN, 1.0], [0, -1, 1], ("0", "1")),
        (["b", None, "a"], [1, -1, 0], ("a", "b")),
        ([0.5, 1.5], [0, 1], ("0.5", "1.5")),
    ],
)
def test_labels_become_codes(values, codes, classes):
    found = encode(values, "`y`")
    assert found.codes.tolist() == codes
    assert found.classes == classes
    assert encode(values, "`y`", classes=classes).codes.tolist() == codes


def test_numbers_below_the_models_classes_are_codes_already():
    assert encode([1, 1], "`y`", number=2).codes.tolist() == [1, 1]
    assert encode([0, 3], "`y`", number=4).classes == ("0", "1", "2", "3")
    assert encode([0, 3], "`y`", number=2).codes.tolist() == [0, 1]
    assert encode([0, -1, 1], "`y`", number=2, missing=("-1",)).codes.tolist() == [0, -1, 1]


def test_what_are_no_labels_is_said():
    with pytest.raises(DataError, match="`y`: expected class labels, got none"):
        encode([NAN, None], "`y`")
    with pytest.raises(DataError, match=r"got 100 different values such as `0.1` and `1.1`\. Is it the right --target"):
        encode([k + 0.1 for k in range(100)], "`y`")
    with pytest.raises(DataError, match=r"the label `3` in row 1 is none of the classes\. Known: 1, 2"):
        encode([1, 3], "`y`", classes=("1", "2"))


def source(y, x=None) -> Source:
    return Source("s", {"x": torch.zeros(len(y), 4) if x is None else x, "y": torch.as_tensor(y)})


def test_only_models_with_classes_take_numbers_for_labels():
    coded = with_labels(source([1.0, 2.0]), BayesianLogisticRegression, {}, None)
    assert coded.arrays["y"].tolist() == [0, 1] and coded.classes == ("1", "2")
    assert coded.notes == ("classes of y: 1 is 0, 2 is 1",)
    assert with_labels(source([0.0, 1.0]), BayesianLogisticRegression, {}, None).notes == ()
    for factory, settings in (
        (BayesianLinearRegression, {}),
        (ConditionalVAE, {"num_covariates": 1}),
        (BayesianLogisticRegression, {}),
    ):
        labels = False if factory is BayesianLogisticRegression else None
        assert with_labels(source([1.0, 2.0]), factory, settings, labels).arrays["y"].tolist() == [1, 2]
    assert with_labels(source([1.0, 2.0]), BayesianLinearRegression, {}, True).arrays["y"].tolist() == [0, 1]
    assert with_labels(source([2.0, -1.0, 5.0]), SemiSupervisedVAE, {}, None).arrays["y"].tolist() == [0, -1, 1]
    with pytest.raises(ConfigurationError, match=r"`--set num_classes=2`: the data have 3 classes \(4, 5, 6\)"):
        with_labels(source([4, 5, 6]), BayesianLogisticRegression, {"num_classes": 2}, None)
    with pytest.raises(ConfigurationError, match="`--labels`: expected a column or an array `y` in `s`, found none"):
        with_labels(Source("s", {"x": torch.zeros(2, 1)}), BayesianLogisticRegression, {}, True)


def test_sizes_follow_from_the_data():
    from jensen.models import AlignmentVAE, HiddenMarkovModel, LatentDirichletAllocation

    three = with_labels(source([1, 2, 3]), BayesianLogisticRegression, {}, None)
    assert data_sizes(three, BayesianLogisticRegression, {}) == {"num_features": 4, "num_classes": 3}
    assert data_sizes(three, BayesianLogisticRegression, {"num_features": 3, "num_classes": 9}) == {}
    assert data_sizes(three, LatentDirichletAllocation, {}) == {"num_words": 4}
    assert data_sizes(three, AlignmentVAE, {}) == {"num_columns": 4}
    assert data_sizes(three, ConditionalVAE, {}) == {"data_shape": (4,), "num_classes": 3}
    frames = Source("s", {"x": torch.randn(2, 5, 3)})
    assert data_sizes(frames, HiddenMarkovModel, {}) == {"num_features": 3}
    codes = Source("s", {"x": torch.tensor([[0.0, 3.0, NAN]])})
    assert data_sizes(codes, HiddenMarkovModel, {}) == {"num_categories": 4}
    assert data_sizes(codes, HiddenMarkovModel, {"num_categories": 6}) == {}
