"""Generative models as Pyro programs, one file each."""

from __future__ import annotations

__all__ = [
    "BayesianLinearRegression",
    "BayesianLogisticRegression",
    "EMModel",
    "GaussianMixture",
    "HasExactEvidence",
    "HasExactPosterior",
    "HasPrediction",
    "LatentVariableModel",
    "Likelihood",
    "LinearGaussian",
    "VAE",
]

from .base import LatentVariableModel
from .gaussian_mixture import GaussianMixture
from .likelihoods import Likelihood
from .linear_gaussian import LinearGaussian
from .linear_regression import BayesianLinearRegression
from .logistic_regression import BayesianLogisticRegression
from .protocols import EMModel, HasExactEvidence, HasExactPosterior, HasPrediction
from .vae import VAE
