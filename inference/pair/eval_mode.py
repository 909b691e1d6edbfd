"""A fitted pair made ready to be run: no gradients, evaluation mode, its own number type, device and seed."""

from __future__ import annotations

__all__ = ["evaluation_mode"]

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from .bound_pair import BoundPair
from .program_errors import explained


@contextmanager
def evaluation_mode(program: BoundPair, seed: int) -> Iterator[torch.device]:
    """Run what is inside with the pair as it was fitted, drawing from `seed`; leave everything as it was.

    Densities whose terms cancel are evaluated in float64.

    Yields:
        The device of the pair's parameters (the default device if it has none).
    """
    tensors = [*program.parameters(), *program.buffers()]
    floating = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
    device = tensors[0].device if tensors else torch.get_default_device()
    modes = {module: module.training for module in program.modules()}
    exacting = program.exacting
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        devices = [device.index or 0] if device.type == "cuda" else []
        stack.enter_context(torch.random.fork_rng(devices=devices))
        torch.manual_seed(seed)
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.device(device))
        try:
            program.eval()
            program.exacting = True
            if floating:
                torch.set_default_dtype(floating[0])
            with explained():
                yield device
        finally:
            program.exacting = exacting
            torch.set_default_dtype(dtype)
            for module, training in modes.items():
                module.training = training
