"""Standardisation: train statistics only, a clear rule for constant columns."""

import pytest
import torch

from jensen.datasets import Dataset, Standardizer, breast_cancer, standardize, wine


def test_train_has_mean_zero_and_unit_scale(float64):
    x = breast_cancer().train["x"]
    torch.testing.assert_close(x.mean(0), torch.zeros(30))
    torch.testing.assert_close(x.std(0, unbiased=False), torch.ones(30))


def test_statistics_are_those_of_train(float64):
    raw = breast_cancer(standardize=False, test_size=0.3, seed=4)
    data = breast_cancer(test_size=0.3, seed=4)
    mean, scale = raw.train["x"].mean(0), raw.train["x"].std(0, unbiased=False)
    torch.testing.assert_close(data.test["x"], (raw.test["x"] - mean) / scale)
    torch.testing.assert_close(data.scaling.inverse(data.test["x"]), raw.test["x"])
    assert data.test["x"].mean(0).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e7])
def test_constant_column_is_centred_only(value, dtype):
    x = torch.stack([torch.arange(7, dtype=dtype), torch.full((7,), value, dtype=dtype)], -1)
    scaling = Standardizer.fit(x)
    assert (scaling(x)[:, 1] == 0).all()
    assert scaling.scale[1] == 1
    elsewhere = torch.tensor([[0.0, value + 2]], dtype=dtype)
    torch.testing.assert_close(scaling(elsewhere)[0, 1], torch.tensor(2.0, dtype=dtype))


def test_nothing_is_rounded_before_it_is_centred():
    seconds = 1.7e9 + 30 * torch.randn(200, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data = standardize(Dataset("clock", {"x": seconds})).to(dtype=torch.float32)
    expected = (seconds - seconds.mean(0)) / seconds.std(0, correction=0)
    torch.testing.assert_close(data.train["x"], expected.float())
    assert data.scaling.mean.dtype == torch.float64  # float32 holds it to 128 seconds only
    torch.testing.assert_close(data.scaling.inverse(expected), seconds, rtol=0, atol=1e-6)


def test_embedded_data_are_rounded_after_they_are_scaled(float64):
    wide, narrow = wine(), wine(dtype=torch.float32)
    assert torch.equal(wide.train["x"].float(), narrow.train["x"])


def test_one_row_is_constant():
    assert (Standardizer.fit(torch.tensor([[3.0, 4.0]]))(torch.tensor([[3.0, 4.0]])) == 0).all()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(0, 2), "at least one row"),
        (torch.zeros(3), "expected a matrix"),
        (torch.zeros(3, 2, dtype=torch.int64), "convert with `x.float"),
        (torch.tensor([[1.0], [float("nan")]]), "expected finite entries"),
    ],
)
def test_bad_columns(x, message):
    with pytest.raises(ValueError, match=message):
        Standardizer.fit(x)


def test_bad_calls():
    with pytest.raises(ValueError, match="is standardised already"):
        standardize(breast_cancer())
    with pytest.raises(ValueError, match="`key`: expected one of"):
        standardize(Dataset("toy", {"x": torch.zeros(2, 2)}), key="z")
