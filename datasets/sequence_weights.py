"""Weights of aligned sequences, so that many near-copies count for little more than one."""

from __future__ import annotations

__all__ = ["henikoff_weights", "identity_weights"]

import torch
from torch import Tensor


def identity_weights(x: Tensor, identity: float = 0.8, num_letters: int = 21, chunk: int = 1_024) -> Tensor:
    r"""One over the number of sequences that agree with this one in more than a share of its letters.

    .. math:: w_n = \Big( \sum_m \big[ \#\{d : x_{nd} = x_{md} \neq \text{gap}\} > t \,\#\{d : x_{nd} \neq \text{gap}\}
        \big] \Big)^{-1},

    itself counted. Their sum is the effective number of sequences. O(N^2 D) work in blocks of `chunk` rows: the memory
    beside the data is one-hot rows, ``(N, 20 D)``, and blocks of ``(chunk, N)``.

    Args:
        x: codes ``(N, D)``; the last of `num_letters` is the gap.
        identity: t.
        num_letters: letters and gap.
        chunk: rows at a time.

    Returns:
        ``(N,)`` float64.

    Reference: A. Riesselman, J. Ingraham and D. Marks, *Deep generative models of genetic variation capture the effects
    of mutations*, 2018, https://doi.org/10.1038/s41592-018-0138-4.

    Example:
        >>> identity_weights(torch.tensor([[0, 1, 2], [0, 1, 2], [3, 4, 5]]))
        tensor([0.5000, 0.5000, 1.0000], dtype=torch.float64)
    """
    if not 0 < identity <= 1:
        raise ValueError(f"`identity`: expected a share above 0 and at most 1, got {identity}")
    size, letters = len(x), num_letters - 1
    one_hot = torch.nn.functional.one_hot(x.long(), num_letters)[..., :letters].reshape(size, -1).to(torch.float32)
    lengths = (x < letters).sum(1)
    # a hair below: counts are whole numbers, and 0.8 x 5 is not 4 in floating point
    needed = lengths.double() * identity + 1e-9
    if identity == 1:
        needed = lengths.double() - 0.5
    neighbours = torch.zeros(size, dtype=torch.float64)
    for start in range(0, size, chunk):
        stop = min(start + chunk, size)
        agree = one_hot[start:stop] @ one_hot[start:].T  # the other half is its mirror image
        neighbours[start:stop] += (agree > needed[start:stop, None]).sum(1)
        neighbours[stop:] += (agree[:, stop - start :] > needed[stop:]).sum(0)
    return 1.0 / neighbours.clamp_min(1.0)


def henikoff_weights(x: Tensor, num_letters: int = 21) -> Tensor:
    r"""Position-based weights: a sequence counts for the rareness of its letters (the gap is one of them).

    .. math:: w_n \propto \sum_d \frac1{r_d \, s_d(x_{nd})},

    with :math:`r_d` different letters in column d and :math:`s_d(a)` sequences that have `a` there; scaled to mean 1.

    Args:
        x: codes ``(N, D)``.
        num_letters: letters and gap.

    Returns:
        ``(N,)`` float64.

    Reference: S. Henikoff and J. Henikoff, *Position-based sequence weights*, 1994,
    https://doi.org/10.1016/0022-2836(94)90032-9.

    Example:
        >>> henikoff_weights(torch.tensor([[0], [0], [1]]))
        tensor([0.7500, 0.7500, 1.5000], dtype=torch.float64)
    """
    codes = x.long()
    counts = torch.zeros(x.shape[1], num_letters, dtype=torch.float64)
    counts.T.scatter_add_(0, codes, torch.ones(codes.shape, dtype=torch.float64))
    different = (counts > 0).sum(1)
    share = 1.0 / (different[:, None] * counts.clamp_min(1.0))
    weights = share.T.gather(0, codes).sum(1)
    return weights * (len(x) / weights.sum())
