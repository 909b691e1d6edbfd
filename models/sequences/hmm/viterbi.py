"""The most probable path of states."""

from __future__ import annotations

__all__ = ["best_path"]

import torch
from torch import Tensor


@torch.no_grad()
def best_path(initial: Tensor, transition: Tensor, emission: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    r"""Maximise :math:`p(s, x)` over paths by dynamic programming, in logarithms.

    .. math:: \delta_t(j) = \max_i \left[ \delta_{t-1}(i) + \log A_{ij} \right] + \ell_t(j)

    Args: as for :func:`~.forward_backward.forward`.

    Returns:
        States, ``(T, N)``, -1 in the padding, and :math:`\max_s \log p(s, x_n)`, ``(N,)``.

    Reference: A. Viterbi, *Error Bounds for Convolutional Codes and an Asymptotically Optimum Decoding Algorithm*,
    1967, https://doi.org/10.1109/TIT.1967.1054010
    """
    steps, num, num_states = emission.shape
    into = transition.mT.log()  # (to, from)
    best = initial.log() + emission[0]
    stay = torch.arange(num_states, device=emission.device).expand(num, num_states)
    origins: list[Tensor] = []
    for step in range(1, steps):
        value, origin = (best.unsqueeze(-2) + into).max(-1)
        value = value + emission[step]
        if mask is not None:
            inside = mask[step].unsqueeze(-1)
            value, origin = torch.where(inside, value, best), torch.where(inside, origin, stay)
        best = value
        origins.append(origin)
    log_p, state = best.max(-1)
    path = [state]
    for origin in reversed(origins):
        state = origin.gather(-1, state.unsqueeze(-1)).squeeze(-1)
        path.append(state)
    states = torch.stack(path[::-1])
    if mask is None:
        return states, log_p
    return torch.where(mask, states, -1), torch.where(mask[0], log_p, 0.0)
