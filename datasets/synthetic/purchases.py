"""A store's purchases: customers of known segments, each with its own tastes and volume."""

from __future__ import annotations

__all__ = ["purchases"]

import torch

from ..dataset import Dataset
from .draw import Draw

CATEGORIES = ("vegetables", "meat", "dairy", "bread", "sweets", "drinks", "frozen", "household", "baby", "garden")
SEGMENTS = ("families", "students", "cooks", "gardeners", "commuters")
SHARES = (0.32, 0.26, 0.2, 0.08, 0.14)
VOLUMES = (60.0, 22.0, 40.0, 30.0, 12.0)  # items a month
_TASTES = (
    (16, 12, 18, 12, 10, 8, 6, 8, 9, 1),
    (4, 5, 8, 10, 18, 24, 26, 4, 0.3, 0.7),
    (34, 24, 14, 10, 3, 9, 1, 4, 0.3, 0.7),
    (14, 6, 8, 8, 5, 8, 4, 9, 1, 37),
    (3, 2, 6, 32, 16, 36, 1.5, 2.5, 0.5, 0.5),
)


def purchases(
    num_customers: int = 1_000, *, volume_spread: float = 0.0, seed: int = 0, dtype: torch.dtype | None = None
) -> Dataset:
    r"""Monthly counts of items that customers bought in ten categories, with the five segments they belong to.

    .. math:: c_n \sim \mathrm{Categorical}(\pi), \quad v_n \sim \mathrm{LogNormal}(-\sigma^2/2, \sigma), \quad
        x_{nd} \sim \mathrm{Poisson}(v_n V_{c_n} \theta_{c_n d}).

    The segments differ in size (8% to 32%), volume V (12 to 60 items) and tastes. With `volume_spread` 0 this is a
    Poisson mixture; above it, customers of one segment differ in volume, and only a multinomial mixture, which takes
    the totals as given, fits.

    Args:
        num_customers: N.
        volume_spread: sigma, how much customers of one segment differ in volume.
        seed: the same seed gives the same data.
        dtype: of the counts; default `torch.get_default_dtype()`.

    Returns:
        `x` `(N, 10)` counts, `feature_names` the categories; truth: `weights` `(5,)`, `tastes` `(5, 10)` (rows sum to
        1), `volumes` `(5,)`, `rates` `(5, 10)`, `assignment` `(N,)` int64. The segments' names are `target_names`.

    Example:
        >>> purchases(num_customers=20).feature_names[:3]
        ('vegetables', 'meat', 'dairy')
    """
    if num_customers < 1:
        raise ValueError(f"`num_customers`: expected a positive number, got {num_customers}")
    if not volume_spread >= 0:
        raise ValueError(f"`volume_spread`: expected 0 or more, got {volume_spread}")
    draw = Draw(seed)
    weights, volumes = torch.tensor(SHARES, dtype=torch.float64), torch.tensor(VOLUMES, dtype=torch.float64)
    tastes = torch.tensor(_TASTES, dtype=torch.float64)
    tastes = tastes / tastes.sum(-1, keepdim=True)
    assignment = draw.categorical(weights, num_customers)
    factor = torch.exp(volume_spread * draw.normal(num_customers) - 0.5 * volume_spread**2)
    rates = volumes[:, None] * tastes
    truth = {"weights": weights, "tastes": tastes, "volumes": volumes, "rates": rates, "assignment": assignment}
    return Dataset(
        "purchases",
        {"x": draw.poisson(factor[:, None] * rates[assignment])},
        feature_names=CATEGORIES,
        target_names=SEGMENTS,
        description="Synthetic: items bought in a month, by customer and category.",
        truth=truth,
    ).to(dtype=dtype or torch.get_default_dtype())
