r"""The coordinates that chains move in: :math:`u = L v` with :math:`L L^\top` near the posterior's covariance.

A metric :math:`M = (L L^\top)^{-1}` for u is the unit metric for v. The covariance of draws is shrunk towards the one
that was there before,

.. math:: \Sigma = \frac{n \hat\Sigma + \kappa \Sigma_0}{n + \kappa}, \qquad \kappa = D + 5

so that few draws of many numbers still give a metric, and a curvature that misled is forgotten.

Reference: Carpenter et al. (2017), Stan: a probabilistic programming language, https://doi.org/10.18637/jss.v076.i01
"""

from __future__ import annotations

__all__ = ["METRICS", "Metric", "first_metric"]

from dataclasses import dataclass

import numpy as np

Array = np.ndarray
METRICS = ("dense", "diagonal", "unit")
_DENSE = 300  # numbers of which a dense metric is the default


@dataclass(frozen=True)
class Metric:
    """Coordinates ``u = L v``.

    Attributes:
        factor: L, lower triangular, ``(D, D)``; or its diagonal, ``(D,)``.
    """

    factor: Array

    @classmethod
    def of_covariance(cls, covariance: Array) -> Metric:
        """Of ``(D, D)``, or of variances ``(D,)``."""
        return cls(np.sqrt(covariance) if covariance.ndim == 1 else np.linalg.cholesky(covariance))

    @property
    def covariance(self) -> Array:
        return self.factor**2 if self.factor.ndim == 1 else self.factor @ self.factor.T

    def to_u(self, v: Array) -> Array:
        """Rows ``(K, D)``."""
        return v * self.factor if self.factor.ndim == 1 else v @ self.factor.T

    def to_v(self, u: Array) -> Array:
        """Rows ``(K, D)``."""
        return u / self.factor if self.factor.ndim == 1 else np.linalg.solve(self.factor, u.T).T

    def pull(self, gradient: Array) -> Array:
        """The gradients in v, of those in u, ``(K, D)`` each."""
        return gradient * self.factor if self.factor.ndim == 1 else gradient @ self.factor

    def adapted(self, draws: Array) -> Metric:
        """The metric of draws ``(C, n, D)`` of C chains, each about its own mean, shrunk towards this one."""
        centred = (draws - draws.mean(1, keepdims=True)).reshape(-1, draws.shape[-1])
        count, prior = len(centred) - len(draws), draws.shape[-1] + 5
        total = (centred**2).sum(0) if self.factor.ndim == 1 else centred.T @ centred
        return Metric.of_covariance((total + prior * self.covariance) / (count + prior))


def first_metric(kind: str | None, scale_tril: Array) -> Metric:
    """The metric that warm-up begins with.

    Args:
        kind: one of `METRICS`; None is the dense one of up to 300 numbers, else the diagonal one.
        scale_tril: Cholesky factor of a covariance like the posterior's, ``(D, D)``.
    """
    dim = len(scale_tril)
    if kind == "unit":
        return Metric(np.ones(dim))
    if kind == "dense" or (kind is None and dim <= _DENSE):
        return Metric(scale_tril)
    return Metric.of_covariance((scale_tril**2).sum(1))
