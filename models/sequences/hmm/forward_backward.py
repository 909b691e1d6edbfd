"""The forward and the backward recursion, in probabilities scaled at every step."""

from __future__ import annotations

__all__ = ["Smoothed", "forward", "log_evidence_sequential", "smooth"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Smoothed:
    r"""What the E step needs.

    Attributes:
        log_evidence: :math:`\log p(x_n)`, ``(N,)``.
        states: :math:`\gamma_{tn}(i) = p(s_t = i \mid x_n)`, ``(T, N, C)``; zero in the padding.
        transitions: :math:`\sum_{n,t} p(s_{t-1} = i, s_t = j \mid x_n)`, ``(C, C)``.
    """

    log_evidence: Tensor
    states: Tensor
    transitions: Tensor


def forward(
    initial: Tensor, transition: Tensor, emission: Tensor, mask: Tensor | None
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    r"""Filter all sequences at once, one small product a step.

    .. math:: \alpha_t(j) = \tfrac{1}{c_t} \hat\alpha_t(j) \, e^{\ell_t(j) - m_t}, \qquad
       \hat\alpha_t = \alpha_{t-1} A, \qquad \log p(x) = \sum_t (\log c_t + m_t).

    :math:`m_t` is the largest log density among the states that can be reached (:math:`\hat\alpha_t > 0`): a state that
    fits best but cannot be reached does not push the others into underflow. The scales are constants to autograd. They
    cancel, so its derivatives, of any order, are those of the evidence. A state that fits far worse than another is
    lost, which counts where `transition` is (nearly) zero: see `log_space.py`.

    Args:
        initial: ``(C,)``; transition: rows that sum to one, ``(C, C)``.
        emission: log densities :math:`\ell`, ``(T, N, C)``.
        mask: whether a step is data rather than padding, ``(T, N)``; None if all are.

    Returns:
        :math:`\log p(x_n)`, ``(N,)``, and for every step :math:`\alpha_t` and :math:`\hat\alpha_t`, ``(N, C)``.
    """
    never = emission.new_full((), -math.inf)
    filtered: list[Tensor] = []
    predictions: list[Tensor] = []
    scales, shifts = [], []
    alpha = initial.expand(emission.shape[1:])
    for step, log_density in enumerate(emission.unbind(0)):
        predicted = alpha @ transition if step else alpha
        possible = torch.where(predicted.detach() > 0, log_density, never)
        shift = possible.detach().amax(-1, keepdim=True)
        shift = torch.where(shift > -math.inf, shift, 0.0)
        joint = predicted * (possible - shift).exp()
        scale = joint.detach().sum(-1, keepdim=True)
        new = joint / torch.where(scale > 0, scale, 1.0)
        alpha = new if mask is None or not step else torch.where(mask[step].unsqueeze(-1), new, alpha)
        filtered.append(alpha)
        predictions.append(predicted)
        scales.append(scale)
        shifts.append(shift)
    logs = (torch.stack(scales).log() + torch.stack(shifts)).squeeze(-1)
    if mask is not None:
        logs = torch.where(mask, logs, 0.0)
    rest = alpha.sum(-1)  # one, and the way of the derivatives
    possible = rest > 0
    return logs.sum(0) + torch.where(possible, rest, 1.0).log(), filtered, predictions


def log_evidence_sequential(initial: Tensor, transition: Tensor, emission: Tensor, mask: Tensor | None) -> Tensor:
    r""":math:`\log p(x_n)`, ``(N,)``, by :func:`forward`."""
    return forward(initial, transition, emission, mask)[0]


@torch.no_grad()
def smooth(
    initial: Tensor, transition: Tensor, emission: Tensor, mask: Tensor | None, times: Tensor | None = None
) -> Smoothed:
    r"""Posteriors of states and of transitions.

    .. math:: r_t(j) = \gamma_t(j) / \hat\alpha_t(j), \qquad
       \gamma_{t-1}(i) = \alpha_{t-1}(i) \sum_j A_{ij} r_t(j), \qquad
       \sum_t p(s_{t-1} = i, s_t = j \mid x) = A_{ij} \sum_t \alpha_{t-1}(i) \, r_t(j).

    In this form of the backward recursion every :math:`\gamma` is a probability: nothing in it can overflow. The counts
    are one product of ``(C, T N)`` by ``(T N, C)``; no ``(T, N, C, C)`` tensor is made. With `times` ``(N,)`` each
    sequence's states and counts are so many times its own.
    """
    log_p, filtered, predictions = forward(initial, transition, emission, mask)
    alphas = torch.stack(filtered)
    tiny = torch.finfo(alphas.dtype).tiny
    backward = transition.mT.contiguous()
    gamma = filtered[-1]
    gammas, ratios = [gamma], []
    for step in range(len(filtered) - 1, 0, -1):
        ratio = gamma / predictions[step].clamp_min(tiny)
        before = filtered[step - 1]
        smoothed = before * (ratio @ backward)
        if mask is not None:
            inside = mask[step].unsqueeze(-1)
            ratio = torch.where(inside, ratio, 0.0)
            smoothed = torch.where(inside, smoothed, before)
        gamma = smoothed
        gammas.append(gamma)
        ratios.append(ratio)
    states = torch.stack(gammas[::-1])
    if mask is not None:
        states = torch.where(mask.unsqueeze(-1), states, 0.0)
    if times is not None:
        states = states * times.unsqueeze(-1)
    counts = torch.zeros_like(transition)
    if ratios:
        num_states = len(transition)
        following = torch.stack(ratios[::-1])
        following = (following if times is None else following * times.unsqueeze(-1)).reshape(-1, num_states)
        counts = transition * (alphas[:-1].reshape(-1, num_states).mT @ following)
    return Smoothed(log_p, states, counts)
