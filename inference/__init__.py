"""Objectives, methods, fit results and their evaluation."""

from __future__ import annotations

__all__ = [
    "AIS",
    "CAVI",
    "EM",
    "HMC",
    "IWAE",
    "STL",
    "SVI",
    "AuxiliaryELBO",
    "BetaELBO",
    "Calibration",
    "CapacityELBO",
    "ChEES",
    "CheckpointError",
    "Comparison",
    "ConfigurationError",
    "Constant",
    "Cyclical",
    "DReG",
    "DataError",
    "Estimate",
    "EvidenceSandwich",
    "Fit",
    "InferenceGap",
    "JensenError",
    "Laplace",
    "Linear",
    "LossMinimization",
    "Marginal",
    "ModelError",
    "MutationEffects",
    "NonFiniteError",
    "NUTS",
    "Pathfinder",
    "Progress",
    "Renyi",
    "TraceEnum_ELBO",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
    "active_units",
    "align_labels",
    "bound_perplexity",
    "compare",
    "document_completion",
    "elbo_terms",
    "evidence_sandwich",
    "fitted_topics",
    "fold_in",
    "inference_gap",
    "iwae_schedule",
    "load",
    "log_evidence",
    "loo",
    "marginals",
    "minibatch",
    "mutation_effects",
    "mutation_scan",
    "npmi_coherence",
    "pareto_k",
    "simulation_based_calibration",
    "split_words",
]

from .diagnostics import (
    Calibration,
    Comparison,
    Estimate,
    EvidenceSandwich,
    InferenceGap,
    Marginal,
    MutationEffects,
    active_units,
    bound_perplexity,
    compare,
    document_completion,
    elbo_terms,
    evidence_sandwich,
    fitted_topics,
    fold_in,
    inference_gap,
    log_evidence,
    loo,
    marginals,
    mutation_effects,
    mutation_scan,
    npmi_coherence,
    pareto_k,
    simulation_based_calibration,
    split_words,
)
from .diagnostics.label_alignment import align_labels
from .errors import CheckpointError, ConfigurationError, DataError, JensenError, ModelError, NonFiniteError
from .fit.fit import Fit
from .fit.load import load
from .methods.ais import AIS
from .methods.cavi import CAVI
from .methods.em import EM
from .methods.laplace.laplace import Laplace
from .methods.loss_minimization import LossMinimization
from .methods.mcmc.chees import ChEES
from .methods.mcmc.hmc import HMC
from .methods.mcmc.nuts import NUTS
from .methods.pathfinder.pathfinder import Pathfinder
from .methods.svi.svi import SVI
from .objectives import (
    IWAE,
    STL,
    AuxiliaryELBO,
    BetaELBO,
    CapacityELBO,
    Constant,
    Cyclical,
    DReG,
    Linear,
    Renyi,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceMeanField_ELBO,
)
from .pair.messengers.minibatch import minibatch
from .run.progress import Progress
from .step.learning_rates import iwae_schedule
