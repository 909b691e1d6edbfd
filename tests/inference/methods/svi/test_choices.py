"""How `compile="auto"` chooses: from the graph and the number of steps alone, so that a resumed fit chooses alike."""

from __future__ import annotations

import pytest
import torch

from jensen.inference.step.compile.choice import block_steps, choose_backend, choose_capture, is_tiny
from jensen.inference.step.compile.cost import Cost

SMALL = Cost(operations=95, flops=7e4, elements=5e3)  # a logistic regression on 569 x 30
LARGE = Cost(operations=360, flops=3e8, elements=5e6)  # a VAE on batches of 128 images


def test_a_short_fit_is_not_compiled_and_a_long_one_is() -> None:
    cpu = torch.device("cpu")
    assert choose_backend(SMALL, 2_000, cpu) == "trace"
    assert choose_backend(SMALL, 1_000_000, cpu) == "inductor"
    assert choose_backend(LARGE, 20_000, cpu) == "inductor"
    assert choose_backend(SMALL, 2_000, torch.device("cuda")) == "cudagraph"


@pytest.mark.parametrize(("run", "length"), [(None, 20), (390, 15), (12, 12), (1, 1)])
def test_blocks_fit_the_epoch(run: int | None, length: int) -> None:
    assert choose_capture(SMALL, 10_000, run) == length


def test_large_steps_are_not_fused_and_keep_their_threads() -> None:
    assert choose_capture(LARGE, 10_000) == 1
    assert is_tiny(SMALL)
    assert not is_tiny(LARGE)


def test_calls_of_tiny_steps_hold_many_and_fit_the_cache() -> None:
    assert block_steps(SMALL, [torch.empty(30)]) == 100
    assert block_steps(SMALL, [torch.empty(256, 100, dtype=torch.float32)]) == 20
    assert block_steps(SMALL, [torch.empty(1 << 20)]) == 1
    assert block_steps(LARGE, [torch.empty(30)]) == 1
