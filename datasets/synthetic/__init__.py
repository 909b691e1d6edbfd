"""Data drawn from known models, returned with the truth they were drawn from (`dataset.truth`)."""

__all__ = [
    "gaussian_mixture",
    "linear_gaussian",
    "linear_regression",
    "logistic_regression",
    "multinomial_mixture",
    "poisson_mixture",
    "poisson_regression",
    "purchases",
    "simulated_alignment",
]

from .alignments import simulated_alignment
from .factors import linear_gaussian
from .mixtures import gaussian_mixture, multinomial_mixture, poisson_mixture
from .purchases import purchases
from .regression import linear_regression, logistic_regression, poisson_regression
