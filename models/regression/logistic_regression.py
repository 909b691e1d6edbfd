"""Bayesian logistic regression: class labels from features, with a normal prior on the weights."""

from __future__ import annotations

__all__ = ["BayesianLogisticRegression"]

from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from ..base import LatentVariableModel
from ..common.inputs import to_tensors
from ..common.row_weights import check_weight
from ..common.takes_data import takes_data
from ..common.validation import check_features, check_labels, check_positive, check_size
from .logistic_cavi import LogisticCoordinates


class BayesianLogisticRegression(LatentVariableModel):
    r"""Classification with weights of uncertain size, for two classes or more.

    .. math::
        w \sim \mathcal N(0, \sigma_w^2 I), \quad b \sim \mathcal N(0, \sigma_b^2), \quad
        y_n \mid x_n, w, b \sim \mathrm{Bernoulli}(\operatorname{sigmoid}(x_n^\top w + b)).

    With C > 2 classes each has its own weights and intercept,
    :math:`y_n \sim \mathrm{Categorical}(\operatorname{softmax}(W x_n + b))`. No class is the reference: a shift common
    to all rows of W changes the prior alone, which keeps the posterior proper. A hierarchical prior learns how large
    the weights are: :math:`\sigma_w \sim \mathrm{HalfNormal}(s)`.

    ================  =========================================  =========================
    symbol            meaning                                    argument or site
    ================  =========================================  =========================
    :math:`x`         features, ``(N, D)``                       ``x``
    :math:`y`         labels 0, ..., C - 1, ``(N,)``             ``y`` (drawn if None)
    :math:`v`         how often each row counts, ``(N,)``        ``weight`` (once if None)
    :math:`w`         weights, ``(D,)`` or ``(C, D)``, global    site ``w``
    :math:`b`         intercept, ``()`` or ``(C,)``, global      site ``intercept``
    :math:`\sigma_w`  scale of the weights                       ``prior_scale``, or site
                                                                 ``weight_scale``, ``()``
    ================  =========================================  =========================

    Args:
        num_features: D, the number of columns of `x`. Standardise them: one prior scale serves all.
        num_classes: C.
        intercept: whether the model has an intercept.
        prior_scale: :math:`\sigma_w`, in log-odds per unit of a feature; with `hierarchical`, the s of its prior.
        intercept_scale: :math:`\sigma_b`, in log-odds.
        hierarchical: whether the weights' scale is a latent of its own.

    Raises:
        ValueError: a size or scale is not positive; fewer than two classes; `check_data` finds labels outside
            0, ..., C - 1 or the wrong columns; `CAVI` is asked for more than two classes or a hierarchical prior.

    References: C. Bishop, *Pattern Recognition and Machine Learning*, 2006, section 4.5; A. Gelman, *Prior
    distributions for variance parameters in hierarchical models*, 2006, https://doi.org/10.1214/06-BA117A

    Example:
        >>> import torch
        >>> model = BayesianLogisticRegression(num_features=3)
        >>> sorted(model.generate(10, x=torch.randn(10, 3), seed=0))
        ['intercept', 'w', 'y']
    """

    def __init__(
        self,
        num_features: int,
        intercept: bool = True,
        prior_scale: float = 1.0,
        intercept_scale: float = 5.0,
        num_classes: int = 2,
        hierarchical: bool = False,
    ) -> None:
        super().__init__()
        check_size("num_features", num_features)
        check_positive("prior_scale", prior_scale)
        check_positive("intercept_scale", intercept_scale)
        check_size("num_classes", num_classes)
        if num_classes < 2:
            raise ValueError(f"`num_classes` must be at least 2, got {num_classes}.")
        self.num_features = num_features
        self.num_classes = num_classes
        self.has_intercept = intercept
        self.prior_scale = prior_scale
        self.intercept_scale = intercept_scale
        self.hierarchical = hierarchical
        self.rows = () if num_classes == 2 else (num_classes,)

    row_weight = "weight"

    def model(self, x: Tensor, y: Tensor | None = None, weight: Tensor | None = None) -> Tensor:  # type: ignore[override]
        scale = x.new_full((), self.prior_scale)
        if self.hierarchical:
            # p(sigma_w)
            scale = pyro.sample("weight_scale", dist.HalfNormal(scale))
        # p(w | sigma_w)
        w = pyro.sample("w", _normal(x.new_zeros(*self.rows, self.num_features), scale))
        b = x.new_zeros(())
        if self.has_intercept:
            # p(b)
            b = pyro.sample("intercept", _normal(x.new_zeros(self.rows), x.new_full((), self.intercept_scale)))
        logits = x @ w.mT + b if self.rows else x @ w + b
        with pyro.plate("data", len(x)):
            # p(y | x, w, b)
            if self.rows:
                return pyro.sample("y", dist.Categorical(logits=logits), obs=y)
            return pyro.sample("y", dist.Bernoulli(logits=logits), obs=None if y is None else y.to(x.dtype))

    @takes_data(cast=False)
    def probabilities(self, x: Tensor, w: Tensor, intercept: Tensor | None = None, **_: Tensor) -> Tensor:
        """Probability of the class, one row per posterior draw: their spread over the draws is the uncertainty.

        Args:
            x: features, ``(N, D)``.
            w: draws of the weights, ``(S, D)`` or ``(S, C, D)``, as `Fit.posterior` returns them.
            intercept: draws of the intercept, ``(S,)`` or ``(S, C)``.

        Returns:
            Of class 1, ``(S, N)``; with more than two classes of each, ``(S, N, C)``.

        Example:
            >>> import torch
            >>> model, x = BayesianLogisticRegression(2), torch.randn(5, 2)
            >>> draws = {"w": torch.randn(100, 2), "intercept": torch.randn(100)}
            >>> model.probabilities(x, **draws).mean(0).shape
            torch.Size([5])
        """
        x = to_tensors(x, w, self.check_data)["x"]
        if self.rows:
            logits = torch.einsum("nd,scd->snc", x, w)
            return (logits if intercept is None else logits + intercept[:, None]).softmax(-1)
        logits = w @ x.mT
        return (logits if intercept is None else logits + intercept[:, None]).sigmoid()

    def check_data(  # type: ignore[override]
        self, x: Tensor, y: Tensor | None = None, weight: Tensor | None = None
    ) -> None:
        check_features("x", x, self.num_features)
        check_weight(weight)
        if y is not None:
            check_labels("y", y, self.num_classes)

    @takes_data
    def coordinate_guide(self, data: Mapping[str, Tensor], seed: int) -> LogisticCoordinates:
        """The factor that `CAVI` updates, at the prior: a Gaussian of full covariance."""
        if self.rows or self.hierarchical:
            found = f"num_classes={self.num_classes}" if self.rows else "hierarchical=True"
            raise ValueError(
                "CAVI needs a model with Jaakkola's bound: two classes and a fixed prior scale, which "
                f"`BayesianLogisticRegression({found})` lacks. It can be fitted by SVI."
            )
        scales = [self.prior_scale] * self.num_features + [self.intercept_scale] * self.has_intercept
        return LogisticCoordinates(torch.tensor(scales, dtype=data["x"].dtype), self.has_intercept)


def _normal(loc: Tensor, scale: Tensor) -> TorchDistributionMixin:
    """Independent normals as one site."""
    return dist.Normal(loc, scale).to_event(loc.ndim)
