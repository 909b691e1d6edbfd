"""Data sets as dicts of tensors: embedded in installed libraries, images on disk, synthetic with known truth."""

__all__ = [
    "DATASETS",
    "Alignment",
    "Batch",
    "Dataset",
    "DynamicBinarization",
    "RandomMasks",
    "Standardizer",
    "binarize",
    "breast_cancer",
    "count_words",
    "digits",
    "fashion_mnist",
    "from_sparse",
    "gaussian_mixture",
    "henikoff_weights",
    "hide_labels",
    "identity_weights",
    "iris",
    "linear_gaussian",
    "linear_regression",
    "logistic_regression",
    "mnist",
    "multinomial_mixture",
    "pad_sequences",
    "poisson_mixture",
    "poisson_regression",
    "protein_alignment",
    "purchases",
    "read_alignment",
    "reuters",
    "simulated_alignment",
    "split",
    "split_rows",
    "standardize",
    "texts",
    "threshold",
    "wine",
]

from collections.abc import Callable

from .alignments import Alignment, protein_alignment, read_alignment
from .binarization import DynamicBinarization, binarize, threshold
from .dataset import Batch, Dataset
from .embedded import breast_cancer, digits, iris, wine
from .images import fashion_mnist, mnist
from .labels import hide_labels
from .masks import RandomMasks
from .scaling import Standardizer
from .sequence_weights import henikoff_weights, identity_weights
from .sequences import pad_sequences
from .splits import split, split_rows
from .standardization import standardize
from .synthetic import (
    gaussian_mixture,
    linear_gaussian,
    linear_regression,
    logistic_regression,
    multinomial_mixture,
    poisson_mixture,
    poisson_regression,
    purchases,
    simulated_alignment,
)
from .text import count_words, from_sparse, reuters, texts

DATASETS: dict[str, Callable[..., Dataset]] = {
    load.__name__: load
    for load in (
        breast_cancer,
        wine,
        iris,
        digits,
        reuters,
        mnist,
        fashion_mnist,
        linear_gaussian,
        gaussian_mixture,
        poisson_mixture,
        multinomial_mixture,
        linear_regression,
        logistic_regression,
        poisson_regression,
        purchases,
        protein_alignment,
        simulated_alignment,
    )
}
"""The loaders by name, as the command line knows them."""
