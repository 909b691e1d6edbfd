"""Generative models as Pyro programs, one file each."""

from __future__ import annotations

__all__ = [
    "AlignmentVAE",
    "AutoregressiveBernoulli",
    "BayesianGaussianMixture",
    "BayesianLinearRegression",
    "BayesianLogisticRegression",
    "CAVIModel",
    "ConditionalVAE",
    "CoordinateGuide",
    "EMModel",
    "FactorAnalysis",
    "FlowPosterior",
    "FlowPrior",
    "GaussianMixture",
    "HasExactEvidence",
    "HasExactGuide",
    "HasExactPosterior",
    "HasPrediction",
    "HiddenMarkovModel",
    "HierarchicalVAE",
    "InpaintingVAE",
    "LDACoordinates",
    "LatentDirichletAllocation",
    "LatentFeatures",
    "LatentVariableModel",
    "Likelihood",
    "LinearGaussian",
    "MultinomialMixture",
    "PPCA",
    "PartialConv2d",
    "PartialConvolutionalEncoder",
    "PoissonMixture",
    "ProdLDA",
    "SemiSupervisedVAE",
    "VAE",
    "VQVAE",
    "VampPrior",
    "VectorQuantizer",
    "varimax",
    "top_words",
]

from .alignment_vae import AlignmentVAE
from .autoregressive_likelihood import AutoregressiveBernoulli
from .base import LatentVariableModel
from .bayesian_gaussian_mixture import BayesianGaussianMixture
from .conditional_vae import ConditionalVAE
from .coordinate_guide import CoordinateGuide
from .factor_analysis import FactorAnalysis
from .gaussian_mixture import GaussianMixture
from .hidden_markov import HiddenMarkovModel
from .hierarchical_vae import HierarchicalVAE
from .inpainting_vae import InpaintingVAE
from .latent_dirichlet_allocation import LatentDirichletAllocation
from .latent_features import LatentFeatures
from .lda_coordinates import LDACoordinates
from .likelihoods import Likelihood
from .linear_gaussian import LinearGaussian
from .linear_regression import BayesianLinearRegression
from .logistic_regression import BayesianLogisticRegression
from .multinomial_mixture import MultinomialMixture
from .partial_convolution import PartialConv2d, PartialConvolutionalEncoder
from .poisson_mixture import PoissonMixture
from .ppca import PPCA
from .prod_lda import ProdLDA
from .protocols import CAVIModel, EMModel, HasExactEvidence, HasExactGuide, HasExactPosterior, HasPrediction
from .rotation import varimax
from .semi_supervised_vae import SemiSupervisedVAE
from .topic_model import top_words
from .vae import VAE
from .vae_posteriors import FlowPosterior
from .vae_priors import FlowPrior, VampPrior
from .vector_quantizer import VectorQuantizer
from .vqvae import VQVAE
