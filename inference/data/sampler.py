"""Mini-batches by counter: which data a step sees is a pure function of (seed, step)."""

from __future__ import annotations

__all__ = ["BatchSampler", "check_batch_size"]


import operator

import torch

from ..errors import DataError
from ..options import check_count
from ..seeding import derive_seed


def check_batch_size(batch_size: int, size: int) -> int:
    """Return `batch_size` as an integer.

    Raises:
        ConfigurationError: if it is not a positive integer.
        DataError: if it is larger than the number `size` of data.
    """
    number = check_count("batch_size", batch_size)
    if number > size:
        raise DataError(
            f"`batch_size` is {number}, more than the {size} data. Pass a smaller one, or None for the full batch."
        )
    return number


class BatchSampler:
    r"""Sample mini-batches without replacement, one random permutation of the data per epoch.

    .. math:: \text{batch}(t) = \pi_e[jB : jB + B], \qquad e = \lfloor t / S \rfloor, \quad j = t \bmod S,
       \quad S = \lceil N / B \rceil,

    where the permutation of epoch `e` is drawn from a generator seeded with ``derive_seed(seed, "epoch", e)``. Nothing
    is carried from step to step: a run resumed at any step sees the batches it would have seen.

    Args:
        size: `N`, the number of data.
        batch_size: `B`, at most `N`.
        seed: the run's seed.
        drop_last: leave out the ragged last batch of each epoch (S is then ``N // B``). By default it is kept, with
            its ``N % B`` data.

    Raises:
        ConfigurationError: if `batch_size` is not a positive integer.
        DataError: if `size` is zero, or `batch_size` is larger than `size`.

    Example:
        >>> sampler = BatchSampler(size=10, batch_size=4, seed=0)
        >>> [len(sampler.indices(step)) for step in range(4)]
        [4, 4, 2, 4]
        >>> sampler.indices_block(0, 2).shape
        torch.Size([2, 4])
    """

    def __init__(self, size: int, batch_size: int, seed: int, drop_last: bool = False) -> None:
        self.size = operator.index(size)
        if self.size < 1:
            raise DataError(f"The data are empty: `size` must be at least 1, got {size}.")
        self.batch_size = check_batch_size(batch_size, self.size)
        self.seed = int(seed)
        self.drop_last = bool(drop_last)
        self._cached: tuple[int, torch.Tensor] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """`S`, the number of batches in an epoch, the ragged one included unless it is dropped."""
        return self.size // self.batch_size if self.drop_last else -(-self.size // self.batch_size)

    @property
    def ragged_size(self) -> int:
        """Number of data in the last batch of an epoch (`B` when nothing is left over)."""
        return self.batch_size if self.drop_last else (self.size - 1) % self.batch_size + 1

    def permutation(self, epoch: int) -> torch.Tensor:
        """The order of the data in `epoch`: ``(N,)`` int64, on the CPU. Kept until another epoch is asked for."""
        if self._cached is None or self._cached[0] != epoch:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "epoch", epoch))
            narrow = torch.int32 if self.size < 2**31 else torch.int64  # int32 is drawn about twice as fast
            order = torch.randperm(self.size, generator=generator, dtype=narrow, device="cpu").long()
            self._cached = (epoch, order)
        return self._cached[1]

    def indices(self, step: int) -> torch.Tensor:
        """The data of `step` (counted from 0): int64, ``(B,)``, or shorter for a ragged last batch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        return self.permutation(epoch)[start : start + self.batch_size]

    def sizes(self, start: int, n: int) -> torch.Tensor:
        """How many data each of the steps ``start, …, start + n - 1`` sees: int64 ``(n,)``."""
        last = torch.arange(start, start + n) % self.steps_per_epoch == self.steps_per_epoch - 1
        return torch.where(last, self.ragged_size, self.batch_size)

    def run_length(self, start: int, limit: int) -> int:
        """How many steps from `start` on, at most `limit`, have batches of one size: a block to fetch at once.

        A ragged batch is a run of its own.
        """
        if self.ragged_size == self.batch_size:
            return limit
        before_ragged = self.steps_per_epoch - 1 - start % self.steps_per_epoch
        return min(limit, max(before_ragged, 1))

    def indices_block(self, start: int, n: int) -> torch.Tensor:
        """The data of `n` steps of equal size, from `start` on: int64 ``(n, B)``; a view of one epoch where it can be.

        Raises:
            ValueError: if the steps' sizes differ (see :meth:`run_length`).
        """
        if n > self.run_length(start, n):
            raise ValueError(
                f"`n` = {n} steps from step {start} run over a ragged batch of {self.ragged_size}; ask for "
                f"{self.run_length(start, n)} steps."
            )
        rows: list[torch.Tensor] = []
        step, stop = start, start + n
        while step < stop:
            epoch, position = divmod(step, self.steps_per_epoch)
            count = min(stop - step, self.steps_per_epoch - position)
            begin = position * self.batch_size
            part = self.permutation(epoch)[begin : begin + count * self.batch_size]
            rows.append(part.view(count, -1))
            step += count
        if not rows:
            return torch.empty(0, self.batch_size, dtype=torch.int64, device="cpu")
        return rows[0] if len(rows) == 1 else torch.cat(rows)
