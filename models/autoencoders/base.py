"""What autoencoders share: the shape of a datum, checked sizes, and a likelihood that starts at the data."""

from __future__ import annotations

__all__ = ["Autoencoder", "Widths"]

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..base import LatentVariableModel
from ..common.validation import check_size, check_widths
from .parts.likelihoods import Likelihood, make_likelihood

Widths = int | Sequence[int]


class Autoencoder(LatentVariableModel):
    r"""Abstract: a `likelihood` :math:`p(x \mid h)` of the outputs h of a `decoder`.

    Args:
        data_shape: event shape of one datum, or its number of features.
        likelihood: its name, or a `Likelihood`.
        scale: of a Gaussian likelihood, in the units of `x`.
        num_categories: of a categorical likelihood: the number of codes.
        sizes: what else must be positive, by argument; ``…hidden`` and ``…dims`` are sequences.

    Raises:
        ValueError: a size is not positive, an unknown likelihood; `check_data` finds data of the wrong shape or range.
    """

    decoder: nn.Module
    zeros: Tensor
    ones: Tensor

    def __init__(
        self,
        data_shape: Widths,
        likelihood: str | Likelihood,
        scale: float = 1.0,
        num_categories: int | None = None,
        **sizes: Widths,
    ) -> None:
        super().__init__()
        self.data_shape = (data_shape,) if isinstance(data_shape, int) else tuple(data_shape)
        *first, last = "data_shape", *sizes
        flat = list(self.data_shape)
        for name, value in sizes.items():
            if "hidden" in name:
                check_widths(name, value)
            flat += value if "hidden" in name or name.endswith("dims") else [value]  # type: ignore[arg-type,list-item]
        for size in flat:
            check_size(f"{', '.join(first)} and {last}", size)
        self.likelihood = make_likelihood(likelihood, self.data_shape, scale=scale, num_categories=num_categories)

    def check_data(self, x: Tensor | None = None) -> None:  # type: ignore[override]
        if x is not None:
            self.likelihood.check("x", x)

    @torch.no_grad()
    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Start the likelihood, and the default decoder's output bias, at the data's marginal distribution."""
        self.likelihood.start(batch["x"], self.decoder)
