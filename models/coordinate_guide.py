"""The factors of a model that coordinate ascent updates one after another."""

from __future__ import annotations

__all__ = ["CoordinateGuide"]

import abc
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class CoordinateGuide(nn.Module, abc.ABC):
    r"""A factorised posterior :math:`q(z) = \prod_j q_j(z_j)` with closed-form updates.

    .. math:: \log q_j(z_j) = \mathbb E_{q_{-j}}[\log p(x, z)] + \mathrm{const}

    It is the model's Pyro guide, so that a fit of it is drawn from and scored as any other. What describes the global
    factors lives in registered buffers. Local factors are computed from the data whenever they are needed: nothing has
    the size of the data, and new data need no fitting.

    Attributes:
        mini_batches: steps taken on mini-batches, ``()``, by all fits that led here: the rate of the next goes by it.

    Reference: D. Blei, A. Kucukelbir, J. McAuliffe, *Variational Inference: A Review for Statisticians*, 2017,
    https://arxiv.org/abs/1601.00670
    """

    mini_batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mini_batches", torch.zeros((), dtype=torch.int64))

    @abc.abstractmethod
    def forward(self, **batch: Any) -> None:
        """The guide as a Pyro program: draw the global latents, and the local ones inside the plate ``"data"``."""

    @abc.abstractmethod
    def update(self, data: Mapping[str, Tensor]) -> Tensor:
        """One sweep over all factors, in place; the exact bound after it, ``()``, a total over the data in nats."""

    def stochastic_update(self, batch: Mapping[str, Tensor], data_size: int, rate: float) -> Tensor:
        r"""One natural-gradient step :math:`\lambda \leftarrow (1 - \rho) \lambda + \rho \hat\lambda` from a batch.

        Args:
            batch: some of the data.
            data_size: how many there are in all.
            rate: :math:`\rho`, in (0, 1].

        Returns:
            An estimate of the bound on all the data, ``()``.

        Raises:
            NotImplementedError: if the factors have no such step.

        Reference: M. Hoffman et al., *Stochastic Variational Inference*, 2013, https://arxiv.org/abs/1206.7051
        """
        raise NotImplementedError(f"`{type(self).__name__}` has no step for mini-batches: leave `batch_size` None.")

    def finish(self, model: Any) -> None:
        """Tell `model`, the fit's own copy, what was learned, where its own methods answer from it; called at the end.

        Whatever only the updates needed may be dropped.
        """

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        state.setdefault(f"{prefix}mini_batches", torch.zeros_like(self.mini_batches))  # of a file without it
        super()._load_from_state_dict(state, prefix, *rest)
