"""The Gaussian mixture with priors on proportions, means and precisions; assignments are summed out in the density."""

from __future__ import annotations

__all__ = ["BayesianGaussianMixture"]

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ..base import LatentVariableModel
from ..common.covariance import COVARIANCES
from ..common.inputs import to_tensors
from ..common.precision import wide
from ..common.row_weights import check_weight, counted, weights_in
from ..common.takes_data import takes_data
from ..common.validation import check_choice, check_features, check_positive, check_size
from ..distributions.normal_wishart import NormalWishart, gaussian
from .bayesian_gaussian_cavi import GaussianMixtureCoordinates
from .clustered_start import ClusteredStart
from .gaussian_prior import checked_prior, clustered_posterior, empirical_covariance

_CHUNK = 1 << 18  # numbers of one temporary


class BayesianGaussianMixture(ClusteredStart, LatentVariableModel):
    r"""Clusters of Gaussian shape, of uncertain size, place and extent.

    .. math::
        \pi \sim \mathrm{Dirichlet}(\alpha_0), \quad \Lambda_k \sim \mathcal W(\nu_0, S_0^{-1}), \quad
        \mu_k \mid \Lambda_k \sim \mathcal N(m_0, (\beta_0 \Lambda_k)^{-1}), \quad
        p(x_n) = \sum_k \pi_k \, \mathcal N(x_n; \mu_k, \Lambda_k^{-1}).

    ================  ====================================  ====================================================
    symbol            meaning                               argument or site
    ================  ====================================  ====================================================
    :math:`x`         data, ``(N, D)``                      ``x`` (drawn if None)
    :math:`w`         how often each row counts             ``weight``, ``(N,)`` (once if None)
    :math:`\pi`       proportions, ``(C,)``, global         site ``weights``
    :math:`\Lambda`   precisions, global                    site ``precision_tril``, their Cholesky factors:
                                                            ``(C, D, D)`` full, ``(D, D)`` tied; or site
                                                            ``precision``: ``(C, D)`` diagonal, ``(C,)`` spherical
    :math:`\mu`       means, ``(C, D)``, global             site ``means``
    :math:`\alpha_0`  pseudo-rows of each component         ``concentration``
    :math:`\beta_0`   pseudo-rows at the prior mean         ``mean_precision``
    :math:`m_0`       prior mean, ``(D,)``                  ``prior_mean``
    :math:`\nu_0`     pseudo-rows of the prior covariance   ``degrees_of_freedom``
    :math:`S_0`       prior scatter                         ``prior_covariance``
    ================  ====================================  ====================================================

    Every latent is continuous, so that NUTS and every default guide apply. The labels of the components mean nothing:
    `jensen.inference.align_labels` makes draws comparable. With a small :math:`\alpha_0`, components without data lose
    their weight: build more than are needed. A diagonal precision has :math:`\lambda_d \sim \mathrm{Gamma}(\nu_0 / 2,
    s_d / 2)`, a spherical one :math:`\lambda \sim \mathrm{Gamma}(D \nu_0 / 2, D s / 2)`; tied components share one
    :math:`\Lambda`.

    Args:
        num_components: C, the most components.
        num_features: D.
        covariance: ``"full"``, ``"tied"`` (one for all), ``"diagonal"`` or ``"spherical"``; kept as `covariance_type`.
        concentration: :math:`\alpha_0`; 1 / C if None.
        mean_precision: :math:`\beta_0`.
        degrees_of_freedom: :math:`\nu_0` > D - 1; D if None.
        prior_mean: :math:`m_0`, ``(D,)``; if None, a fit takes the mean of its data (0 before).
        prior_covariance: :math:`S_0`, in squared units of `x`: ``(D, D)``, the variances ``(D,)`` (diagonal) or one
            variance (spherical); if None, a fit takes the covariance of its data (1 before). A component is a priori
            about as wide as :math:`S_0 / \nu_0`.

    Raises:
        ValueError: a size or prior is not positive, a shape is wrong, `covariance` is unknown; `check_data` finds the
            wrong columns; a fit has fewer rows than components, or data whose covariance is singular (a constant
            column, for one) and no `prior_covariance`.

    Reference: H. Attias, *A Variational Bayesian Framework for Graphical Models*, 1999,
    https://papers.nips.cc/paper/1726; C. Bishop, *Pattern Recognition and Machine Learning*, 2006, section 10.2.

    Example:
        >>> model = BayesianGaussianMixture(num_components=3, num_features=2)
        >>> sorted(model.generate(10, seed=0))
        ['means', 'precision_tril', 'weights', 'x']
    """

    location: Tensor
    scatter: Tensor

    def __init__(
        self,
        num_components: int,
        num_features: int,
        covariance: str = "full",
        concentration: float | None = None,
        mean_precision: float = 1.0,
        degrees_of_freedom: float | None = None,
        prior_mean: Any = None,
        prior_covariance: Any = None,
    ) -> None:
        super().__init__()
        check_size("num_components", num_components)
        check_size("num_features", num_features)
        check_choice("covariance", covariance, COVARIANCES)
        check_positive("mean_precision", mean_precision)
        self.num_components, self.num_features, self.covariance_type = num_components, num_features, covariance
        self.concentration = 1.0 / num_components if concentration is None else float(concentration)
        check_positive("concentration", self.concentration)
        self.mean_precision = float(mean_precision)
        self.degrees_of_freedom = float(num_features if degrees_of_freedom is None else degrees_of_freedom)
        lowest = num_features - 1 if covariance in ("full", "tied") else 0
        if not self.degrees_of_freedom > lowest:
            raise ValueError(f"`degrees_of_freedom` must be more than {lowest}, got {degrees_of_freedom!r}.")
        self.has_prior_mean, self.has_prior_covariance = prior_mean is not None, prior_covariance is not None
        self.register_buffer("location", checked_prior("prior_mean", prior_mean, torch.zeros(num_features)))
        scatter = {"diagonal": torch.ones(num_features), "spherical": torch.ones(())}
        unit = scatter.get(covariance, torch.eye(num_features))
        self.register_buffer("scatter", checked_prior("prior_covariance", prior_covariance, unit))
        self._add_start(self.prior())

    row_weight = "weight"

    def model(self, x: Tensor | None = None, weight: Tensor | None = None) -> Tensor:  # type: ignore[override]
        prior = self.prior()
        # p(pi)
        alpha = self.location.new_full((self.num_components,), self.concentration)
        weights = pyro.sample("weights", dist.Dirichlet(alpha))
        # p(Lambda)
        precision = pyro.sample(prior.precision_site, self._precision_from(prior))
        # p(mu | Lambda)
        means = pyro.sample("means", self._means_from(prior, precision))
        with pyro.plate("data", 1 if x is None else len(x)):
            # p(x | pi, mu, Lambda), the assignment summed out
            return pyro.sample("x", self.density(weights, means, precision), obs=x)

    @takes_data(cast=False)
    def density(self, weights: Tensor, means: Tensor, precision: Tensor) -> Any:
        """The mixture at given parameters (of any number of draws, in the sites' shapes)."""
        return dist.MixtureSameFamily(dist.Categorical(weights), gaussian(self.covariance_type, means, precision))

    @property
    def precision_site(self) -> str:
        """The name of the precisions' site."""
        return self.prior().precision_site

    @takes_data(cast=False)
    def covariances(self, *, means: Tensor, **precision: Tensor) -> Tensor:
        r""":math:`\Lambda_k^{-1}` at each of S draws, ``(S, C, D, D)`` whatever the `covariance_type`.

        Args:
            means: ``(S, C, D)``; and the site of the precisions: as `Fit.posterior` returns them.
        """
        found = precision[self.precision_site]
        if self.covariance_type in ("full", "tied"):
            covariance = torch.cholesky_inverse(found)
            return covariance if found.dim() == 4 else covariance.unsqueeze(1).expand(-1, means.shape[1], -1, -1)
        variance = found.reciprocal() if found.dim() == 3 else found.reciprocal().unsqueeze(-1)
        return torch.diag_embed(variance.expand_as(means))

    def check_data(self, x: Tensor | None = None, weight: Tensor | None = None) -> None:  # type: ignore[override]
        if x is not None:
            check_features("x", x, self.num_features)
        check_weight(weight)

    @takes_data(cast=False)
    def log_joint(self, x: Tensor, weights: Tensor, means: Tensor, **precision: Tensor) -> Tensor:
        r""":math:`\log \pi_k + \log \mathcal N(x_n; \mu_k, \Lambda_k^{-1})` at each of S draws, ``(S, N, C)``.

        Args:
            x: ``(N, D)``.
            weights: ``(S, C)``; means: ``(S, C, D)``; and the site of the precisions: as `Fit.posterior` returns them.
        """
        x = to_tensors(x, means, self.check_data)["x"]
        each = gaussian(self.covariance_type, means.unsqueeze(1), precision[self.precision_site].unsqueeze(1))
        return weights.log().unsqueeze(1) + each.log_prob(x.unsqueeze(-2))  # type: ignore[no-any-return]

    @takes_data(cast=False)
    def responsibilities(self, x: Tensor, **draws: Tensor) -> Tensor:
        r"""Probability of each component :math:`p(c_n = k \mid x_n)`, averaged over posterior draws, ``(N, C)``.

        The draws must agree on which component is which: see `jensen.inference.align_labels`.
        """
        shares = self._by_draw(x, draws, lambda joint: joint.softmax(-1))
        return torch.cat([found.mean(0) for found in shares])

    @takes_data(cast=False)
    def log_predictive(self, x: Tensor, **draws: Tensor) -> Tensor:
        r"""Log density of new data given the old, :math:`\log \frac1S \sum_s p(x_n \mid \pi^s, \mu^s, \Lambda^s)`,
        ``(N,)`` in nats. After `CAVI`, `fit.guide.log_predictive` has it in closed form."""
        densities = self._by_draw(x, draws, lambda joint: joint.logsumexp(-1))
        return torch.cat([found.logsumexp(0) - math.log(len(found)) for found in densities])

    def _by_draw(self, x: Tensor, draws: Mapping[str, Tensor], value: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """The value of the :meth:`log_joint` of some rows at each draw, ``(S, n, …)``: one draw at a time, so that
        nothing of size N C D is held."""
        each = [{name: some[s : s + 1] for name, some in draws.items()} for s in range(len(draws["means"]))]
        x = to_tensors(x, draws["means"], self.check_data)["x"]
        for part in x.split(max(256, _CHUNK // (self.num_components * self.num_features))):
            yield torch.stack([value(self.log_joint(part, **draw)[0]) for draw in each])

    def prior(self) -> NormalWishart:
        """The prior of means and precisions."""
        count, like = self.num_components, self.location
        degrees = like.new_full(() if self.covariance_type == "tied" else (count,), self.degrees_of_freedom)
        scatter = self.scatter if self.covariance_type == "tied" else self.scatter.expand(count, *self.scatter.shape)
        means, pseudo_rows = self.location.expand(count, -1), like.new_full((count,), self.mean_precision)
        return NormalWishart(self.covariance_type, pseudo_rows, means, degrees, scatter)

    @torch.no_grad()
    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Set the priors that were left to the data, and start default guides and samplers at a k-means clustering."""
        x, times = counted(batch)["x"].to(self.location), weights_in(batch, self.location)
        times = x.new_ones(len(x)) if times is None else times[times > 0]
        if len(x) < self.num_components:
            raise ValueError(f"`num_components` = {self.num_components} needs as many rows of data, got {len(x)}.")
        if not self.has_prior_mean:
            self.location.copy_(wide(times) @ wide(x) / wide(times).sum())
        if not self.has_prior_covariance:
            self.scatter.copy_(empirical_covariance(x, self.covariance_type, times))
        prior = self.prior()
        self._start_at(prior, clustered_posterior(prior, x, seed)[1])

    def coordinate_guide(self, data: Mapping[str, Tensor], seed: int) -> GaussianMixtureCoordinates:
        """The factors that `CAVI` updates, from the responsibilities of a k-means clustering."""
        x, times = to_tensors(data, self.location, self.check_data)["x"], weights_in(data, self.location)
        prior = self.prior()
        rows, factor = clustered_posterior(prior, x if times is None else x[times > 0], seed)
        return GaussianMixtureCoordinates(self.location.new_full(rows.shape, self.concentration), prior, rows, factor)
