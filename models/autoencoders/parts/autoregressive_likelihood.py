"""A strong decoder: every binary pixel sees the latent and the pixels before it."""

from __future__ import annotations

__all__ = ["AutoregressiveBernoulli"]

import math
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import binary_cross_entropy_with_logits

from ...common.validation import check_sizes
from .likelihoods import Bernoulli, Likelihood


class AutoregressiveBernoulli(Likelihood):
    r"""Binary data with a masked network over the preceding features added to the decoder's log-odds.

    .. math:: p(x \mid h) = \prod_d \mathrm{Bernoulli}(x_d; \operatorname{sigmoid}(h_d + a_d(x_{<d}))).

    Such a likelihood can explain the data without the latent. Plain training then tends to leave the latent unused
    (posterior collapse); training with an annealed KL, `BetaELBO(Linear(0.0, 1.0))`, does not.

    Args:
        data_shape: event shape of one datum; features are ordered as in its flattened form.
        hidden: widths of the masked network's hidden layers.
        window: how many features before its own a feature sees; None for all.

    Raises:
        ValueError: a size is not positive.

    References: M. Germain et al., *MADE: Masked Autoencoder for Distribution Estimation*, 2015,
    https://arxiv.org/abs/1502.03509; X. Chen et al., *Variational Lossy Autoencoder*, 2017,
    https://arxiv.org/abs/1611.02731

    Example:
        >>> likelihood = AutoregressiveBernoulli((6,))
        >>> likelihood(torch.zeros(5, 6)).log_prob(torch.ones(5, 6)).shape
        torch.Size([5])
    """

    def __init__(self, data_shape: Sequence[int], hidden: Sequence[int] = (128,), window: int | None = None) -> None:
        import zuko

        super().__init__(data_shape)
        size = math.prod(self.data_shape)
        window = size if window is None else window
        check_sizes(data_shape=self.data_shape, hidden=hidden, window=window)
        place = torch.arange(size)
        ahead = place[:, None] - place
        self.pixels = Bernoulli(self.data_shape)
        self.network: nn.Module = zuko.nn.MaskedMLP((ahead > 0) & (ahead <= window), hidden_features=tuple(hidden))

    def forward(self, output: Tensor) -> TorchDistribution:
        return _Autoregressive(output.flatten(-len(self.data_shape)), self.network, self.data_shape)

    def mean(self, output: Tensor) -> Tensor:
        """Each feature's probability, given that those before it are at theirs: a typical image, not the mean."""
        return _sweep(output.flatten(-len(self.data_shape)), self.network, torch.sigmoid).reshape(output.shape)

    def output_bias(self, x: Tensor) -> Tensor:
        return self.pixels.output_bias(x)

    def check(self, name: str, x: Tensor) -> None:
        self.pixels.check(name, x)


class _Autoregressive(TorchDistribution):
    """The distribution of the features, given their flattened log-odds ``(..., D)`` and the masked network."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # torch's own interface

    def __init__(self, logits: Tensor, network: nn.Module, data_shape: tuple[int, ...]) -> None:
        self.logits, self.network = logits, network
        super().__init__(logits.shape[:-1], torch.Size(data_shape), validate_args=False)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.boolean, len(self.event_shape))

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> _Autoregressive:
        return _Autoregressive(self.logits.expand(*batch_shape, -1), self.network, tuple(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        value = value.flatten(-len(self.event_shape))
        logits = self.logits + self.network(value)
        return -binary_cross_entropy_with_logits(logits, value.expand(logits.shape), reduction="none").sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        logits = self.logits.expand(*sample_shape, *self.logits.shape)
        drawn = _sweep(logits, self.network, lambda h: (torch.rand_like(h) < h.sigmoid()).to(h.dtype))
        return drawn.unflatten(-1, self.event_shape)


def _sweep(logits: Tensor, network: nn.Module, settle: Any) -> Tensor:
    """Set one feature after the other by `settle` of its log-odds: ``(..., D)``."""
    settled: list[Tensor] = []
    for d in range(logits.shape[-1]):
        before = torch.stack([*settled, *[torch.zeros_like(logits[..., 0])] * (logits.shape[-1] - d)], -1)
        settled.append(settle(logits[..., d] + network(before)[..., d]))
    return torch.stack(settled, -1)
