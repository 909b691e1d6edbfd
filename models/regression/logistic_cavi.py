"""Coordinate ascent for binary logistic regression by Jaakkola and Jordan's bound."""

from __future__ import annotations

__all__ = ["LogisticCoordinates"]

from collections.abc import Mapping

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional

from ..common.inputs import to_tensors
from ..common.linalg import checked_cholesky
from ..common.row_weights import weights_in
from ..common.validation import check_features, check_shape
from ..coordinate_guide import CoordinateGuide


class LogisticCoordinates(CoordinateGuide):
    r"""One Gaussian of full covariance over weights and intercept.

    .. math::
        \log \sigma(s) \ge \log \sigma(\xi) + (s - \xi) / 2 - \lambda(\xi) (s^2 - \xi^2), \qquad
        \lambda(\xi) = \tanh(\xi / 2) / (4 \xi).

    Each datum's :math:`\xi` is at its optimum, :math:`\xi_n^2 = \mathbb E_q[(x_n^\top w + b)^2]`; it is computed from
    the factor, not kept. What `update` returns is below the ELBO, which is below the evidence. The factor is
    narrower than the posterior, and its mean is pulled in where data are few.

    Args:
        prior_scales: prior standard deviations of the weights and, last, of the intercept, ``(P,)``.
        intercept: whether the last of them is an intercept.

    Reference: T. Jaakkola and M. Jordan, *Bayesian parameter estimation via variational methods*, 2000,
    https://doi.org/10.1023/A:1008932416310
    """

    loc: Tensor
    covariance: Tensor
    prior_scales: Tensor

    def __init__(self, prior_scales: Tensor, intercept: bool) -> None:
        super().__init__()
        self.has_intercept = intercept
        self.register_buffer("prior_scales", prior_scales.clone())
        self.register_buffer("loc", torch.zeros_like(prior_scales))
        self.register_buffer("covariance", prior_scales.square().diag())

    def forward(  # type: ignore[override]
        self, x: Tensor, y: Tensor | None = None, weight: Tensor | None = None
    ) -> None:
        size = len(self.loc) - self.has_intercept
        block = self.covariance[:size, :size]
        # q(w)
        w = pyro.sample("w", dist.MultivariateNormal(self.loc[:size], covariance_matrix=block))
        if self.has_intercept:
            # q(b | w)
            cross = self.covariance[:size, size]
            gain = torch.linalg.solve(block, cross)
            scale = (self.covariance[size, size] - cross @ gain).sqrt()
            pyro.sample("intercept", dist.Normal(self.loc[size] + (w - self.loc[:size]) @ gain, scale))

    @torch.no_grad()
    def update(self, data: Mapping[str, Tensor]) -> Tensor:
        batch = to_tensors(data, self.loc, self._check, ("x", "y"))
        x = self._with_intercept(batch["x"])
        times = weights_in(data, self.loc)
        times = x.new_ones(len(x)) if times is None else times
        half = batch["y"] - 0.5
        xi = self._xi(x)
        precision = self.prior_scales.square().reciprocal().diag() + x.mT @ (
            x * (times * torch.tanh(xi / 2) / (2 * xi))[:, None]
        )
        trouble = "The weights' precision is singular (a column far from zero repeats the intercept or another column)"
        factor = checked_cholesky(precision, trouble, "or fit by SVI", margin=30.0)
        self.covariance.copy_(torch.cholesky_inverse(factor))
        self.loc.copy_(self.covariance @ (x.mT @ (times * half)))
        xi = self._xi(x)
        likelihood = times @ (functional.logsigmoid(xi) - xi / 2 + half * (x @ self.loc))
        variances = self.prior_scales.square()
        moments = ((self.covariance.diagonal() + self.loc.square()) / variances).sum()
        divergence = 0.5 * (moments - len(self.loc) + variances.log().sum()) + factor.diagonal().log().sum()
        return likelihood - divergence

    @torch.no_grad()
    def predict(self, data: Mapping[str, Tensor]) -> Tensor:
        r"""Probability of class 1, the weights integrated out, ``(N,)``:

        .. math:: \int \sigma(s) \, \mathcal N(s; x^\top m, x^\top S x) \, ds,

        by Gauss and Hermite's rule of 40 points.
        """
        x = self._with_intercept(to_tensors(data, self.loc, self._check_features)["x"])
        nodes, weights = (torch.from_numpy(part).to(x) for part in np.polynomial.hermite_e.hermegauss(40))
        scale = ((x @ self.covariance) * x).sum(-1).sqrt()
        logits = (x @ self.loc)[:, None] + scale[:, None] * nodes
        return logits.sigmoid() @ (weights / weights.sum())

    def _with_intercept(self, x: Tensor) -> Tensor:
        """The columns that the factor is of, ``(N, P)``."""
        return torch.cat([x, x.new_ones(len(x), 1)], -1) if self.has_intercept else x

    def _check_features(self, x: Tensor) -> None:
        check_features("x", x, len(self.loc) - self.has_intercept)

    def _check(self, x: Tensor, y: Tensor) -> None:
        self._check_features(x)
        check_shape("y", y, ())

    def _xi(self, x: Tensor) -> Tensor:
        """The root mean square of each datum's log-odds, ``(N,)``."""
        return (((x @ self.covariance) * x).sum(-1) + (x @ self.loc).square()).clamp_min(1e-8).sqrt()
