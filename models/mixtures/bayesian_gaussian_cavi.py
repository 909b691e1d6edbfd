"""Coordinate ascent for the Bayesian Gaussian mixture."""

from __future__ import annotations

__all__ = ["GaussianMixtureCoordinates"]

import math
from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from ..common.covariance import from_scale, precision_from_scale
from ..common.inputs import to_tensors
from ..common.row_weights import weights_in
from ..common.validation import check_features
from ..coordinate_guide import CoordinateGuide
from ..distributions.normal_wishart import NormalWishart, outer
from .gaussian_em import expected_statistics

_CHUNK = 1 << 20  # numbers of one temporary


class GaussianMixtureCoordinates(CoordinateGuide):
    r"""Independent factors for the proportions and for means with precisions.

    .. math::
        q(c, \pi, \mu, \Lambda) = \prod_n q(c_n) \; \mathrm{Dirichlet}(\pi; \alpha) \prod_k
        \mathcal W(\Lambda_k; \nu_k, S_k^{-1})\, \mathcal N(\mu_k; m_k, (\beta_k \Lambda_k)^{-1}), \qquad
        q(c_n = k) = r_{nk} \propto \exp \mathbb E_q[\log \pi_k + \log \mathcal N(x_n; \mu_k, \Lambda_k^{-1})].

    A sweep sets the responsibilities from the factors, then the factors from the responsibilities, in one pass over
    the data; memory is ``O(N + C D^2)`` beside them. What `update` returns is the bound with both. As a guide
    of the model, which sums the assignments out exactly, the factors have a bound that is at least as high.

    Args:
        prior_concentration: :math:`\alpha_0`, ``(C,)``.
        prior: of means and precisions.
        rows: data in each component at the start, ``(C,)``.
        factor: of means and precisions at the start.

    Reference: C. Bishop, *Pattern Recognition and Machine Learning*, 2006, section 10.2.
    """

    concentration: Tensor
    mean_precision: Tensor
    means: Tensor
    degrees: Tensor
    scatter: Tensor
    prior_concentration: Tensor

    def __init__(self, prior_concentration: Tensor, prior: NormalWishart, rows: Tensor, factor: NormalWishart) -> None:
        super().__init__()
        self.covariance_type = prior.covariance
        self.register_buffer("prior_concentration", prior_concentration.clone())
        self.register_buffer("concentration", prior_concentration + rows)
        for name in ("mean_precision", "means", "degrees", "scatter"):
            self.register_buffer(f"prior_{name}", getattr(prior, name).clone())
            self.register_buffer(name, getattr(factor, name).clone())

    def forward(self, x: Tensor | None = None, weight: Tensor | None = None) -> None:  # type: ignore[override]
        # q(pi)
        pyro.sample("weights", dist.Dirichlet(self.concentration))
        # q(Lambda)
        factor = self.factor
        precision = pyro.sample(factor.precision_site, factor.precision_distribution())
        # q(mu | Lambda)
        pyro.sample("means", factor.means_distribution(precision))

    @property
    def factor(self) -> NormalWishart:
        """The factor of means and precisions."""
        return self._member("")

    @property
    def prior(self) -> NormalWishart:
        """Their prior."""
        return self._member("prior_")

    @property
    def weights(self) -> Tensor:
        r"""Posterior mean of the proportions, ``(C,)``."""
        return self.concentration / self.concentration.sum()

    @property
    def covariance(self) -> Tensor:
        r""":math:`\mathbb E[\Lambda_k]^{-1} = S_k / \nu_k`, ``(C, D, D)`` whatever the `covariance_type`."""
        return from_scale(self.factor.scale())

    @property
    def precision(self) -> Tensor:
        r""":math:`\mathbb E[\Lambda_k] = \nu_k S_k^{-1}`, ``(C, D, D)`` whatever the `covariance_type`."""
        return precision_from_scale(self.factor.scale())

    @torch.no_grad()
    def update(self, data: Mapping[str, Tensor]) -> Tensor:
        x = self._given(data)
        return self._step(x, weights_in(data, self.means), len(x), 1.0)

    @torch.no_grad()
    def stochastic_update(self, batch: Mapping[str, Tensor], data_size: int, rate: float) -> Tensor:
        return self._step(self._given(batch), weights_in(batch, self.means), data_size, rate)

    def predict(self, data: Mapping[str, Tensor]) -> Tensor:
        """Responsibilities :math:`r_{nk}`, ``(N, C)``; their `argmax(-1)` is the hard label."""
        factor, log_weights = self.factor, self._log_weights()
        scale = factor.scale()
        if scale.dim() == 3:
            each = dist.MultivariateNormal(factor.means, scale_tril=scale)
        else:
            each = dist.Normal(factor.means, scale).to_event(1)
        return torch.cat([(log_weights + each.log_prob(part.unsqueeze(-2))).softmax(-1) for part in self._parts(data)])

    def log_predictive(self, data: Mapping[str, Tensor]) -> Tensor:
        r"""Log density of new data, in nats, ``(N,)``: a mixture of Student's t, parameters integrated out.

        .. math:: \sum_k \frac{\alpha_k}{\sum_j \alpha_j}\,
            \mathrm{St}\Big(x; m_k, \tfrac{1 + \beta_k}{\beta_k} \tfrac{S_k}{\nu_k + 1 - D}, \nu_k + 1 - D\Big)
        """
        factor, log_weights = self.factor, self.weights.log()
        return torch.cat([(log_weights + factor.log_predictive(part)).logsumexp(-1) for part in self._parts(data)])

    def _step(self, x: Tensor, weight: Tensor | None, data_size: int, rate: float) -> Tensor:
        old, old_weights = self.factor, self._log_weights()
        scale, times = old.scale(), data_size / len(x)
        # The largest of the unnormalised weights is shifted to one, so that none of those that matter underflows.
        shift = old_weights.max()
        moments, likelihood = expected_statistics(x, (old_weights - shift).exp(), old.means, scale, weight)
        total = len(x) if weight is None else weight.sum()
        rows = moments.counts
        average = moments.first / rows.clamp_min(torch.finfo(rows.dtype).tiny).unsqueeze(-1)
        centred = moments.second - outer(average, rows, scale.dim())
        if scale.dim() == 3:
            averages = old.means + (scale @ average.unsqueeze(-1)).squeeze(-1)
            spread = scale @ (0.5 * (centred + centred.mT)) @ scale.mT
            squares = moments.second.diagonal(dim1=-2, dim2=-1).sum(-1)
        else:
            averages, spread = old.means + scale * average, scale.square() * centred
            squares = moments.second.sum(-1)

        target = self.prior.posterior(times * rows, averages, times * spread)
        new = old.interpolate(target, rate) if rate < 1 else target
        for name in ("mean_precision", "means", "degrees", "scatter"):
            getattr(self, name).copy_(getattr(new, name))
        concentration = self.prior_concentration + times * rows
        self.concentration.copy_((1 - rate) * self.concentration + rate * concentration)

        # sum_n sum_k r (E_new - E_old) corrects the log normalisers of the responsibilities to the new factors.
        new_scale, new_weights = new.scale(), self._log_weights()
        distances = new.quadratic(spread + outer(averages - new.means, rows, scale.dim()))
        change = rows * (new_weights - _log_det(new_scale) - old_weights + _log_det(scale))
        expected = likelihood + total * shift + (change - 0.5 * (distances - squares)).sum()
        proportions = kl_divergence(dist.Dirichlet(self.concentration), dist.Dirichlet(self.prior_concentration))
        return times * expected - proportions - new.divergence(self.prior)

    def _log_weights(self) -> Tensor:
        r"""What must be added to :math:`\log \mathcal N(x; m_k, S_k / \nu_k)` for the expectation of the joint,
        ``(C,)``."""
        factor = self.factor
        expected = self.concentration.digamma() - self.concentration.sum().digamma()
        precision = 0.5 * factor.expected_log_det() + _log_det(factor.scale())
        return expected + precision - 0.5 * factor.means.shape[1] / factor.mean_precision

    def _member(self, prefix: str) -> NormalWishart:
        fields = [getattr(self, prefix + name) for name in ("mean_precision", "means", "degrees", "scatter")]
        return NormalWishart(self.covariance_type, *fields)

    def _given(self, data: Mapping[str, Tensor]) -> Tensor:
        return to_tensors(data, self.means, lambda x: check_features("x", x, self.means.shape[1]))["x"]

    def _parts(self, data: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        return self._given(data).split(max(1, math.ceil(_CHUNK / self.means.numel())))


def _log_det(scale: Tensor) -> Tensor:
    """Log determinant of Cholesky factors ``(C, D, D)`` or of standard deviations ``(C, D)``."""
    return (scale.diagonal(dim1=-2, dim2=-1) if scale.dim() == 3 else scale).log().sum(-1)
