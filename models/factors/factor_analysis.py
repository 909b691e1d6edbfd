"""Factor analysis: correlated features explained by a few factors, each feature with noise of its own."""

from __future__ import annotations

__all__ = ["FactorAnalysis"]

import torch
from torch import Tensor

from .base import FactorModel


class FactorAnalysis(FactorModel):
    r"""Factor analysis, with closed forms for everything and missing values allowed.

    .. math::
        z_n \sim \mathcal N(0, I_L), \quad x_n \mid z_n \sim \mathcal N(W z_n + \mu, \operatorname{diag}(\psi)), \qquad
        q(z_n \mid x_n) = \mathcal N(A (x_n - \mu) + c, S).

    Exactly, :math:`x_n \sim \mathcal N(\mu, W W^\top + \Psi)` and :math:`z_n \mid x_n \sim
    \mathcal N(M^{-1} W^\top \Psi^{-1} (x_n - \mu), M^{-1})` with :math:`M = I + W^\top \Psi^{-1} W`.

    ==================  ==========================  ===============================================
    symbol              meaning                     argument, site or attribute
    ==================  ==========================  ===============================================
    :math:`x`           data, ``(N, D)``            ``x`` (drawn if None); NaN is a missing value
    :math:`w`           weights, ``(N,)``           ``weight``: how often each row counts
    :math:`z`           factors, ``(N, L)``, local  site ``z``
    :math:`W, \mu`      loadings ``(D, L)``, mean   ``weight``, ``bias``
    :math:`\psi^{1/2}`  noise scales, ``(D,)``      ``scale``; ``noise`` is :math:`\psi`
    :math:`A, c`        guide's map ``(L, D)``      ``guide_weight``, ``guide_bias``
    :math:`S`           guide's covariance          ``guide_scale``, its Cholesky factor ``(L, L)``
    ==================  ==========================  ===============================================

    Every row conditions on its observed entries, and evidences are of those; this is right where values are missing at
    random. The guide contains the exact posterior of complete rows (a missing entry counts as the mean);
    `exact_posterior` is exact for all. `EM` costs O(N D L) a step, and O(N (D L^2 + L^3)) for rows with missing values.

    Args:
        num_features: D.
        latent_dim: L, at most D.
        min_scale: floor under every noise scale, as a fraction of its column's standard deviation in the data: no
            feature is explained without noise (Heywood cases), and a constant column, which keeps its units, does no
            harm.

    Raises:
        ValueError: a size or `min_scale` is not positive, or `latent_dim` is too large; `check_data` finds the wrong
            columns; `initialize` a column without a value or no more rows than factors.

    Reference: D. Rubin, D. Thayer, *EM Algorithms for ML Factor Analysis*, 1982, https://doi.org/10.1007/BF02293851

    Example:
        >>> model = FactorAnalysis(num_features=4, latent_dim=2)
        >>> x = model.generate(10, seed=0)["x"]
        >>> x[0, 1] = torch.nan
        >>> model.log_evidence({"x": x}).shape, bool(model.impute({"x": x}).isnan().any())
        (torch.Size([10]), False)
    """

    def __init__(self, num_features: int, latent_dim: int, min_scale: float = 1e-6) -> None:
        super().__init__(num_features, latent_dim, min_scale, torch.ones(max(num_features, 0)), num_features)

    def noise_variance(self, squares: Tensor, counts: Tensor) -> Tensor:
        return squares / torch.where(counts > 0, counts, 1.0)
