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
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
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

from .autoencoders.alignment_vae import AlignmentVAE
from .autoencoders.conditional_vae import ConditionalVAE
from .autoencoders.hierarchical_vae import HierarchicalVAE
from .autoencoders.inpainting_vae import InpaintingVAE
from .autoencoders.latent_features import LatentFeatures
from .autoencoders.parts.autoregressive_likelihood import AutoregressiveBernoulli
from .autoencoders.parts.likelihoods import Likelihood
from .autoencoders.parts.networks import ConvolutionalDecoder, ConvolutionalEncoder
from .autoencoders.parts.partial_convolution import PartialConv2d, PartialConvolutionalEncoder
from .autoencoders.parts.posteriors import FlowPosterior
from .autoencoders.parts.priors import FlowPrior, VampPrior
from .autoencoders.parts.vector_quantizer import VectorQuantizer
from .autoencoders.semi_supervised_vae import SemiSupervisedVAE
from .autoencoders.vae import VAE
from .autoencoders.vqvae import VQVAE
from .base import LatentVariableModel
from .coordinate_guide import CoordinateGuide
from .factors.factor_analysis import FactorAnalysis
from .factors.linear_gaussian import LinearGaussian
from .factors.ppca import PPCA
from .factors.rotation import varimax
from .mixtures.bayesian_gaussian_mixture import BayesianGaussianMixture
from .mixtures.gaussian_mixture import GaussianMixture
from .mixtures.multinomial_mixture import MultinomialMixture
from .mixtures.poisson_mixture import PoissonMixture
from .protocols import CAVIModel, EMModel, HasExactEvidence, HasExactGuide, HasExactPosterior, HasPrediction
from .regression.linear_regression import BayesianLinearRegression
from .regression.logistic_regression import BayesianLogisticRegression
from .sequences.hidden_markov import HiddenMarkovModel
from .topics.base import top_words
from .topics.latent_dirichlet_allocation import LatentDirichletAllocation
from .topics.lda_cavi import LDACoordinates
from .topics.prod_lda import ProdLDA
