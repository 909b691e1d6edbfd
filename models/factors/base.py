"""What factor analysis and probabilistic PCA share: everything but the shape of the noise."""

from __future__ import annotations

__all__ = ["FactorModel"]

import abc
from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroParam
from torch import Tensor, nn
from torch.distributions import constraints

from ..base import LatentVariableModel
from ..common.column_spread import column_spread
from ..common.floors import AboveFloor, Floored, follow
from ..common.information_criteria import InformationCriteria
from ..common.inputs import to_tensors
from ..common.precision import wide
from ..common.row_weights import check_weight, counted, weights_in
from ..common.validation import check_features, check_positive, check_size
from .rotation import rotation_matrix
from .woodbury import (
    FactorMoments,
    cholesky,
    condition,
    condition_rows,
    expected_statistics,
    posterior_map,
    start_weight,
)


class FactorModel(Floored, InformationCriteria, LatentVariableModel):
    r"""Abstract: :math:`z \sim \mathcal N(0, I_L), \; x \mid z \sim \mathcal N(W z + \mu, \Psi)`, diagonal
    :math:`\Psi`.

    Args:
        num_features: D.
        latent_dim: L, at most `largest`.
        min_scale: floor under the standard deviations of the noise, as a fraction of those of the data.
        scale: their start, ``(D,)`` or ``()``.
        largest: the most factors that the model can mean.
    """

    nan_allowed = ("x",)
    row_weight = "weight"

    floor: Tensor  # under the noise scales, in the units of the data, of the shape of `scale`
    scale: Any  # PyroParams, which read as their constrained values
    guide_scale: Any

    def __init__(self, num_features: int, latent_dim: int, min_scale: float, scale: Tensor, largest: int) -> None:
        super().__init__()
        check_size("num_features", num_features)
        check_size("latent_dim", latent_dim)
        check_positive("min_scale", min_scale)
        if latent_dim > largest:
            raise ValueError(
                f"`latent_dim` must be at most {largest} for {num_features} features, got {latent_dim}. Use fewer "
                "factors."
            )
        self.num_features, self.latent_dim, self.min_scale = num_features, latent_dim, min_scale
        self.weight = nn.Parameter(torch.randn(num_features, latent_dim) / latent_dim**0.5)
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("floor", torch.full_like(scale, min_scale))
        self.scale = PyroParam(scale + min_scale, AboveFloor(self))
        self.guide_weight = nn.Parameter(torch.zeros(latent_dim, num_features))
        self.guide_bias = nn.Parameter(torch.zeros(latent_dim))
        self.guide_scale = PyroParam(torch.eye(latent_dim), constraints.lower_cholesky)
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("eye", torch.eye(latent_dim), persistent=False)

    def model(self, x: Tensor | None = None, weight: Tensor | None = None) -> Tensor:  # type: ignore[override]
        with pyro.plate("data", 1 if x is None else len(x)):
            # p(z), in the family of the guide so that their KL divergence is analytic
            z = pyro.sample("z", dist.MultivariateNormal(self.zeros, scale_tril=self.eye))
            # p(x | z), over the observed entries
            noisy = dist.Normal(z @ self.weight.mT + self.bias, self.scale)
            if x is None:
                return pyro.sample("x", noisy.to_event(1))
            return pyro.sample("x", noisy.mask(~x.isnan()).to_event(1), obs=x.nan_to_num())

    def guide(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        with pyro.plate("data", len(x)):
            # q(z | x): the exact posterior's family; a missing entry counts as the mean
            centred = (x - self.bias.detach()).nan_to_num()
            loc = centred @ self.guide_weight.mT + self.guide_bias
            return pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=self.guide_scale))

    def check_data(self, x: Tensor | None = None, weight: Tensor | None = None) -> None:  # type: ignore[override]
        if x is not None:
            check_features("x", x, self.num_features)
        check_weight(weight)

    @property
    def noise(self) -> Tensor:
        r"""The diagonal of :math:`\Psi`: noise variances, ``(D,)``."""
        return self.scale.square().expand(self.num_features)  # type: ignore[no-any-return]

    @property
    def covariance(self) -> Tensor:
        r""":math:`W W^\top + \Psi`, the covariance of `x`, ``(D, D)``."""
        return self.weight @ self.weight.mT + torch.diag_embed(self.noise)

    @property
    def precision(self) -> Tensor:
        r"""The inverse of :attr:`covariance`, ``(D, D)``, by way of a matrix ``(L, L)``:
        :math:`\Psi^{-1} - \Psi^{-1} W (I + W^\top \Psi^{-1} W)^{-1} W^\top \Psi^{-1}`."""
        gain, _ = posterior_map(self.weight, self.noise)
        scaled = self.weight / self.noise.unsqueeze(-1)
        return torch.diag_embed(self.noise.reciprocal()) - scaled @ gain

    @property
    def communalities(self) -> Tensor:
        r"""Each feature's share of variance that the factors explain, :math:`\|w_d\|^2 / (\|w_d\|^2 + \psi_d)`,
        ``(D,)`` in [0, 1]."""
        explained = self.weight.square().sum(-1)
        return explained / (explained + self.noise)

    @property
    def num_free_parameters(self) -> int:
        """Loadings but for their rotation, the mean, and the noise."""
        loadings = self.num_features * self.latent_dim - self.latent_dim * (self.latent_dim - 1) // 2
        return loadings + self.num_features + self.scale.numel()  # type: ignore[no-any-return]

    @abc.abstractmethod
    def noise_variance(self, squares: Tensor, counts: Tensor) -> Tensor:
        r"""Noise variance ``(D,)`` or ``()`` from each feature's sum of squares and number of values, ``(D,)``."""

    # Closed forms, in float64 whatever the parameters' number type.

    def log_evidence(self, data: Mapping[str, Tensor]) -> Tensor:
        r"""Exact :math:`\log p(x_n)` of the observed entries, in nats, ``(N,)``."""
        return condition_rows("log_prob", self._given(data), *self._wide())

    def _given(self, data: Mapping[str, Tensor]) -> Tensor:
        return to_tensors(data, wide(self.bias), self.check_data)["x"]

    def _wide(self) -> tuple[Tensor, Tensor, Tensor]:
        """Loadings, mean and noise variances."""
        return wide(self.weight), wide(self.bias), wide(self.noise)

    def exact_posterior(self, data: Mapping[str, Tensor]) -> dict[str, torch.distributions.Distribution]:
        r"""Exact :math:`p(z_n \mid x_n)` given the observed entries, batch shape ``(N,)``.

        Rows share one covariance if nothing is missing; otherwise there are ``(N, L, L)``.
        """
        x = self._given(data)
        observed = ~x.isnan()
        found = condition(x, *self._wide(), None if bool(observed.all()) else observed)
        covariance = torch.cholesky_inverse(found.tril)
        return {"z": torch.distributions.MultivariateNormal(found.loc, covariance)}

    @torch.no_grad()
    def set_exact_guide(self) -> None:
        """Set the guide to the exact posterior of rows with nothing missing."""
        weight, covariance = posterior_map(wide(self.weight), wide(self.noise))
        self.guide_weight.copy_(weight)
        self.guide_bias.zero_()
        self.guide_scale = cholesky(covariance).to(self.guide_weight.dtype)

    @torch.no_grad()
    def predict(self, data: Mapping[str, Tensor]) -> Tensor:
        r"""The factors' posterior means :math:`\mathbb E[z_n \mid x_n]` given the observed entries, ``(N, L)``."""
        return condition_rows("loc", self._given(data), *self._wide())

    @torch.no_grad()
    def impute(self, data: Mapping[str, Tensor]) -> Tensor:
        r"""`x` with each missing value replaced by its conditional mean given the row's observed ones, ``(N, D)``."""
        x = self._given(data)
        return torch.where(x.isnan(), self.predict({"x": x}) @ wide(self.weight).mT + wide(self.bias), x)

    # EM.

    @torch.no_grad()
    def e_step(self, data: Mapping[str, Tensor]) -> tuple[FactorMoments, Tensor]:
        """The factors' expected moments, and the log evidence of all observed entries, ``()``, with rows' weights."""
        x, times = to_tensors(data, self.bias, self.check_data)["x"], weights_in(data, wide(self.bias))
        return expected_statistics(x, self.weight, self.bias, self.noise, times)

    @torch.no_grad()
    def m_step(self, statistics: FactorMoments) -> None:
        r"""Maximise over W and :math:`\mu` jointly, the noise above its floor, and the factors' mean and covariance,
        which W and :math:`\mu` then absorb (parameter-expanded EM: the same fixed points, in fewer steps).

        A feature that is observed nowhere keeps its mean.

        Reference: C. Liu, D. Rubin, Y. Wu, *Parameter Expansion to Accelerate EM: The PX-EM Algorithm*, 1998,
        https://doi.org/10.1093/biomet/85.4.755
        """
        best, squares = statistics.regression()
        weight, shift = best[:, :-1], best[:, -1]
        moments = statistics.latent / statistics.latent[-1, -1]
        mean = moments[-1, :-1]
        factor = cholesky(moments[:-1, :-1] - torch.outer(mean, mean))
        self.weight.copy_(weight @ factor)
        self.bias.copy_(statistics.centre + shift + weight @ mean)
        self._set_noise(self.noise_variance(squares, statistics.counts))

    def _set_noise(self, variance: Tensor) -> None:
        self.scale = variance.clamp_min((1.01 * wide(self.floor)) ** 2).sqrt().to(self.bias.dtype)

    @torch.no_grad()
    def prepare(self, batch: Mapping[str, Tensor]) -> None:
        """Take the floor from the data: `min_scale` of their spread, by column or of all, as the noise has it."""
        x = counted(batch)["x"]
        counts = (~x.isnan()).sum(0)
        follow(self, x, self.noise_variance(column_spread(x).square() * counts, counts).sqrt())

    @torch.no_grad()
    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Start near the principal axes of the data (in units of :meth:`noise_variance`), with the exact guide."""
        self.prepare(batch)
        x = wide(counted(batch)["x"])
        observed = ~x.isnan()
        counts = observed.sum(0).to(x.dtype)
        if empty := (counts == 0).nonzero().flatten().tolist():
            raise ValueError(f"`x` has no value in column {empty[0]}: every entry is missing. Drop the column.")
        if len(x) <= self.latent_dim:
            raise ValueError(
                f"`latent_dim` is {self.latent_dim}, and `x` has only {len(x)} rows. Use fewer factors than rows."
            )
        mean = x.nanmean(0)
        residual = torch.where(observed, x, mean) - mean
        squares = residual.square().sum(0)
        variance = self.noise_variance(squares, counts)
        unit = variance.sqrt().clamp_min(1.01 * wide(self.floor)).expand(self.num_features)
        self.weight.copy_(unit.unsqueeze(-1) * start_weight(residual / unit, self.latent_dim, seed))
        self.bias.copy_(mean)
        left = squares / counts - self.weight.square().sum(1)
        self._set_noise(self.noise_variance(left.clamp_min(0.1 * squares / counts) * counts, counts))
        self.set_exact_guide()

    @torch.no_grad()
    def rotate(self, rotation: Any = "varimax") -> None:
        """Turn the factors in place, the guide with them; the density of `x` stays what it is.

        Args:
            rotation: ``"varimax"`` (each feature on few factors), ``"principal"`` (factors independent given the data,
                by falling share of the variance), or an orthogonal matrix ``(L, L)`` by which to multiply `weight`.
        """
        turn = rotation_matrix(rotation, self.weight, self.noise)
        self.weight.copy_(self.weight @ turn)
        self.guide_weight.copy_(turn.mT @ self.guide_weight)
        self.guide_bias.copy_(turn.mT @ self.guide_bias)
        half = turn.mT @ self.guide_scale
        self.guide_scale = torch.linalg.cholesky(half @ half.mT)
