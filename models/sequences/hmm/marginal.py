"""Sequences with their hidden states summed out, as one distribution."""

from __future__ import annotations

__all__ = ["HiddenMarkov"]

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ...common.precision import wide
from .algorithms import expectations, log_evidence
from .emissions import Emission
from .expected_counts import HiddenMarkovStatistics
from .padding import mask_padding, sequence_mask
from .viterbi import best_path


class HiddenMarkov(TorchDistribution):
    r"""The marginal :math:`p(x_1, \dots, x_T) = \sum_s \pi_{s_1} \prod_t A_{s_{t-1} s_t} \prod_t p(x_t \mid s_t)`.

    One event is a sequence, ``(T, *frame_shape)``; frames at and after its length do not count, and are drawn as zero.

    Args:
        initial: :math:`\pi`, ``(C,)``.
        transition: :math:`A`, ``(C, C)``.
        emission: the states' emissions.
        steps: T.
        lengths: of the sequences, ``batch_shape``; None if all have T steps.
        in_logs: as for :func:`~.algorithms.log_evidence`.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012

    def __init__(
        self,
        initial: Tensor,
        transition: Tensor,
        emission: Emission,
        steps: int,
        lengths: Tensor | None = None,
        in_logs: bool | None = None,
    ) -> None:
        self.initial, self.transition, self.emission, self.steps = initial, transition, emission, steps
        self.lengths, self.in_logs = lengths, in_logs
        batch_shape = torch.Size() if lengths is None else lengths.shape
        super().__init__(batch_shape, torch.Size([steps, *emission.frame_shape]), validate_args=False)

    @property
    def support(self) -> Any:
        return self.emission.support

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> HiddenMarkov:
        """The same distribution with a larger batch shape."""
        new: HiddenMarkov = type(self)(
            self.initial,
            self.transition,
            self.emission,
            self.steps,
            None if self.lengths is None else self.lengths.expand(batch_shape),
            self.in_logs,
        )
        new._batch_shape = torch.Size(batch_shape)
        return new

    def wide(self) -> HiddenMarkov:
        """The same in float64."""
        exact = wide(self.initial), wide(self.transition), self.emission.wide()
        return HiddenMarkov(*exact, self.steps, self.lengths, self.in_logs).expand(self.batch_shape)

    def inside(self, shape: torch.Size) -> Tensor | None:
        """Which steps are data rather than padding, time first, ``(T, N)``, for a batch of this shape."""
        if self.lengths is None:
            return None
        return sequence_mask(self.lengths.expand(shape).reshape(-1), self.steps).mT

    def log_prob(self, value: Tensor) -> Tensor:
        """The forward algorithm, ``batch_shape``."""
        events = len(self.event_shape)
        shape = torch.broadcast_shapes(self.batch_shape, value.shape[: value.dim() - events])
        frames = value.expand(shape + self.event_shape).reshape(-1, *self.event_shape).transpose(0, 1)
        mask = self.inside(shape)
        log_density = self.emission.log_prob(mask_padding(frames, mask))
        found = log_evidence(self.initial, self.transition, log_density, mask, self.in_logs)
        return found.reshape(shape)

    def smooth(self, x: Tensor) -> Tensor:
        """Probabilities of the states given sequences ``(N, T, *frame_shape)``, ``(N, T, C)``; zero in the padding."""
        frames, inside = self._frames(x)
        found = expectations(self.initial, self.transition, self.emission.log_prob(frames), inside)
        return found.states.transpose(0, 1)

    def best_path(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The most probable states ``(N, T)``, -1 in the padding, and their log joint density with `x`, ``(N,)``."""
        frames, inside = self._frames(x)
        path, log_p = best_path(self.initial, self.transition, self.emission.log_prob(frames), inside)
        return path.mT, log_p

    def expected_statistics(self, x: Tensor, times: Tensor | None) -> tuple[HiddenMarkovStatistics, Tensor]:
        """The E step: expected counts and moments, and the log likelihood of all sequences, ``()``, each counted as
        often as `times` ``(N,)`` says."""
        frames, inside = self._frames(x)
        found = expectations(self.initial, self.transition, self.emission.log_prob(frames), inside, times)
        if inside is None:
            moments = self.emission.statistics(frames.flatten(0, 1), found.states.flatten(0, 1))
        else:
            moments = self.emission.statistics(frames[inside], found.states[inside])
        counts = HiddenMarkovStatistics(found.states[0].sum(0), found.transitions, moments)
        return counts, (found.log_evidence if times is None else found.log_evidence * times).sum()

    def _frames(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The frames, zero in the padding, and which of them are data, time first."""
        inside = self.inside(x.shape[:1])
        return mask_padding(x.transpose(0, 1).contiguous(), inside), inside

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(sample_shape)[1]

    @torch.no_grad()
    def draw(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """States ``(…, T)``, -1 in the padding, and sequences ``(…, T, *frame_shape)``, zero there."""
        shape = torch.Size(sample_shape) + self.batch_shape
        num = shape.numel()
        last = len(self.initial) - 1
        # by the inverse of the cumulative probabilities: all the noise in one call
        noise = torch.rand(self.steps, num, 1, dtype=self.initial.dtype, device=self.initial.device)
        first, following = self.initial.cumsum(-1), self.transition.cumsum(-1)
        first, following = first / first[-1], following / following[:, -1:]
        path = [(noise[0] >= first).sum(-1).clamp_max(last)]
        for step in range(1, self.steps):
            path.append((noise[step] >= following[path[-1]]).sum(-1).clamp_max(last))
        states = torch.stack(path, -1)
        frames = self.emission.draw(states)
        mask = self.inside(shape)
        if mask is not None:
            states, frames = torch.where(mask.mT, states, -1), mask_padding(frames, mask.mT)
        return states.reshape(*shape, self.steps), frames.reshape(*shape, *self.event_shape)
