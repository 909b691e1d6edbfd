"""Coordinate-ascent variational inference, on all the data or by natural-gradient steps on mini-batches."""

from __future__ import annotations

__all__ = ["CAVI"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from jensen.models import CAVIModel, CoordinateGuide, LatentVariableModel

from ..data.base import MemoryData
from ..data.sampler import BatchSampler
from ..errors import ConfigurationError, DataError, ModelError
from ..options import check_whole
from ..pair.capabilities import unsupported_method
from ..pair.program import Program
from ..run.initialize import start_model
from ..seeding import derive_seed
from .closed_form import ClosedFormMethod, UpdateRule


@dataclass(frozen=True)
class CAVI(ClosedFormMethod):
    r"""Maximise the bound over a factorised posterior, one factor at a time:

    .. math:: q_j(z_j) \propto \exp \mathbb E_{q_{-j}}[\log p(x, z)].

    With `batch_size`, step `t` moves the global factors' natural parameters towards those of a mini-batch,
    :math:`\lambda \leftarrow (1 - \rho_t) \lambda + \rho_t \hat\lambda`, :math:`\rho_t = (t + \tau)^{-\kappa}`; the
    history then holds noisy estimates of the bound, and all `steps` are taken.

    **Going on.** Of a model that comes from a fit by CAVI, the factors of that fit are the start, and the priors that
    it took from its data stay. Sweeps over other data end at what these say by themselves: the old ones count by the
    start alone. Steps on mini-batches move on from what was learned, at a rate that goes on falling: feed chunks as
    they come, with `data_size` for how many data there will be in all, and the factors are those of scikit-learn's
    ``partial_fit``. A model of topics that another method fitted starts at its topics.

    Args:
        steps: the most sweeps over all factors (mini-batch steps, with `batch_size`).
        tolerance: the fit has converged when a sweep raises the bound per datum by less than this, in nats.
        restarts: independent starts; the one with the highest bound is kept.
        device, checkpoint_every, progress: as in `SVI`.
        dtype: floating-point type of parameters and data; None for float64.
        batch_size: data per step, drawn without replacement within each epoch; None for all data.
        delay: :math:`\tau` >= 0, which slows the first steps down.
        forgetting: :math:`\kappa`, in (0.5, 1] for convergence.
        data_size: with `batch_size`, the number of data of which those given are a part; None if they are all. Bounds
            are then estimates of the bound on that many.

    Reference: D. Blei, A. Kucukelbir, J. McAuliffe, *Variational Inference: A Review for Statisticians*, 2017,
    https://arxiv.org/abs/1601.00670; M. Hoffman et al., *Stochastic Variational Inference*, 2013,
    https://arxiv.org/abs/1206.7051

    Example:
        >>> CAVI(steps=100, batch_size=256).forgetting
        0.7
    """

    batch_size: int | None = None
    delay: float = 1.0
    forgetting: float = 0.7
    data_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size is not None:
            check_whole("batch_size", self.batch_size)
        if not (isinstance(self.delay, (int, float)) and self.delay >= 0):
            raise ConfigurationError(f"`delay` must be a number of steps, at least 0, got {self.delay!r}.")
        if not (isinstance(self.forgetting, (int, float)) and 0.5 < self.forgetting <= 1):
            raise ConfigurationError(f"`forgetting` must be in (0.5, 1], got {self.forgetting!r}.")
        if self.data_size is not None:
            check_whole("data_size", self.data_size)
            if self.batch_size is None:
                raise ConfigurationError(
                    f"`data_size` = {self.data_size} is for steps on mini-batches: give `batch_size` too, or leave it "
                    "None."
                )

    def check_model(self, model: Any) -> None:
        if not isinstance(model, CAVIModel):
            raise unsupported_method("CAVI", model, "`coordinate_guide`")

    def begin(self, model: Any, train: MemoryData, validation: dict[str, torch.Tensor] | None, seed: int) -> UpdateRule:
        model, batch = self.copied(model), train.batch()
        guide, fitted = getattr(model, "learned_factors", None), getattr(model, "fitted", False)
        start_model(model, batch, derive_seed(seed, "initialize"))
        if guide is None:
            model.fitted = fitted  # as it came: the factors of a new model do not start at its own guide's
            guide = model.coordinate_guide(batch, derive_seed(seed, "factors"))
            model.fitted = True
        if self.batch_size is not None and type(guide).stochastic_update is CoordinateGuide.stochastic_update:
            raise ModelError(
                f"`batch_size` = {self.batch_size} needs factors with a step for mini-batches, which those of "
                f"`{type(model).__name__}` lack. Leave `batch_size` None for sweeps over all the data, or use SVI."
            )
        guide.to(device=torch.get_default_device(), dtype=torch.get_default_dtype())
        if self.batch_size is None:
            size: float = train.effective_size(getattr(model, "row_weight", None))
            return _Factors(self, model, guide, size, validation, lambda step: guide.update(batch))
        size = self.data_size or train.size
        if size < train.size:
            raise DataError(
                f"`data_size` is {self.data_size}, fewer than the {train.size} data given. Count those given, too."
            )
        update = _natural_steps(self, guide, train, size, seed)
        return _Factors(self, model, guide, size, validation, update, monotone=False)


class _Factors(UpdateRule):
    """Updates of a model's factors, which tell the model at the end what they learned and stay with it.

    Args:
        method, data_size, validation, monotone: as for :class:`UpdateRule`.
        model, guide: the pair.
        step: makes update number t of the factors, and returns the bound after it.
    """

    def __init__(
        self,
        method: CAVI,
        model: Any,
        guide: CoordinateGuide,
        data_size: float,
        validation: dict[str, torch.Tensor] | None,
        step: Callable[[int], torch.Tensor],
        monotone: bool = True,
    ) -> None:
        super().__init__(method, Program(model, guide), guide, data_size, validation, monotone)
        self._step = step

    def update(self, step: int) -> torch.Tensor:
        return self._step(step)

    def leave(self) -> None:
        model: Any = self.program.model_owner
        self.guide.finish(model)
        if isinstance(model, LatentVariableModel):
            model.keep_factors(self.guide)


def _natural_steps(
    method: CAVI, guide: CoordinateGuide, data: MemoryData, data_size: int, seed: int
) -> Callable[[int], torch.Tensor]:
    """Noisy natural gradients from mini-batches."""
    sampler = BatchSampler(data.size, data.check_batch_size(method.batch_size), seed)
    before = int(guide.mini_batches)

    def update(step: int) -> torch.Tensor:
        taken = before + step + 1
        rate = min(1.0, (taken + method.delay) ** -method.forgetting)
        bound = guide.stochastic_update(data.batch(sampler.indices(step)), data_size, rate)
        guide.mini_batches.fill_(taken)
        return bound

    return update
