"""Data sets as dicts of tensors: embedded in installed libraries, images on disk, synthetic with known truth."""

from collections.abc import Callable

from .binarization import DynamicBinarization, binarize, threshold
from .dataset import Batch, Dataset
from .embedded import breast_cancer, digits, iris, wine
from .images import fashion_mnist, mnist
from .scaling import Standardizer, standardize
from .splits import split, split_rows
from .synthetic import (
    gaussian_mixture,
    linear_gaussian,
    linear_regression,
    logistic_regression,
    multinomial_mixture,
    poisson_mixture,
    poisson_regression,
)

__all__ = [
    "DATASETS",
    "Batch",
    "Dataset",
    "DynamicBinarization",
    "Standardizer",
    "binarize",
    "breast_cancer",
    "digits",
    "fashion_mnist",
    "gaussian_mixture",
    "iris",
    "linear_gaussian",
    "linear_regression",
    "logistic_regression",
    "mnist",
    "multinomial_mixture",
    "poisson_mixture",
    "poisson_regression",
    "split",
    "split_rows",
    "standardize",
    "threshold",
    "wine",
]

DATASETS: dict[str, Callable[..., Dataset]] = {
    load.__name__: load
    for load in (
        breast_cancer,
        wine,
        iris,
        digits,
        mnist,
        fashion_mnist,
        linear_gaussian,
        gaussian_mixture,
        poisson_mixture,
        multinomial_mixture,
        linear_regression,
        logistic_regression,
        poisson_regression,
    )
}
"""The loaders by name, as the command line knows them."""
