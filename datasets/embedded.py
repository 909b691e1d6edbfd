"""Data sets that ship inside scikit-learn: breast cancer, wine, iris, handwritten digits."""

from __future__ import annotations

__all__ = ["breast_cancer", "digits", "iris", "wine"]

from typing import Any

import torch

from .dataset import Dataset
from .splits import split
from .standardization import standardize as standardize_


def breast_cancer(
    *,
    standardize: bool = True,
    validation_size: float = 0,
    test_size: float = 0,
    seed: int = 0,
    stratify: bool = True,
    dtype: torch.dtype | None = None,
) -> Dataset:
    """Wisconsin diagnostic breast cancer: 569 tumours, 30 real features, malignant (0) or benign (1).

    `x` is `(N, 30)`; `y` is `(N,)` in {0, 1}, floating point as a Bernoulli likelihood wants it.

    Args:
        standardize: columns to mean 0 and standard deviation 1 with the statistics of train; else the original units.
        validation_size: rows (int) or fraction (float below 1) of the data for validation; 0 for none.
        test_size: likewise for test.
        seed: of the splits.
        stratify: keep the proportions of the classes in each split.
        dtype: of `x` and `y`; default `torch.get_default_dtype()`.

    Reference: Street, Wolberg and Mangasarian, "Nuclear feature extraction for breast tumor diagnosis", 1993,
    https://doi.org/10.24432/C5DW2B (CC BY 4.0).

    Example:
        >>> from jensen.datasets import breast_cancer
        >>> breast_cancer(test_size=0.25).sizes
        {'train': 427, 'test': 142}
    """
    data = _tabular("breast_cancer")
    data = data.map(lambda batch: {**batch, "y": batch["y"].to(batch["x"].dtype)})
    return _finish(data, standardize, validation_size, test_size, seed, stratify, dtype)


def wine(
    *,
    standardize: bool = True,
    validation_size: float = 0,
    test_size: float = 0,
    seed: int = 0,
    stratify: bool = True,
    dtype: torch.dtype | None = None,
) -> Dataset:
    """Wines of three cultivars: 178 bottles, 13 chemical measurements.

    `x` is `(N, 13)` floating point; `y` is `(N,)` int64 in {0, 1, 2}. For a mixture: `wine().select("x")`.
    Arguments as for `breast_cancer`.

    Reference: Aeberhard and Forina, "Wine", 1991, https://doi.org/10.24432/C5PC7J (CC BY 4.0).
    """
    return _finish(_tabular("wine"), standardize, validation_size, test_size, seed, stratify, dtype)


def iris(
    *,
    standardize: bool = True,
    validation_size: float = 0,
    test_size: float = 0,
    seed: int = 0,
    stratify: bool = True,
    dtype: torch.dtype | None = None,
) -> Dataset:
    """Irises of three species: 150 flowers, length and width of sepal and petal in cm.

    `x` is `(N, 4)` floating point; `y` is `(N,)` int64 in {0, 1, 2}. Arguments as for `breast_cancer`.

    Reference: Fisher, "The use of multiple measurements in taxonomic problems", 1936, https://doi.org/10.24432/C56C76.
    """
    return _finish(_tabular("iris"), standardize, validation_size, test_size, seed, stratify, dtype)


def digits(
    *,
    flatten: bool = True,
    validation_size: float = 0,
    test_size: float = 0,
    seed: int = 0,
    stratify: bool = True,
    dtype: torch.dtype | None = None,
) -> Dataset:
    """Handwritten digits: 1,797 images of 8 x 8 pixels, intensities k / 16 in [0, 1].

    `x` is `(N, 64)`, or `(N, 1, 8, 8)` with `flatten=False`; `y` is `(N,)` int64 in {0, ..., 9}. A Bernoulli
    likelihood wants bits: see `binarize` and `DynamicBinarization`. The other arguments are as for `breast_cancer`.

    Reference: Alpaydin and Kaynak, "Optical recognition of handwritten digits", 1998,
    https://doi.org/10.24432/C50P49 (CC BY 4.0).
    """
    data = _tabular("digits")
    x = data.train["x"] / 16
    data = data.map(lambda batch: {**batch, "x": x if flatten else x.view(-1, 1, 8, 8)})
    return _finish(data, False, validation_size, test_size, seed, stratify, dtype)


def _tabular(name: str) -> Dataset:
    """The whole of a scikit-learn data set as `train`, in its own units and float64."""
    from sklearn import datasets

    bunch: Any = getattr(datasets, f"load_{name}")()
    return Dataset(
        name,
        train={
            "x": torch.as_tensor(bunch.data, dtype=torch.float64),
            "y": torch.as_tensor(bunch.target, dtype=torch.int64),
        },
        feature_names=tuple(str(feature) for feature in bunch.feature_names),
        target_names=tuple(str(target) for target in bunch.target_names),
        description=str(bunch.DESCR),
    )


def _finish(
    data: Dataset,
    standardize: bool,
    validation_size: float,
    test_size: float,
    seed: int,
    stratify: bool,
    dtype: torch.dtype | None,
) -> Dataset:
    """The splits, rounded to their number type after they are standardised."""
    data = split(
        data, validation_size=validation_size, test_size=test_size, seed=seed, stratify="y" if stratify else None
    )
    data = standardize_(data) if standardize else data
    return data.to(dtype=dtype or torch.get_default_dtype())
