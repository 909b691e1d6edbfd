"""Models built under a seed: their networks start at the same weights whenever the same seed is given."""

from __future__ import annotations

__all__ = ["seeded"]

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What is drawn inside, by torch, NumPy or Python, is a function of `seed`; the caller's random state is put back.

    A method's own `seed` decides what happens during a fit. The first weights of a network are drawn when the model is
    built, before any method sees it: a study and the command line build their models in here.

    Args:
        seed: any integer.

    Example:
        >>> with seeded(3):
        ...     first = torch.nn.Linear(2, 2).weight
        >>> with seeded(3):
        ...     second = torch.nn.Linear(2, 2).weight
        >>> torch.equal(first, second)
        True
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    states = random.getstate(), np.random.get_state()  # noqa: NPY002  # what a factory that knows no generator draws by
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
