"""Whether a pair has networks in it."""

from __future__ import annotations

__all__ = ["has_networks"]

import torch

from ...pair.program import Program


def has_networks(program: Program) -> bool:
    """Whether layers of `torch.nn` that have weights are part of the pair."""
    kinds = {
        kind
        for module in program.modules()
        if list(module.parameters(recurse=False))
        for kind in type(module).__mro__[:-1]
    }
    return any(kind.__module__.startswith("torch.nn.modules.") and kind is not torch.nn.Module for kind in kinds)
