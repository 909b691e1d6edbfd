"""Expectation-maximisation: closed-form steps that a model offers, taken until the likelihood stops rising."""

from __future__ import annotations

__all__ = ["EM"]

from dataclasses import dataclass
from typing import Any

import torch

from jensen.models import EMModel, HasExactGuide

from ..data.base import MemoryData
from ..guides import build_guide
from ..pair.capabilities import unsupported_method
from ..pair.program import Program
from ..run.initialize import start_model
from ..seeding import derive_seed
from .closed_form import ClosedFormMethod, UpdateRule


@dataclass(frozen=True)
class EM(ClosedFormMethod):
    r"""Maximise :math:`\log p_\theta(x)` by alternating

    .. math:: q(z) = p_{\theta_t}(z \mid x), \qquad \theta_{t+1} = \arg\max_\theta \mathbb E_q[\log p_\theta(x, z)].

    The bound is tight after each E step, so the history holds the exact log likelihood (plus the log prior of the
    parameters where the model has one), which no step lowers. A guide that contains the exact posterior is set to it at
    the end.

    Args:
        steps: the most pairs of steps.
        tolerance: the fit has converged when a step raises the log likelihood per datum by less than this, in nats.
        restarts: independent starts (`initialize` with other seeds); the one with the highest likelihood is kept.
        device, checkpoint_every, progress: as in `SVI`.
        dtype: floating-point type of parameters and data; None for float64.

    Reference: A. Dempster, N. Laird, D. Rubin, *Maximum Likelihood from Incomplete Data via the EM Algorithm*, 1977,
    https://www.jstor.org/stable/2984875

    Example:
        >>> from jensen.models import GaussianMixture
        >>> x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
        >>> fit = EM(steps=20, progress=False).fit(GaussianMixture(2, 2), {"x": x})
        >>> bool(fit.history.bound.is_monotonic_increasing)
        True
    """

    def check_model(self, model: Any) -> None:
        if not isinstance(model, EMModel):
            raise unsupported_method("EM", model, "`e_step` and `m_step`")

    def begin(self, model: Any, train: MemoryData, validation: dict[str, torch.Tensor] | None, seed: int) -> UpdateRule:
        own, batch = self.copied(model), train.batch()
        start_model(own, batch, derive_seed(seed, "initialize"))
        return _Steps(self, own, batch, train.effective_size(getattr(model, "row_weight", None)), validation)


class _Steps(UpdateRule):
    def __init__(
        self,
        method: EM,
        model: Any,
        data: dict[str, torch.Tensor],
        data_size: float,
        validation: dict[str, torch.Tensor] | None,
    ) -> None:
        guide = build_guide(None, model, data)
        super().__init__(method, Program(model, guide), guide, data_size, validation)
        self.model, self.data = model, data
        self._statistics: Any = None

    def bound(self) -> torch.Tensor:
        self._statistics, likelihood = self.model.e_step(self.data)
        return likelihood  # type: ignore[no-any-return]

    def update(self, step: int) -> torch.Tensor:
        self.model.m_step(self._statistics)
        return self.bound()

    def leave(self) -> None:
        if isinstance(self.model, HasExactGuide):
            self.model.set_exact_guide()
