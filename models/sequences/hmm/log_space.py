"""The recursions in logarithms: slower, and right also where a transition is impossible or nearly so."""

from __future__ import annotations

__all__ = ["needs_logs", "scan_in_logs", "sequential_in_logs", "smooth_in_logs"]

import math

import torch
from torch import Tensor

from .forward_backward import Smoothed
from .scan import combined


@torch.no_grad()
def needs_logs(transition: Tensor) -> bool:
    r"""Whether scaled probabilities can lose a path that counts.

    They lose a state's mass where it is below the smallest number, :math:`\epsilon_0`, times that of another. With
    :math:`A_{ij} \ge a` a detour by the other state brings at least `a` of it back at the next step, so what is lost is
    at most :math:`\epsilon_0 / a` of the sum: less than rounding unless `a` is tiny. One read on the host.
    """
    kind = torch.finfo(transition.dtype)
    return bool((transition < kind.tiny / kind.eps).any())


def sequential_in_logs(initial: Tensor, transition: Tensor, emission: Tensor, mask: Tensor | None) -> Tensor:
    r""":math:`\log p(x_n)`, ``(N,)``, step by step; work and, for derivatives, memory ``O(N T C^2)``.

    .. math:: \log \hat\alpha_t(j) = \log \sum_i e^{\log \alpha_{t-1}(i) + \log A_{ij}}, \qquad
       \log \alpha_t = \log \hat\alpha_t + \ell_t.

    The derivative with respect to an exact zero of `initial` or `transition` is taken to be zero, as it is through a
    softmax.

    Args: as for :func:`~.forward_backward.forward`.
    """
    return _forward(initial, transition, emission, mask)[0]


@torch.no_grad()
def smooth_in_logs(
    initial: Tensor, transition: Tensor, emission: Tensor, mask: Tensor | None, times: Tensor | None = None
) -> Smoothed:
    r"""Posteriors of states and of transitions.

    .. math:: \log \beta_{t-1}(i) = \log \sum_j A_{ij} e^{\ell_t(j)} \beta_t(j), \qquad
       p(s_t = i \mid x) \propto \alpha_t(i) \beta_t(i), \qquad
       p(s_{t-1} = i, s_t = j \mid x) \propto \alpha_{t-1}(i) A_{ij} e^{\ell_t(j)} \beta_t(j).
    """
    log_p, filtered = _forward(initial, transition, emission, mask)
    change = _safe_log(transition)
    after = torch.zeros_like(filtered[-1])
    states, counts = [_shares(filtered[-1])], torch.zeros_like(transition)
    for step in range(len(filtered) - 1, 0, -1):
        into = change + (emission[step] + after).unsqueeze(-2)  # (N, from, to)
        before, _ = _centred(_log_sum(into, -1), (-1,))
        pairs = _shares((filtered[step - 1].unsqueeze(-1) + into).flatten(1)).view_as(into)
        if mask is not None:
            inside = mask[step].unsqueeze(-1)
            before, pairs = torch.where(inside, before, after), torch.where(inside.unsqueeze(-1), pairs, 0.0)
        counts += pairs.sum(0) if times is None else torch.tensordot(times, pairs, 1)
        after = before
        states.append(_shares(filtered[step - 1] + after))
    found = torch.stack(states[::-1])
    if mask is not None:
        found = torch.where(mask.unsqueeze(-1), found, 0.0)
    return Smoothed(log_p, found if times is None else found * times.unsqueeze(-1), counts)


def scan_in_logs(initial: Tensor, transition: Tensor, emission: Tensor, mask: Tensor | None) -> Tensor:
    r""":math:`\log p(x_n)`, ``(N,)``, by the tree of :func:`~.scan.log_evidence_scan`; memory ``O(N T C^3)``."""
    num_states = len(transition)
    first, total = _centred(_safe_log(initial) + emission[0], (-1,))
    first = first.unsqueeze(-2)
    if len(emission) > 1:
        logs = _safe_log(transition) + emission[1:].unsqueeze(-2)
        if mask is not None:
            eye = torch.eye(num_states, dtype=logs.dtype, device=logs.device).log()
            logs = torch.where(mask[1:, :, None, None], logs, eye)
        logs, scale = _centred(logs, (-2, -1))
        logs, scale = combined(_combine, logs, scale)
        first, total = _combine(first, total, logs, scale)
    return total + _log_sum(first.squeeze(-2), -1)


def _forward(initial: Tensor, transition: Tensor, emission: Tensor, mask: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """The log evidence, and at every step the filtered log probabilities up to a constant, ``(N, C)``."""
    change = _safe_log(transition)
    filtered: list[Tensor] = []
    scales: list[Tensor] = []
    alpha = _safe_log(initial).expand(emission.shape[1:])
    for step, log_density in enumerate(emission.unbind(0)):
        predicted = _log_sum(alpha.unsqueeze(-1) + change, -2) if step else alpha
        new, scale = _centred(predicted + log_density, (-1,))
        if mask is not None and step:
            new = torch.where(mask[step].unsqueeze(-1), new, alpha)
            scale = torch.where(mask[step], scale, 0.0)
        alpha = new
        filtered.append(alpha)
        scales.append(scale)
    return torch.stack(scales).sum(0) + _log_sum(alpha, -1), filtered


def _combine(left: Tensor, left_scale: Tensor, right: Tensor, right_scale: Tensor) -> tuple[Tensor, Tensor]:
    """The product of two factors, ``(…, I, J)`` by ``(…, J, K)``, each with the logarithm of its scale."""
    product, more = _centred(_log_sum(left.unsqueeze(-1) + right.unsqueeze(-3), -2), (-2, -1))
    return product, left_scale + right_scale + more


def _safe_log(probability: Tensor) -> Tensor:
    """The logarithm, minus infinity at zero with derivative zero there."""
    possible = probability > 0
    return torch.where(possible, torch.where(possible, probability, 1.0).log(), -math.inf)


def _largest(logs: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The largest over `dims`, which are kept; zero where all are minus infinity. A constant to autograd."""
    most = logs.detach().amax(dims, keepdim=True)
    return torch.where(most > -math.inf, most, 0.0)


def _centred(logs: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The logs less their largest, and this, without `dims`: it cancels, so it is a constant to autograd."""
    most = _largest(logs, dims)
    return logs - most, most.squeeze(dims)


def _log_sum(logs: Tensor, dim: int) -> Tensor:
    """The logarithm of the sum of the exponentials; its derivative is zero, not NaN, where every term is impossible."""
    most = _largest(logs, (dim,))
    total = (logs - most).exp().sum(dim)
    possible = total > 0
    return torch.where(possible, torch.where(possible, total, 1.0).log() + most.squeeze(dim), -math.inf)


def _shares(logs: Tensor) -> Tensor:
    """The exponentials divided by their sum, in the last dimension; all zero where nothing is possible."""
    weights = (logs - _largest(logs, (-1,))).exp()
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total > 0, total, 1.0)
