"""`ChEES`: Hamiltonian Monte Carlo of many chains at once, which learn how long their trajectories must be."""

from __future__ import annotations

__all__ = ["ChEES"]

from dataclasses import dataclass
from typing import Any

import torch

from ...data.base import MemoryData
from ...errors import ConfigurationError
from ...options import check_whole
from ...pair.function_program import own_copy
from ..base import Method
from .chees_sampler import ChEESSampler
from .options import ChainOptions


@dataclass(frozen=True)
class ChEES(ChainOptions, Method):
    r"""Draws from the posterior of global latents by many chains that move together: the sampler for a GPU.

    All chains make the same leapfrog steps at the same time, each a call of one batched density, so that the number of
    chains costs little where there is room for them. They share the step size, adapted to the harmonic mean of their
    acceptances, and the length :math:`\tau` of their trajectories, adapted by Adam to the maximum of

    .. math:: \mathrm{ChEES} = \tfrac14\, \mathbb E\big[ (\|v' - \mathbb E v'\|^2 - \|v - \mathbb E v\|^2)^2 \big]

    the change in the estimator of the expected square, with v the coordinates that chains move in. Transition i takes
    the time :math:`h_i \tau`, with :math:`h_i` from the Halton sequence, and its end is the next draw with probability
    :math:`\min\{1, \exp(H(v, p) - H(v', p'))\}`. Density, starts and metric are those of
    :class:`jensen.inference.NUTS`; the metric is learned in the first half of the warm-up, the length on to its end.
    Chains move in float64: the energy of a trajectory, a sum over all data, must be right to a hundredth of a nat.

    Args:
        steps: draws of each chain that are kept.
        num_warmup: transitions of each chain before, which adapt and are thrown away.
        num_chains: chains, two or more; dozens, for the criterion is a mean over them.
        target_acceptance: what the harmonic mean of acceptances is adapted to.
        metric, compile: as in `NUTS`. On CUDA a step is captured, unless `compile` is False.
        max_leapfrogs: the most leapfrog steps of a trajectory.
        chain_dtype: number type that chains move in; None for float64. float32 takes half of the memory and, on most
            GPUs, much less time, and is enough where the log density is no larger than some 10,000 nats.
        device, dtype, checkpoint_every, log_every, progress: as in `NUTS`.

    Raises:
        ModelError: the model has latents of each datum, masked ones, or none or more than 500 numbers.
        NonFiniteError: the density has no value at any start.

    References: Hoffman, Radul and Sountsov (2021), An adaptive MCMC scheme for setting trajectory lengths in
    Hamiltonian Monte Carlo, https://proceedings.mlr.press/v130/hoffman21a.html

    Example:
        >>> from jensen.models import BayesianLogisticRegression
        >>> x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
        >>> data = {"x": x, "y": (x[:, 0] > 0).float()}
        >>> method = ChEES(steps=20, num_warmup=100, num_chains=16, progress=False)
        >>> method.fit(BayesianLogisticRegression(2), data).posterior(100)["w"].shape
        torch.Size([100, 2])
    """

    steps: int = 500
    num_warmup: int = 500
    num_chains: int = 64
    target_acceptance: float = 0.651
    max_leapfrogs: int = 1_000
    chain_dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("max_leapfrogs", self.max_leapfrogs)
        if self.chain_dtype not in (None, torch.float32, torch.float64):
            raise ConfigurationError(
                f"`chain_dtype` must be torch.float64, torch.float32 or None, got {self.chain_dtype!r}."
            )
        if self.num_chains < 2:
            raise ConfigurationError(
                f"`num_chains` must be 2 or more for ChEES, which learns from how chains spread, got "
                f"{self.num_chains}. Take dozens, or use NUTS."
            )

    def check_model(self, model: Any) -> None:
        """Any program can be tried: its latents are looked at."""

    def begin(
        self, model: Any, train: MemoryData, validation: dict[str, torch.Tensor] | None, seed: int
    ) -> ChEESSampler:
        own = own_copy(model, torch.get_default_device(), torch.get_default_dtype())
        return ChEESSampler(self, own, train, seed, self.max_leapfrogs, self.chain_dtype)
