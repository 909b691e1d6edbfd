"""Data-parallel fits under `torchrun`: who shares the batch, if anyone does."""

from __future__ import annotations

import os
from typing import Any

import torch

from .step.shard import Shard

__all__ = ["current_shard"]


def current_shard(device: Any) -> Shard | None:
    """The process's place among those that `torchrun` started, or None for an ordinary process.

    The process group is opened if need be: NCCL on CUDA (one device per local rank), gloo on the CPU.
    """
    import torch.distributed as dist

    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or not dist.is_available():
        return None
    if not dist.is_initialized():
        use_cuda = torch.cuda.is_available() and str(device) != "cpu"
        if use_cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if use_cuda else "gloo")
    return Shard(dist.get_rank(), dist.get_world_size())
