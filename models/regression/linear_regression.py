"""Bayesian linear regression: one global latent whose posterior and evidence are exact."""

from __future__ import annotations

__all__ = ["BayesianLinearRegression"]

import math
from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ..base import LatentVariableModel
from ..common.precision import wide
from ..common.takes_data import takes_data
from ..common.validation import check_features, check_positive, check_shape, check_size


class BayesianLinearRegression(LatentVariableModel):
    r"""Linear regression with known noise; the reference for global latents and mini-batches.

    .. math::
        w \sim \mathcal N(0, \tau^2 I), \quad y_n \mid x_n, w \sim \mathcal N(x_n^\top w, \sigma^2).

    The posterior is :math:`\mathcal N(m, \Lambda^{-1})` with :math:`\Lambda = \tau^{-2} I + \sigma^{-2} X^\top X` and
    :math:`m = \sigma^{-2} \Lambda^{-1} X^\top y`.

    =============  =========================  ======================
    symbol         meaning                    argument or site
    =============  =========================  ======================
    :math:`x`      features, ``(N, D)``       ``x``
    :math:`y`      targets, ``(N,)``          ``y`` (drawn if None)
    :math:`w`      weights, ``(D,)``, global  site ``w``
    :math:`\tau`   prior scale                ``prior_scale``
    :math:`\sigma` noise scale, units of y    ``noise_scale``
    =============  =========================  ======================

    Raises:
        ValueError: a size or scale is not positive; `check_data` finds the wrong shapes.

    Reference: C. Bishop, *Pattern Recognition and Machine Learning*, 2006, section 3.3.

    Example:
        >>> import torch
        >>> model, x = BayesianLinearRegression(num_features=2), torch.randn(5, 2)
        >>> y = model.generate(5, x=x, seed=0)["y"]
        >>> model.log_evidence({"x": x, "y": y}).shape
        torch.Size([])
    """

    def __init__(self, num_features: int, prior_scale: float = 1.0, noise_scale: float = 1.0) -> None:
        super().__init__()
        check_size("num_features", num_features)
        check_positive("prior_scale", prior_scale)
        check_positive("noise_scale", noise_scale)
        self.num_features = num_features
        self.prior_scale = prior_scale
        self.noise_scale = noise_scale

    def model(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        # p(w)
        w = pyro.sample("w", dist.Normal(x.new_zeros(self.num_features), x.new_full((), self.prior_scale)).to_event(1))
        with pyro.plate("data", len(x)):
            # p(y | x, w)
            return pyro.sample("y", dist.Normal(x @ w, x.new_full((), self.noise_scale)), obs=y)

    def check_data(self, x: Tensor, y: Tensor | None = None) -> None:  # type: ignore[override]
        check_features("x", x, self.num_features)
        if y is not None:
            check_shape("y", y, ())

    @takes_data
    def exact_posterior(self, data: Mapping[str, Tensor]) -> dict[str, torch.distributions.MultivariateNormal]:
        """The exact posterior of ``w``, batch shape ``()``, in float64."""
        x, y = wide(data["x"]), wide(data["y"])
        precision = x.T @ x / self.noise_scale**2
        precision = precision + torch.eye(self.num_features, dtype=x.dtype, device=x.device) / self.prior_scale**2
        mean = torch.cholesky_solve((x.T @ y)[:, None], torch.linalg.cholesky(precision))[:, 0] / self.noise_scale**2
        return {"w": torch.distributions.MultivariateNormal(mean, precision_matrix=precision)}

    @takes_data
    def log_evidence(self, data: Mapping[str, Tensor]) -> Tensor:
        r"""Exact :math:`\log p(y \mid x)` in nats, the total ``()``: rows are dependent once `w` is integrated out.

        By Bayes' rule at the posterior mean: :math:`\log p(y, m \mid x) - \log p(m \mid x, y)`.
        """
        x, y = wide(data["x"]), wide(data["y"])
        posterior = self.exact_posterior(data)["w"]
        mean = posterior.loc
        log_prior = torch.distributions.Normal(torch.zeros_like(mean), self.prior_scale).log_prob(mean).sum()
        residual = (y - x @ mean) / self.noise_scale
        log_likelihood = -0.5 * residual.square().sum() - len(y) * (math.log(self.noise_scale) + _HALF_LOG_2PI)
        return log_prior + log_likelihood - posterior.log_prob(mean)


_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
