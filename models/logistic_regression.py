"""Bayesian logistic regression: binary labels from features, with a normal prior on the weights."""

from __future__ import annotations

__all__ = ["BayesianLogisticRegression"]

from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from .base import LatentVariableModel
from .checks import check_features, check_labels, check_positive
from .logistic_coordinates import LogisticCoordinates


class BayesianLogisticRegression(LatentVariableModel):
    r"""Binary classification with weights of uncertain size.

    .. math::
        w \sim \mathcal N(0, \sigma_w^2 I), \quad b \sim \mathcal N(0, \sigma_b^2), \quad
        y_n \mid x_n, w, b \sim \mathrm{Bernoulli}(\operatorname{sigmoid}(x_n^\top w + b)).

    ============  ==========================  =======================
    symbol        meaning                     argument or site
    ============  ==========================  =======================
    :math:`x`     features, ``(N, D)``        ``x``
    :math:`y`     labels in {0, 1}, ``(N,)``  ``y`` (drawn if None)
    :math:`w`     weights, ``(D,)``, global   site ``w``
    :math:`b`     intercept, ``()``, global   site ``intercept``
    ============  ==========================  =======================

    Args:
        num_features: D, the number of columns of `x`. Standardise them: one prior scale serves all.
        intercept: whether the model has an intercept.
        prior_scale: :math:`\sigma_w`, in log-odds per unit of a feature.
        intercept_scale: :math:`\sigma_b`, in log-odds.

    Raises:
        ValueError: a size or scale is not positive; `check_data` finds labels outside {0, 1} or the wrong columns.

    Example:
        >>> import torch
        >>> model = BayesianLogisticRegression(num_features=3)
        >>> sorted(model.generate(10, x=torch.randn(10, 3), seed=0))
        ['intercept', 'w', 'y']
    """

    def __init__(
        self, num_features: int, intercept: bool = True, prior_scale: float = 1.0, intercept_scale: float = 5.0
    ) -> None:
        super().__init__()
        check_positive("num_features", num_features)
        check_positive("prior_scale", prior_scale)
        check_positive("intercept_scale", intercept_scale)
        self.num_features = num_features
        self.has_intercept = intercept
        self.prior_scale = prior_scale
        self.intercept_scale = intercept_scale

    def model(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        # p(w)
        w = pyro.sample("w", dist.Normal(x.new_zeros(self.num_features), x.new_full((), self.prior_scale)).to_event(1))
        logits = x @ w
        if self.has_intercept:
            # p(b)
            logits = logits + pyro.sample(
                "intercept", dist.Normal(x.new_zeros(()), x.new_full((), self.intercept_scale))
            )
        with pyro.plate("data", len(x)):
            # p(y | x, w, b)
            return pyro.sample("y", dist.Bernoulli(logits=logits), obs=None if y is None else y.to(x.dtype))

    def check_data(self, x: Tensor, y: Tensor | None = None) -> None:  # type: ignore[override]
        check_features("x", x, self.num_features)
        if y is not None:
            check_labels("y", y)

    def coordinate_guide(self, data: Mapping[str, Tensor], seed: int) -> LogisticCoordinates:
        """The factor that `CAVI` updates, at the prior: a Gaussian of full covariance."""
        scales = [self.prior_scale] * self.num_features + [self.intercept_scale] * self.has_intercept
        return LogisticCoordinates(torch.tensor(scales, dtype=data["x"].dtype), self.has_intercept)
