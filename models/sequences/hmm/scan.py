r"""The forward recursion as a balanced tree of matrix products: depth :math:`\log_2 T`."""

from __future__ import annotations

__all__ = ["combined", "log_evidence_scan"]

import math
from collections.abc import Callable

import torch
from torch import Tensor


def log_evidence_scan(initial: Tensor, transition: Tensor, emission: Tensor, mask: Tensor | None) -> Tensor:
    r""":math:`\log p(x_n)`, ``(N,)``, by combining neighbours pairwise.

    .. math:: p(x) = \pi^\top E_1 (A E_2) (A E_3) \cdots (A E_T) \mathbf 1, \qquad E_t = \operatorname{diag} e^{\ell_t}.

    Each factor is kept as rows of largest entry one and the logarithms of their scales, so a row of small numbers is
    as exact as its neighbours. The work is ``O(N T C^3)`` in few large operations, the memory ``O(N T C^2)``.

    Args: as for :func:`~.forward_backward.forward`.

    Reference: S. Särkkä and Á. García-Fernández, *Temporal Parallelization of Bayesian Smoothers*, 2021,
    https://doi.org/10.1109/TAC.2020.2976316
    """
    num_states = len(transition)
    first, first_scale = _weigh(initial.expand(emission.shape[1], 1, num_states), emission[0].unsqueeze(-2))
    if len(emission) > 1:
        rows, scale = _weigh(transition.expand(*emission[1:].shape, num_states), emission[1:].unsqueeze(-2))
        if mask is not None:
            inside = mask[1:, :, None, None]
            eye = torch.eye(num_states, dtype=rows.dtype, device=rows.device)
            rows, scale = torch.where(inside, rows, eye), torch.where(inside[..., 0], scale, 0.0)
        rows, scale = combined(_combine, rows, scale)
        first, first_scale = _combine(first, first_scale, rows, scale)
    rest = first.sum(-1)
    return (first_scale + torch.where(rest > 0, rest, 1.0).log()).squeeze(-1)


def combined(
    combine: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]], factors: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """The product of the factors ``(T, …)`` with their scales, by combining neighbours pairwise."""
    while len(factors) > 1:
        even = len(factors) // 2 * 2
        product, total = combine(factors[0:even:2], scale[0:even:2], factors[1:even:2], scale[1:even:2])
        if even < len(factors):
            product, total = torch.cat([product, factors[even:]]), torch.cat([total, scale[even:]])
        factors, scale = product, total
    return factors[0], scale[0]


def _weigh(rows: Tensor, logs: Tensor) -> tuple[Tensor, Tensor]:
    """``rows * exp(logs)`` as normalised rows ``(…, I, J)`` and the logarithm of each one's scale ``(…, I)``."""
    logs = torch.where(rows.detach() > 0, logs, -math.inf)
    shift = logs.detach().amax(-1, keepdim=True)
    shift = torch.where(shift > -math.inf, shift, 0.0)
    return _normalise(rows * (logs - shift).exp(), shift.squeeze(-1))


def _combine(left: Tensor, left_scale: Tensor, right: Tensor, right_scale: Tensor) -> tuple[Tensor, Tensor]:
    """The product of two factors, ``(…, I, J)`` by ``(…, J, K)``."""
    logs = torch.where(left.detach() > 0, right_scale.unsqueeze(-2), -math.inf)
    shift = logs.detach().amax(-1, keepdim=True)
    shift = torch.where(shift > -math.inf, shift, 0.0)
    weighted = left * (logs - shift).exp()
    return _normalise(weighted @ right, left_scale + shift.squeeze(-1))


def _normalise(rows: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of largest entry one; their scale is a constant to autograd, and cancels."""
    largest = rows.detach().amax(-1, keepdim=True)
    return rows / torch.where(largest > 0, largest, 1.0), scale + largest.squeeze(-1).log()
