"""The models that the contract tests run over, a line for each."""

from __future__ import annotations

from collections.abc import Callable

import torch

from jensen.models import (
    PPCA,
    VAE,
    VQVAE,
    AlignmentVAE,
    BayesianGaussianMixture,
    BayesianLinearRegression,
    BayesianLogisticRegression,
    ConditionalVAE,
    FactorAnalysis,
    GaussianMixture,
    HiddenMarkovModel,
    HierarchicalVAE,
    InpaintingVAE,
    LatentDirichletAllocation,
    LatentVariableModel,
    LinearGaussian,
    MultinomialMixture,
    PoissonMixture,
    ProdLDA,
    SemiSupervisedVAE,
    VampPrior,
)

Batch = dict[str, torch.Tensor]

# How the model is built, and how its data are made of a standard normal (N, 3).
Table = dict[str, tuple[Callable[[], LatentVariableModel], Callable[[torch.Tensor], Batch]]]

MODELS: Table = {
    "logistic regression": (lambda: BayesianLogisticRegression(3), lambda x: {"x": x, "y": (x[:, 0] > 0).to(x.dtype)}),
    "logistic regression of three classes": (
        lambda: BayesianLogisticRegression(3, num_classes=3, hierarchical=True),
        lambda x: {"x": x, "y": x.argmax(-1)},
    ),
    "linear regression": (lambda: BayesianLinearRegression(3), lambda x: {"x": x, "y": x.sum(-1)}),
    "mixture": (lambda: GaussianMixture(2, 3), lambda x: {"x": x}),
    "Bayesian mixture": (lambda: BayesianGaussianMixture(2, 3), lambda x: {"x": x}),
    "Poisson mixture": (lambda: PoissonMixture(2, 3), lambda x: {"x": x.abs().mul(3).round()}),
    "multinomial mixture": (lambda: MultinomialMixture(2, 3), lambda x: {"x": x.abs().mul(3).round()}),
    "hidden Markov": (lambda: HiddenMarkovModel(2, 1, num_steps=3), lambda x: {"x": x[..., None]}),
    "topics": (lambda: LatentDirichletAllocation(2, 3), lambda x: {"x": x.abs().mul(3).round() + 1}),
    "topics by a network": (
        lambda: LatentDirichletAllocation(2, 3, encoder="network"),
        lambda x: {"x": x.abs().mul(3).round() + 1},
    ),
    "ProdLDA": (lambda: ProdLDA(2, 3, hidden=(8, 8), batch_norm=False), lambda x: {"x": x.abs().mul(3).round() + 1}),
    "linear Gaussian": (lambda: LinearGaussian(3, 2), lambda x: {"x": x}),
    "factor analysis": (lambda: FactorAnalysis(3, 1), lambda x: {"x": x}),
    "PPCA": (lambda: PPCA(3, 2), lambda x: {"x": x}),
    "HierarchicalVAE": (
        lambda: HierarchicalVAE(3, (3, 2), hidden=(8,), upper_hidden=(5,)),
        lambda x: {"x": (x > 0).to(x.dtype)},
    ),
    "AlignmentVAE": (
        lambda: AlignmentVAE(3, hidden=(8,), letters="ACG-"),
        lambda x: {"x": x.abs().mul(2).long().clamp_max(3), "weight": x[:, 0].exp()},
    ),
    "ConditionalVAE": (
        lambda: ConditionalVAE(3, 2, num_classes=2, hidden=(8,)),
        lambda x: {"x": (x > 0).to(x.dtype), "y": (x[:, 0] > 0).to(x.dtype)},
    ),
    "InpaintingVAE": (
        lambda: InpaintingVAE(3, 2, hidden=(8,)),
        lambda x: {"x": (x > 0).to(x.dtype), "mask": (x > -0.5).to(x.dtype)},
    ),
    "VAE": (lambda: VAE(3, 2, hidden=(8,)), lambda x: {"x": (x > 0).to(x.dtype)}),
    "VAE with flows": (
        lambda: VAE(3, 2, hidden=(8,), posterior="iaf", prior="maf"),
        lambda x: {"x": (x > 0).to(x.dtype)},
    ),
    "semi-supervised VAE": (
        lambda: SemiSupervisedVAE(3, 2, 2, hidden=(8,)),
        lambda x: {"x": (x > 0).to(x.dtype), "y": torch.arange(len(x)) % 3 - 1},
    ),
    "VQVAE": (lambda: VQVAE(3, 4, 2, hidden=(8,)), lambda x: {"x": (x > 0).to(x.dtype)}),
}

# Choices within a model that change its program or its parameters: kept to what every model does, fitted in the tests
# of their own.
VARIANTS: Table = {
    "logistic regression without intercept": (
        lambda: BayesianLogisticRegression(3, intercept=False),
        lambda x: {"x": x, "y": (x[:, 0] > 0).to(x.dtype)},
    ),
    "linear Gaussian, diagonal": (lambda: LinearGaussian(3, 2, posterior="diagonal"), lambda x: {"x": x}),
    "mixture, tied": (lambda: GaussianMixture(2, 3, "tied"), lambda x: {"x": x}),
    "mixture, diagonal": (lambda: GaussianMixture(2, 3, "diagonal"), lambda x: {"x": x}),
    "mixture, spherical": (lambda: GaussianMixture(2, 3, "spherical"), lambda x: {"x": x}),
    "VAE, Gaussian": (lambda: VAE((3, 1), 2, likelihood="gaussian", hidden=(8,)), lambda x: {"x": x[..., None]}),
    "VAE, fixed Gaussian": (lambda: VAE(3, 2, likelihood="gaussian_fixed", hidden=(8, 8)), lambda x: {"x": x}),
    "VAE, categorical": (
        lambda: VAE((3, 1), 2, likelihood="categorical", num_categories=3, hidden=()),
        lambda x: {"x": x.abs().long().clamp_max(2)[..., None]},
    ),
    "VAE with a VampPrior": (
        lambda: VAE(3, 2, hidden=(8,), prior=VampPrior((3,), 4)),
        lambda x: {"x": (x > 0).to(x.dtype)},
    ),
    "VQVAE with a codebook of parameters": (
        lambda: VQVAE(3, 4, 2, hidden=(8,), decay=None),
        lambda x: {"x": (x > 0).to(x.dtype)},
    ),
}


def build(name: str, rows: int = 24) -> tuple[LatentVariableModel, Batch]:
    """The model of that name and data for it."""
    make, data = (MODELS | VARIANTS)[name]
    torch.manual_seed(0)
    return make(), data(torch.randn(rows, 3))
