"""`NUTS`: the no-U-turn sampler, on the traced density, in coordinates that a path has learned."""

from __future__ import annotations

__all__ = ["NUTS"]

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ...data.base import MemoryData
from ...options import check_whole
from ...pair.function_program import own_copy
from ..base import Method
from .options import ChainOptions
from .sampler import Sampler
from .tree import transition


@dataclass(frozen=True)
class NUTS(ChainOptions, Method):
    r"""Draws from the posterior of global latents by Hamiltonian dynamics: the reference for every other method.

    Chains of the unconstrained latents u, whose stationary distribution is

    .. math:: p(u \mid x) \propto p(x \mid T(u))\, p(T(u))\, |\det \partial T / \partial u|

    with discrete latents summed out exactly. Each chain begins at a draw from the normal of a path of its own
    (:class:`jensen.inference.Pathfinder`), and all move in coordinates in which the best of these normals is standard;
    warm-up adapts them to the chains' own draws. Parameters of the model stay as they are.

    Args:
        steps: draws of each chain that are kept.
        num_warmup: transitions of each chain before, which adapt step size and metric and are thrown away.
        num_chains: chains, each with a start and a stream of random numbers of its own.
        target_acceptance: what the step size is adapted to; nearer to 1 for fewer divergences.
        metric: ``"dense"`` or ``"diagonal"``; None takes the dense one of up to 300 numbers. ``"unit"`` leaves the
            coordinates as they are.
        compile: whether the density is compiled; None compiles it where the draws repay that.
        max_depth: the most doublings of a trajectory: at most ``2^max_depth`` gradients a draw.
        device, checkpoint_every, log_every, progress: as in `SVI`.
        dtype: floating-point type of the draws; chains move in float64.

    Raises:
        ModelError: the model has latents of each datum, masked ones, or none or more than 500 numbers.
        NonFiniteError: the density has no value at any start.

    References: Hoffman and Gelman (2014), The No-U-Turn Sampler, https://jmlr.org/papers/v15/hoffman14a.html
    Betancourt (2017), A conceptual introduction to Hamiltonian Monte Carlo, https://arxiv.org/abs/1701.02434

    Example:
        >>> from jensen.models import BayesianLogisticRegression
        >>> x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
        >>> data = {"x": x, "y": (x[:, 0] > 0).float()}
        >>> fit = NUTS(steps=50, num_warmup=50, num_chains=2, progress=False).fit(BayesianLogisticRegression(2), data)
        >>> fit.posterior(100)["w"].shape
        torch.Size([100, 2])
    """

    max_depth: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("max_depth", self.max_depth)

    def check_model(self, model: Any) -> None:
        """Any program can be tried: its latents are looked at."""

    def begin(self, model: Any, train: MemoryData, validation: dict[str, torch.Tensor] | None, seed: int) -> Sampler:
        own = own_copy(model, torch.get_default_device(), torch.get_default_dtype())
        return Sampler(self, own, train, seed, partial(transition, max_depth=self.max_depth))
