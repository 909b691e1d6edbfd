"""Data-parallel fits under `torchrun`: who shares the batch, if anyone does, and what they must agree on."""

from __future__ import annotations

__all__ = ["ShardPeers", "current_shard", "synchronise"]

import atexit
import os
from typing import Any

import torch

from ..run.peers import Peers
from .shard import Shard


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
        atexit.register(_close)
    return Shard(dist.get_rank(), dist.get_world_size())


class ShardPeers(Peers):
    """The processes of a data-parallel run.

    Args:
        shard: this process's part.
        device: where what they exchange lies.
    """

    alone = False

    def __init__(self, shard: Shard, device: torch.device) -> None:
        self.leader, self.device = shard.rank == 0, device

    def agree(self, answer: int) -> int:
        import torch.distributed as dist

        answers = torch.tensor([answer], device=self.device)
        dist.all_reduce(answers, dist.ReduceOp.MAX)
        return int(answers[0])

    def share(self, value: Any) -> Any:
        import torch.distributed as dist

        values = [value]
        dist.broadcast_object_list(values, src=0, device=self.device)
        return values[0]


def synchronise(shard: Shard | None, module: torch.nn.Module) -> None:
    """Give every process the first one's parameters and buffers, wherever their random starts came from."""
    if shard is None:
        return
    import torch.distributed as dist

    for tensor in (*module.parameters(), *module.buffers()):
        dist.broadcast(tensor.data, src=0)


def _close() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
