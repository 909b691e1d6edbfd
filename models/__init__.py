"""Generative models as Pyro programs, one file each."""

from __future__ import annotations

__all__ = [
    "BayesianLinearRegression",
    "BayesianLogisticRegression",
    "CAVIModel",
    "CoordinateGuide",
    "EMModel",
    "GaussianMixture",
    "HasExactEvidence",
    "HasExactGuide",
    "HasExactPosterior",
    "HasPrediction",
    "HierarchicalVAE",
    "LatentVariableModel",
    "Likelihood",
    "LinearGaussian",
    "MultinomialMixture",
    "PoissonMixture",
    "VAE",
    "VampPrior",
]

from .base import LatentVariableModel
from .coordinate_guide import CoordinateGuide
from .gaussian_mixture import GaussianMixture
from .hierarchical_vae import HierarchicalVAE
from .likelihoods import Likelihood
from .linear_gaussian import LinearGaussian
from .linear_regression import BayesianLinearRegression
from .logistic_regression import BayesianLogisticRegression
from .multinomial_mixture import MultinomialMixture
from .poisson_mixture import PoissonMixture
from .protocols import CAVIModel, EMModel, HasExactEvidence, HasExactGuide, HasExactPosterior, HasPrediction
from .vae import VAE
from .vae_priors import VampPrior
