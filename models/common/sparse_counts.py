"""Matrices of counts by their nonzero entries, and the two products that topic models need."""

from __future__ import annotations

__all__ = ["SparseCounts", "dense"]

import functools
import warnings
from typing import Any

import torch
from torch import Tensor


def dense(x: Any) -> Any:
    """A scipy sparse matrix or array as a dense array, a sparse tensor as a dense one; anything else as it is."""
    if isinstance(x, Tensor):
        return x if x.layout == torch.strided else x.to_dense()
    return x.toarray() if hasattr(x, "toarray") else x


class SparseCounts:
    r"""The nonzero entries of ``(N, V)`` counts, row by row.

    A document has a few hundred of a vocabulary's tens of thousands of words: with :math:`P` nonzero counts, the
    products below take time :math:`O(P K)` and memory :math:`O(P)`, where dense ones take :math:`O(N V K)`.

    Args:
        x: counts, ``(N, V)``, dense.
        fast: use torch's sparse matrices where it can multiply them; else gather, with memory O(P K).

    Attributes:
        values: the counts, ``(P,)``; rows, columns: where they stand, ``(P,)``.
    """

    def __init__(self, x: Tensor, fast: bool = True) -> None:
        rows, columns = x.nonzero(as_tuple=True)
        self._set(x.shape, rows, columns, x[rows, columns], fast and (x.is_cuda or torch.backends.mkl.is_available()))

    def _set(self, shape: tuple[int, ...], rows: Tensor, columns: Tensor, values: Tensor, fast: bool) -> None:
        self.shape, self.rows, self.columns, self.values, self.fast = shape, rows, columns, values, fast
        ends = torch.bincount(rows, minlength=shape[0]).cumsum(0)
        self.starts = torch.cat([ends.new_zeros(1), ends])

    def of_rows(self, chosen: Tensor) -> SparseCounts:
        """The entries of some rows.

        Args:
            chosen: which, booleans ``(N,)``.
        """
        kept = chosen[self.rows]
        numbers = chosen.cumsum(0) - 1
        some = SparseCounts.__new__(SparseCounts)
        shape = (int(numbers[-1]) + 1, self.shape[1])
        some._set(shape, numbers[self.rows[kept]], self.columns[kept], self.values[kept], self.fast)
        return some

    @functools.cached_property
    def totals(self) -> Tensor:
        """Words of each document, ``(N,)``."""
        return self.values.new_zeros(self.shape[0]).index_add(0, self.rows, self.values)

    def fingerprint(self) -> Tensor:
        """A whole number above 0 by which other counts are told apart, ``()``; the same on every device."""
        mixed = self.rows * self.shape[1] + self.columns + 1
        for part in (self.values.float().view(torch.int32).long(), self.shape[0], self.shape[1]):
            mixed = (mixed + part) * 0x27BB2EE687B0B0FD  # wraps around
            mixed = mixed ^ (mixed >> 29)
        return (mixed.sum() & 0x7FFFFFFFFFFFFFFF).clamp_min(1)

    @functools.cached_property
    def _order(self) -> tuple[Tensor, Tensor]:
        """The entries column by column: where each is, and where the columns start."""
        order = self.columns.argsort(stable=True)
        ends = torch.bincount(self.columns, minlength=self.shape[1]).cumsum(0)
        return order, torch.cat([ends.new_zeros(1), ends])

    def products(self, left: Tensor, right: Tensor) -> Tensor:
        """:math:`\\sum_k l_{nk} r_{kv}` at the nonzero entries: ``(N, K), (K, V) -> (P,)``."""
        if not self.fast:
            return torch.linalg.vecdot(left[self.rows], right.mT[self.columns])
        empty = self._csr(self.starts, self.columns, torch.zeros_like(self.values, dtype=left.dtype), self.shape)
        return torch.sparse.sampled_addmm(empty, left, right, beta=0.0).values()

    def rows_sum(self, values: Tensor, right: Tensor) -> Tensor:
        """:math:`\\sum_v a_{nv} r_{kv}` for `values` at the nonzero entries: ``(P,), (K, V) -> (N, K)``."""
        if not self.fast:
            empty = right.new_zeros(self.shape[0], len(right))
            return empty.index_add(0, self.rows, values[:, None] * right.mT[self.columns])
        return self._csr(self.starts, self.columns, values, self.shape) @ right.mT.contiguous()

    def columns_sum(self, values: Tensor, left: Tensor) -> Tensor:
        """:math:`\\sum_n a_{nv} l_{nk}` for `values` at the nonzero entries: ``(P,), (N, K) -> (K, V)``."""
        if not self.fast:
            empty = left.new_zeros(self.shape[1], left.shape[1])
            return empty.index_add(0, self.columns, values[:, None] * left[self.rows]).mT
        order, starts = self._order
        flipped = self._csr(starts, self.rows[order], values[order], self.shape[::-1])
        return (flipped @ left.contiguous()).mT

    @staticmethod
    def _csr(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
            warnings.filterwarnings("ignore", message="Sparse invariant checks")  # of torch 2.11, although they are off
            return torch.sparse_csr_tensor(starts, columns, values, tuple(shape), check_invariants=False)
