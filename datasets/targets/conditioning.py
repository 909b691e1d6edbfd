r"""Normal latents given normal data, for many covariances at once.

With :math:`\operatorname{Cov}(z, y) = C` and :math:`y \sim \mathcal N(0, S)`,

.. math:: z \mid y \sim \mathcal N(C S^{-1} y,\; \operatorname{Var}(z) - C S^{-1} C^\top).
"""

from __future__ import annotations

__all__ = ["Conditional", "condition", "marginalize"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditional:
    r"""What is known of z given y.

    Attributes:
        mean, sd: of z, ``(…, L)``.
        log_evidence: :math:`\log \mathcal N(y; 0, S)`, ``(…)``.
    """

    mean: Tensor
    sd: Tensor
    log_evidence: Tensor


def condition(y: Tensor, variance: Tensor, cross: Tensor, covariance: Tensor) -> Conditional:
    """Condition z on y, both of mean 0.

    Args:
        y: ``(N,)``.
        variance: of z, ``(…, L)``.
        cross: C, ``(…, L, N)``.
        covariance: S, ``(…, N, N)``.
    """
    root = torch.linalg.cholesky(covariance)
    whitened = torch.linalg.solve_triangular(
        root, torch.cat([cross.mT, y.expand(root.shape[:-1])[..., None]], -1), upper=False
    )
    gain, rest = whitened[..., :-1], whitened[..., -1]
    mean = (gain.mT @ rest[..., None])[..., 0]
    sd = (variance - gain.square().sum(-2)).clamp(min=0.0).sqrt()
    log_det = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_evidence = -0.5 * rest.square().sum(-1) - log_det - 0.5 * len(y) * math.log(2.0 * math.pi)
    return Conditional(mean, sd, log_evidence)


def marginalize(log_evidence: Tensor, prior: Tensor) -> tuple[Tensor, float]:
    """Posterior weights of nodes of prior weight `prior` ``(K,)``, and the log evidence over all of them."""
    joint = log_evidence + prior.log()
    return torch.softmax(joint, 0), float(joint.logsumexp(0))
