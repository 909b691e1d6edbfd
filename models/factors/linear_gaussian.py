"""The linear-Gaussian latent-variable model: local latents whose posterior and evidence are exact."""

from __future__ import annotations

__all__ = ["LinearGaussian"]

from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroParam
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, constraints

from ..base import LatentVariableModel
from ..common.inputs import to_tensors
from ..common.precision import wide
from ..common.validation import check_choice, check_features, check_positive, check_size
from .woodbury import condition, posterior_map


class LinearGaussian(LatentVariableModel):
    r"""Probabilistic principal components, with an amortised guide that contains the exact posterior.

    .. math::
        z_n \sim \mathcal N(0, I_L), \quad x_n \mid z_n \sim \mathcal N(W z_n + b, \sigma^2 I_D), \qquad
        q(z_n \mid x_n) = \mathcal N(A x_n + c, S).

    Exactly, :math:`x_n \sim \mathcal N(b, W W^\top + \sigma^2 I)` and :math:`z_n \mid x_n \sim
    \mathcal N(M^{-1} W^\top (x_n - b), \sigma^2 M^{-1})` with :math:`M = W^\top W + \sigma^2 I`.

    ==============  ==========================  ====================================
    symbol          meaning                     argument, site or attribute
    ==============  ==========================  ====================================
    :math:`x`       data, ``(N, D)``            ``x`` (drawn if None)
    :math:`z`       latent, ``(N, L)``, local   site ``z``
    :math:`W, b`    loadings ``(D, L)``, mean   ``weight``, ``bias``
    :math:`\sigma`  noise scale, units of x     ``scale``
    :math:`A, c`    guide's map ``(L, D)``      ``guide_weight``, ``guide_bias``
    :math:`S`       guide's covariance          ``guide_scale``: Cholesky or diagonal
    ==============  ==========================  ====================================

    Args:
        num_features: D.
        latent_dim: L.
        scale: :math:`\sigma` at the start.
        posterior: ``"full"`` for a guide with full covariance (it contains the exact posterior), or ``"diagonal"``.
        learn: whether W, b and :math:`\sigma` are fitted; otherwise only the guide is.

    Raises:
        ValueError: a size or scale is not positive, `posterior` is unknown; `check_data` finds the wrong columns.

    Reference: M. Tipping and C. Bishop, *Probabilistic Principal Component Analysis*, 1999,
    https://doi.org/10.1111/1467-9868.00196

    Example:
        >>> model = LinearGaussian(num_features=4, latent_dim=2)
        >>> x = model.generate(10, seed=0)["x"]
        >>> model.log_evidence({"x": x}).shape
        torch.Size([10])
    """

    scale: Any  # PyroParams, which read as their constrained values
    guide_scale: Any

    def __init__(
        self, num_features: int, latent_dim: int, scale: float = 1.0, posterior: str = "full", learn: bool = True
    ) -> None:
        super().__init__()
        check_size("num_features", num_features)
        check_size("latent_dim", latent_dim)
        check_positive("scale", scale)
        check_choice("posterior", posterior, ("full", "diagonal"))
        self.num_features, self.latent_dim, self.posterior = num_features, latent_dim, posterior
        self.weight = nn.Parameter(torch.randn(num_features, latent_dim) / latent_dim**0.5)
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.scale = PyroParam(torch.tensor(float(scale)), constraints.positive)
        if not learn:
            self.requires_grad_(False)
        self.guide_weight = nn.Parameter(torch.zeros(latent_dim, num_features))
        self.guide_bias = nn.Parameter(torch.zeros(latent_dim))
        if posterior == "full":
            self.guide_scale = PyroParam(torch.eye(latent_dim), constraints.lower_cholesky)
        else:
            self.guide_scale = PyroParam(torch.ones(latent_dim), constraints.positive)
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("ones", torch.ones(latent_dim), persistent=False)
        self.register_buffer("eye", torch.eye(latent_dim), persistent=False)

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        with pyro.plate("data", 1 if x is None else len(x)):
            # p(z), in the family of the guide so that their KL divergence is analytic
            z = pyro.sample("z", self._normal(self.zeros, self.eye if self.posterior == "full" else self.ones))
            # p(x | z)
            return pyro.sample("x", dist.Normal(z @ self.weight.mT + self.bias, self.scale).to_event(1), obs=x)

    def guide(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            # q(z | x)
            return pyro.sample("z", self._normal(x @ self.guide_weight.mT + self.guide_bias, self.guide_scale))

    def _normal(self, loc: Tensor, scale: Tensor) -> TorchDistributionMixin:
        if self.posterior == "full":
            return dist.MultivariateNormal(loc, scale_tril=scale)
        return dist.Normal(loc, scale).to_event(1)

    def check_data(self, x: Tensor | None = None) -> None:  # type: ignore[override]
        if x is not None:
            check_features("x", x, self.num_features)

    def log_evidence(self, data: Mapping[str, Tensor]) -> Tensor:
        r"""Exact :math:`\log p(x_n)` in nats, ``(N,)``."""
        x = to_tensors(data, wide(self.bias), self.check_data)["x"]
        return condition(x, wide(self.weight), wide(self.bias), self._noise).log_prob

    def exact_posterior(self, data: Mapping[str, Tensor]) -> dict[str, torch.distributions.Distribution]:
        r"""Exact :math:`p(z_n \mid x_n)`, batch shape ``(N,)``."""
        weight, bias, covariance = self._posterior_map()
        return {"z": MultivariateNormal(to_tensors(data, weight, self.check_data)["x"] @ weight.mT + bias, covariance)}

    def _posterior_map(self) -> tuple[Tensor, Tensor, Tensor]:
        """A, c and S of the exact posterior, in float64."""
        weight, covariance = posterior_map(wide(self.weight), self._noise)
        return weight, -weight @ wide(self.bias), covariance

    @property
    def _noise(self) -> Tensor:
        return wide(self.scale).square().expand(self.num_features)

    @torch.no_grad()
    def set_exact_guide(self) -> None:
        """Set the guide to the exact posterior (``"diagonal"``: to its mean and the mean-field optimum's scales)."""
        weight, bias, covariance = self._posterior_map()
        self.guide_weight.copy_(weight)
        self.guide_bias.copy_(bias)
        if self.posterior == "full":
            self.guide_scale = torch.linalg.cholesky(covariance).to(self.guide_weight.dtype)
        else:
            self.guide_scale = torch.linalg.inv(covariance).diagonal().rsqrt().to(self.guide_weight.dtype)
