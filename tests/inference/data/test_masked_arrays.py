"""A masked entry is missing, never the value that hides there; no integer wraps around; every number type is read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from jensen.inference.data.data import as_data
from jensen.inference.errors import DataError
from jensen.models import PPCA, BayesianGaussianMixture, BayesianLinearRegression, GaussianMixture
from jensen.models.common.inputs import read_numbers
from jensen.models.common.masked_arrays import split_mask
from jensen.studies.data.npz_file import read_npz

HIDDEN = np.ma.array([[1, 2], [3, 999], [5, 6]], mask=[[0, 0], [0, 1], [0, 0]])
SEEN = np.array([[1, 2], [3, np.nan], [5, 6]])
LISTS = {
    "array": HIDDEN,
    "float array": HIDDEN.astype(np.float32),
    "rows": list(HIDDEN),
    "numbers": [list(row) for row in HIDDEN],
    "tuples": [(row[0], row[1]) for row in HIDDEN],
}
MESSAGE = r"`x` has 1 masked entry, the first in row 1, column 1, and the model takes no missing values there"


class Rows(Dataset):
    """Masked rows, one at a time."""

    def __init__(self, named: bool) -> None:
        self.named = named

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int):
        return {"x": HIDDEN[index]} if self.named else HIDDEN[index]


@pytest.mark.parametrize("kind", LISTS)
def test_masked_entries_are_missing_or_refused(kind):
    data = LISTS[kind]
    with pytest.raises(DataError, match=MESSAGE):
        as_data(GaussianMixture(2, 2), data)
    np.testing.assert_array_equal(as_data(PPCA(2, 1), data).batch()["x"].numpy(), SEEN)
    plain, mask = split_mask(data)
    np.testing.assert_array_equal(plain, SEEN)
    np.testing.assert_array_equal(mask, np.isnan(SEEN))


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("stream", [lambda rows: rows, lambda rows: DataLoader(rows, batch_size=2)])
def test_items_of_datasets_and_loaders_keep_their_masks(named, stream):
    data = stream(Rows(named))
    np.testing.assert_array_equal(as_data(PPCA(2, 1), data).batch()["x"].numpy(), SEEN)
    np.testing.assert_array_equal(as_data(PPCA(2, 1), data, max_bytes=1).batch()["x"].numpy(), SEEN)
    with pytest.raises(DataError, match=r"`x` has 1 value that is not finite: the first is a NaN in row 1, column 1"):
        as_data(GaussianMixture(2, 2), data).batch()
    if isinstance(data, DataLoader):
        assert data.collate_fn is DataLoader(Rows(named)).collate_fn


def test_every_way_into_a_model_honours_masks():
    torch.manual_seed(0)
    mixture, factors = GaussianMixture(2, 2), PPCA(2, 1)
    for call in (mixture.predict, mixture.log_evidence, mixture.exact_posterior, lambda x: mixture.initialize(x, 0)):
        with pytest.raises(
            ValueError, match=r"`x` has 1 masked entry, the first at \(1, 1\), and no value may be missi"
        ):
            call({"x": HIDDEN} if call != mixture.predict else HIDDEN)
    missing = torch.tensor(SEEN, dtype=torch.float32)
    torch.testing.assert_close(factors.log_evidence({"x": HIDDEN}), factors.log_evidence({"x": missing}))
    with pytest.raises(ValueError, match=r"`prior_mean` has 1 masked entry, the first at \(1,\)"):
        BayesianGaussianMixture(2, 2, prior_mean=np.ma.array([1.0, 999.0], mask=[False, True]))
    target = {"x": np.zeros((3, 2)), "y": HIDDEN[:, 1]}
    with pytest.raises(DataError, match=r"`y` has 1 masked entry, the first in row 1, and the model takes no missing"):
        as_data(BayesianLinearRegression(2), target)


def test_masks_that_hide_nothing_change_nothing():
    whole = np.ma.array([[1, 2], [3, 4]])
    assert split_mask(whole)[1] is None
    assert read_numbers("x", whole).dtype == torch.int64
    assert as_data(GaussianMixture(2, 2), whole).batch()["x"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    hidden = np.ma.array([np.inf, 2.0], mask=[True, False])
    np.testing.assert_array_equal(split_mask(hidden)[0], [np.nan, 2.0])
    with pytest.raises(DataError, match=r"`x` cannot be read as an array of numbers .*above 2\*\*53"):
        as_data(PPCA(2, 1), np.ma.array([[2**60, 1], [2, 3]], mask=[[0, 1], [0, 0]]))


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
def test_masked_tensors():
    hidden = torch.masked.masked_tensor(torch.tensor(HIDDEN.data), torch.tensor(~HIDDEN.mask))
    with pytest.raises(DataError, match=MESSAGE):
        as_data(GaussianMixture(2, 2), hidden)
    np.testing.assert_array_equal(as_data(PPCA(2, 1), hidden).batch()["x"].numpy(), SEEN)
    np.testing.assert_array_equal(read_numbers("x", hidden).numpy(), SEEN)


def test_nullable_columns():
    frame = pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64"), "b": pd.array([True, False, None])})
    expected = [[1, 1], [np.nan, 0], [3, np.nan]]
    np.testing.assert_array_equal(as_data(PPCA(2, 1), frame).batch()["x"].numpy(), expected)
    np.testing.assert_array_equal(read_numbers("x", frame).numpy(), expected)
    with pytest.raises(
        DataError, match=r"`x` has 2 values that are not finite: the first is a NaN in row 1, column 'a'"
    ):
        as_data(GaussianMixture(2, 2), frame)
    for dtype in ("Int8", "UInt16", "Float32", "boolean"):
        series = pd.Series(pd.array([1, 0, None], dtype=dtype))
        np.testing.assert_array_equal(read_numbers("x", series).numpy(), [1, 0, np.nan])
        table = pd.DataFrame({"a": series, "b": series})
        np.testing.assert_array_equal(as_data(PPCA(2, 1), table).batch()["x"][:, 0].numpy(), [1, 0, np.nan])
    large = pd.DataFrame({"a": pd.array([2**63, 1], dtype="UInt64"), "b": [1, 2]})
    with pytest.raises(
        DataError, match=r"`x` cannot be used: it holds the integer 9223372036854775808, above the larg"
    ):
        as_data(GaussianMixture(2, 2), large)


TYPES = ("u2", "u4", "u8", ">u2", ">i4", ">f4", ">f8", "<f8", "f2", "i1", "u1", "longdouble")


@pytest.mark.parametrize("dtype", TYPES)
def test_number_types(tmp_path, dtype):
    array = np.array([[1, 2], [3, 4], [5, 6]], dtype=dtype)
    tensors = [as_data(GaussianMixture(2, 2), array).batch()["x"], read_numbers("x", array)]
    if dtype in ("u2", "u4", "u8"):
        of_torch = torch.from_numpy(array)
        tensors += [as_data(GaussianMixture(2, 2), of_torch).batch()["x"], read_numbers("x", of_torch)]
    np.savez(tmp_path / "data.npz", x=array)
    tensors.append(read_npz(tmp_path / "data.npz")["x"])
    for tensor in tensors:
        assert tensor.tolist() == [[1, 2], [3, 4], [5, 6]]
        assert tensor.max() == 6  # torch can reckon with it


def test_numbers_that_do_not_fit():
    model = GaussianMixture(2, 2)
    above = np.array([[2**63 + 5, 1], [2, 3]], dtype=np.uint64)
    for data in (above, torch.from_numpy(above)):
        with pytest.raises(DataError, match=r"`x` cannot be used: it holds the integer 9223372036854775813"):
            as_data(model, data)
        with pytest.raises(ValueError, match=r"`x` cannot be used: it holds the integer 9223372036854775813"):
            model.predict(data)
    huge = np.array([[1, np.longdouble("1e4000")], [2, 3]])
    with pytest.raises(DataError, match=r"the first is an infinity in row 0, column 1"):
        as_data(model, huge)
    assert torch.isinf(read_numbers("x", huge)[0, 1])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1, None]], dtype=object), r"expected an \.npz file of numeric arrays"),
        (np.array([["a", "b"]]), r"expected numbers in the array `x`, got <U1"),
        (np.array([[1j, 2]]), r"expected numbers in the array `x`, got complex128"),
        (np.array(["2024-01-01"], dtype="M8[D]"), r"expected numbers in the array `x`, got datetime64"),
        (np.array([[2**63 + 5]], dtype="u8"), r"it holds the integer 9223372036854775813"),
    ],
)
def test_files_that_hold_no_numbers(tmp_path, array, message):
    np.savez(tmp_path / "data.npz", x=array)
    with pytest.raises(DataError, match=rf"data\.npz`: .*{message}"):
        read_npz(tmp_path / "data.npz")
