"""What tests of samplers share: a small regression, runs that are killed and go on, errors of means of chains."""

from __future__ import annotations

__all__ = ["killed_and_resumed", "mean_errors", "regression"]

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jensen.inference import Fit


def regression() -> dict[str, torch.Tensor]:
    """Thirty rows with two inputs."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 2, generator=generator)
    return {"x": x, "y": x @ torch.tensor([1.0, -2.0]) + 0.5 * torch.randn(30, generator=generator)}


class _Killed(Exception):
    pass


def killed_and_resumed(method: Any, model: Any, data: Any, folder: Path, steps: Sequence[int]) -> Fit:
    """A fit of seed 1 that is killed at each of these steps, and goes on from its checkpoint each time."""
    for step in steps:

        def kill(progress: Any, step: int = step) -> None:
            if progress.step >= step:
                raise _Killed

        with pytest.raises(_Killed):
            method.fit(model, data, seed=1, checkpoint=folder, callbacks=[kill])
    found: Fit = method.fit(model, data, seed=1, checkpoint=folder)
    return found


def mean_errors(found: np.ndarray, mean: Any, chains: int) -> np.ndarray:
    """Of means of draws ``(chains n, D)``, in their own standard errors."""
    import arviz

    shaped = found.reshape(chains, -1, found.shape[-1])
    sizes = np.asarray(arviz.ess(arviz.dict_to_dataset({"x": shaped}), method="mean")["x"])
    errors: np.ndarray = (found.mean(0) - mean) / (found.std(0) / np.sqrt(sizes))
    return errors
