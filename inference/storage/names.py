"""Names of classes and functions that outlive a move of their file: what saved fits, runs and studies are known by."""

from __future__ import annotations

__all__ = ["find_named", "recorded_name", "stable_name"]

import sys
from types import ModuleType
from typing import Any


def stable_name(thing: Any) -> str:
    """``"module:qualified name"`` of a class or function; of jensen's own, ``"package:qualified name"``.

    Inside a package no two public classes share a name, so that such a name finds its class in whatever file it is.

    Example:
        >>> from jensen.models import VAE
        >>> stable_name(VAE)
        'jensen.models:VAE'
    """
    return f"{_home(thing.__module__ or '')}:{thing.__qualname__}"


def recorded_name(thing: Any) -> str:
    """The name in hashes and identities of finished arms and runs: the one that version 0.1 gave it, with the file
    where it then was, or else the stable name."""
    name = stable_name(thing)
    return _RECORDED.get(name, name)


def find_named(module: str, name: str) -> tuple[type | None, str]:
    """The class of a name as a file holds it, in whatever file of the package it is now, or None and the reason.

    The object found must itself bear the name: a class that a module merely imported is not found. Nothing is imported.

    Args:
        module: the module, of this version or an earlier one, or jensen's package.
        name: the qualified name.
    """
    home = _home(module)
    modules = _loaded(home) if _is_own(home) else [home]
    if not any(isinstance(sys.modules.get(path), ModuleType) for path in modules):
        return None, "its module is not imported"
    found: dict[int, type] = {}
    reason = "there is no class of that name"
    for path in modules:
        thing: Any = sys.modules[path]
        for part in name.split("."):
            thing = vars(thing).get(part)
            if not isinstance(thing, type):
                break
        else:
            if (thing.__module__, thing.__qualname__) == (path, name):
                found[id(thing)] = thing
            else:
                reason = f"the class found is {thing.__module__}:{thing.__qualname__}"
    if len(found) > 1:
        return None, "there are several classes of that name"
    return (next(iter(found.values())), "") if found else (None, reason)


def _is_own(module: str) -> bool:
    return module.partition(".")[0] == "jensen"


def _home(module: str) -> str:
    """jensen's package that the module is in; another library's or a user's module itself."""
    return ".".join(module.split(".")[:2]) if _is_own(module) else module


def _loaded(home: str) -> list[str]:
    return [path for path in list(sys.modules) if path == home or path.startswith(f"{home}.")]


_FILES = {
    "datasets.alignments": "Alignment protein_alignment read_alignment",
    "datasets.binarization": "DynamicBinarization binarize threshold",
    "datasets.dataset": "Dataset",
    "datasets.embedded": "breast_cancer digits iris wine",
    "datasets.images": "fashion_mnist mnist",
    "datasets.labels": "hide_labels",
    "datasets.masks": "RandomMasks",
    "datasets.scaling": "Standardizer standardize",
    "datasets.sequence_weights": "henikoff_weights identity_weights",
    "datasets.sequences": "pad_sequences",
    "datasets.splits": "split split_rows",
    "datasets.synthetic.alignments": "simulated_alignment",
    "datasets.synthetic.factors": "linear_gaussian",
    "datasets.synthetic.mixtures": "gaussian_mixture multinomial_mixture poisson_mixture",
    "datasets.synthetic.purchases": "purchases",
    "datasets.synthetic.regression": "linear_regression logistic_regression poisson_regression",
    "datasets.text": "count_words from_sparse reuters texts",
    "inference.alignment": "align_labels",
    "inference.cavi": "CAVI",
    "inference.em": "EM",
    "inference.evaluation.active_units": "active_units",
    "inference.evaluation.elbo_terms": "elbo_terms",
    "inference.evaluation.estimate": "Estimate",
    "inference.evaluation.log_evidence": "log_evidence",
    "inference.evaluation.marginals": "Marginal marginals",
    "inference.evaluation.mutations": "MutationEffects mutation_effects mutation_scan",
    "inference.evaluation.pareto_k": "pareto_k",
    "inference.evaluation.topics": "bound_perplexity document_completion fitted_topics fold_in npmi_coherence "
    "split_words",
    "inference.fit": "Fit load",
    "inference.guides.flow": "AutoFlow FlowDistribution",
    "inference.guides.iaf": "AutoIAF",
    "inference.guides.normal": "NormalGuide",
    "inference.guides.wrapped_normal": "WrappedNormal",
    "inference.loss_minimization": "LossMinimization",
    "inference.lr_schedules": "LearningRates iwae_schedule",
    "inference.minibatch": "minibatch",
    "inference.objectives.annealed": "BetaELBO CapacityELBO",
    "inference.objectives.auxiliary": "AuxiliaryELBO",
    "inference.objectives.base": "Bound Objective",
    "inference.objectives.elbo": "STL TraceEnum_ELBO TraceMeanField_ELBO Trace_ELBO",
    "inference.objectives.importance": "DReG IWAE Renyi",
    "inference.objectives.schedules": "Constant Cyclical Linear",
    "inference.progress": "Progress",
    "inference.svi": "SVI",
    "models.alignment_vae": "AlignmentVAE",
    "models.autoregressive_likelihood": "AutoregressiveBernoulli",
    "models.base": "LatentVariableModel",
    "models.bayesian_gaussian_mixture": "BayesianGaussianMixture",
    "models.cholesky": "FlooredCholesky",
    "models.conditional_vae": "ConditionalVAE",
    "models.count_densities": "CountPoisson",
    "models.factor_analysis": "FactorAnalysis",
    "models.factor_model": "FactorModel",
    "models.flow_distribution": "FlowDistribution InvertedFlowDistribution",
    "models.gaussian_mixture": "GaussianMixture",
    "models.hidden_markov": "HiddenMarkovModel",
    "models.hierarchical_vae": "HierarchicalVAE",
    "models.hmm.distribution": "HiddenMarkov",
    "models.inpainting_vae": "InpaintingVAE",
    "models.labelled_networks": "LabelledMLP",
    "models.latent_dirichlet_allocation": "LatentDirichletAllocation",
    "models.latent_features": "LatentFeatures",
    "models.lda_coordinates": "LDACoordinates",
    "models.likelihoods": "Bernoulli Categorical Gaussian Likelihood",
    "models.linear_gaussian": "LinearGaussian",
    "models.linear_regression": "BayesianLinearRegression",
    "models.logistic_regression": "BayesianLogisticRegression",
    "models.mixture": "Mixture",
    "models.multinomial_mixture": "MultinomialMixture",
    "models.networks": "ConvolutionalDecoder ConvolutionalEncoder GaussianEncoder MLP",
    "models.partial_convolution": "PartialConv2d PartialConvolutionalEncoder",
    "models.planar_flow": "PlanarFlow",
    "models.poisson_mixture": "PoissonMixture",
    "models.ppca": "PPCA",
    "models.prod_lda": "ProdLDA",
    "models.rotation": "varimax",
    "models.row_multinomial": "RowMultinomial",
    "models.semi_supervised_vae": "SemiSupervisedVAE",
    "models.topic_model": "TopicModel top_words",
    "models.vae": "VAE",
    "models.vae_posteriors": "FlowPosterior GaussianPosterior",
    "models.vae_priors": "FlowPrior VampPrior",
    "models.vector_quantizer": "VectorQuantizer",
    "models.vqvae": "VQVAE",
    "models.wishart": "LowerTriangular PrecisionNormal TriangularProduct WishartCholesky",
    "models.word_counts": "WordCounts",
    "studies.arm": "Arm",
    "studies.fingerprint": "fingerprint",
    "studies.result": "Fits StudyResult",
    "studies.study": "Study",
    "studies.vae_pictures": "interpolation latent_traversal manifold samples uncertain_reconstructions",
}
"""Where version 0.1 kept what its fits, runs and studies name. Nothing is added to it: what is new has stable names."""

_RECORDED = {
    f"jensen.{file.partition('.')[0]}:{name}": f"jensen.{file}:{name}"
    for file, names in _FILES.items()
    for name in names.split()
}
