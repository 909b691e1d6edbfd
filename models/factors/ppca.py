"""Probabilistic principal component analysis: factors with one noise scale, and an optimum in closed form."""

from __future__ import annotations

__all__ = ["PPCA"]

from collections.abc import Mapping

import torch
from torch import Tensor

from ..common.precision import wide
from ..common.row_weights import check_weight, weights_in
from .base import FactorModel
from .rotation import signs
from .woodbury import principal_axes


class PPCA(FactorModel):
    r"""Principal component analysis as a generative model, with missing values allowed.

    .. math::
        z_n \sim \mathcal N(0, I_L), \quad x_n \mid z_n \sim \mathcal N(W z_n + \mu, \sigma^2 I_D), \qquad
        q(z_n \mid x_n) = \mathcal N(A (x_n - \mu) + c, S).

    Where nothing is missing, with eigenvalues :math:`\lambda_1 \ge \dots \ge \lambda_D` and vectors :math:`U` of the
    data's covariance, the likelihood is highest at

    .. math::
        \mu = \bar x, \quad \sigma^2 = \frac{1}{D - L} \sum_{l > L} \lambda_l, \quad
        W = U_L (\Lambda_L - \sigma^2 I)^{1/2}.

    ==============  ==========================  ===============================================
    symbol          meaning                     argument, site or attribute
    ==============  ==========================  ===============================================
    :math:`x`       data, ``(N, D)``            ``x`` (drawn if None); NaN is a missing value
    :math:`w`       weights, ``(N,)``           ``weight``: how often each row counts
    :math:`z`       factors, ``(N, L)``, local  site ``z``
    :math:`W, \mu`  loadings ``(D, L)``, mean   ``weight``, ``bias``
    :math:`\sigma`  noise scale, ``()``         ``scale``; ``noise`` is :math:`\sigma^2` ``(D,)``
    :math:`A, c`    guide's map ``(L, D)``      ``guide_weight``, ``guide_bias``
    :math:`S`       guide's covariance          ``guide_scale``, its Cholesky factor ``(L, L)``
    ==============  ==========================  ===============================================

    Posterior, evidence, EM and missing values are those of `FactorAnalysis`. `rotate("principal")` turns the factors of
    a fit to the principal axes.

    Args:
        num_features: D.
        latent_dim: L, less than D.
        min_scale: floor under the noise scale, as a fraction of the root mean variance of the data's columns.

    Raises:
        ValueError: a size or `min_scale` is not positive, or `latent_dim` is too large; `check_data` finds the wrong
            columns; `initialize` a column without a value or no more rows than factors.

    Reference: M. Tipping, C. Bishop, *Probabilistic Principal Component Analysis*, 1999,
    https://doi.org/10.1111/1467-9868.00196

    Example:
        >>> x = PPCA(num_features=4, latent_dim=2).generate(50, seed=0)["x"]
        >>> model = PPCA(num_features=4, latent_dim=2)
        >>> model.set_optimum({"x": x})
        >>> bool(torch.allclose(model.bias, x.mean(0)))
        True
    """

    def __init__(self, num_features: int, latent_dim: int, min_scale: float = 1e-6) -> None:
        super().__init__(num_features, latent_dim, min_scale, torch.ones(()), num_features - 1)

    @property
    def components(self) -> Tensor:
        """Principal axes as rows of length one, ``(L, D)``, by falling variance, however the factors are turned; the
        largest number of each is positive."""
        axes = torch.linalg.svd(self.weight, full_matrices=False).U
        return (axes * signs(axes)).mT

    @property
    def explained_variance(self) -> Tensor:
        r"""Variance of `x` along each of the :attr:`components`, ``(L,)``: the L largest eigenvalues of the
        :attr:`covariance`, which are those of :math:`W^\top W` plus :math:`\sigma^2`."""
        return torch.linalg.svdvals(self.weight).square() + self.scale.square()  # type: ignore[no-any-return]

    @property
    def explained_variance_ratio(self) -> Tensor:
        """Share of the total variance along each of the :attr:`components`, ``(L,)``."""
        total = self.weight.square().sum() + self.num_features * self.scale.square()
        return self.explained_variance / total

    def noise_variance(self, squares: Tensor, counts: Tensor) -> Tensor:
        return squares.sum() / counts.sum()

    @torch.no_grad()
    def set_optimum(self, data: Mapping[str, Tensor], correction: int = 0) -> None:
        r"""Set the parameters to the likelihood's maximum, on principal axes, and the guide to the exact posterior.

        Args:
            data: ``x`` of shape ``(N, D)`` with nothing missing, N > L; ``weight`` ``(N,)`` if rows do not count once.
            correction: 0 for maximum likelihood; 1 for the covariance over N - 1, as scikit-learn's ``PCA`` has it.

        Raises:
            ValueError: `x` has missing values (use `EM`), the wrong columns, or too few rows.
        """
        x, times = self._given(data), weights_in(data, wide(self.weight))
        check_weight(times)
        if len(x) <= max(self.latent_dim, correction):
            raise ValueError(
                f"`x` must have more rows than `latent_dim` = {self.latent_dim}, got {len(x)}. Use fewer factors."
            )
        if bool(x.isnan().any()):
            raise ValueError("`x` has missing values, with which there is no closed form. Use EM().fit(model, data).")
        self.prepare({"x": x} if times is None else {"x": x, "weight": times})
        times = x.new_ones(len(x)) if times is None else times
        total = times.sum()
        mean = times @ x / total
        # as many rows again, each as long as its weight says
        centred = (x - mean) * (times * len(x) / total).sqrt().unsqueeze(-1)
        values, axes, rest = principal_axes(centred, self.latent_dim)
        stretch = total / (total - correction)
        self._set_noise(stretch * rest / (self.num_features - self.latent_dim))
        self.weight.copy_(axes * (stretch * values - wide(self.scale) ** 2).clamp_min(0).sqrt())
        self.bias.copy_(mean)
        self.set_exact_guide()
