"""Devices and number types: names resolved, and a fit run under its own without touching the caller's."""

from __future__ import annotations

__all__ = ["exact_dtype", "resolve_device", "run_on", "threads"]

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from .errors import ConfigurationError, nearest


def resolve_device(device: str | torch.device) -> torch.device:
    """``"auto"`` is CUDA where there is one, else the CPU.

    Raises:
        ConfigurationError: for a name that is no device (with the nearest one), or a device that is absent.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        names = ("auto", "cpu", "cuda", "mps")
        raise ConfigurationError(
            f"`device` must be one of {', '.join(names)}, or a torch device, got {device!r}.{nearest(device, names)}"
        ) from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            f'`device` is {str(device)!r}, but torch sees no CUDA device here. Use device="auto" or "cpu", or '
            f"install a CUDA build of torch and check `nvidia-smi`."
        )
    if resolved.type == "cuda" and resolved.index is not None and resolved.index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ConfigurationError(f"`device` is {str(device)!r}, but there are {count} CUDA devices.")
    if resolved.type not in ("cpu", "cuda"):
        try:
            torch.empty(1, device=resolved).add(1.0).cpu()
        except Exception as error:
            raise ConfigurationError(
                f"`device` is {str(device)!r}, which torch cannot use here ({str(error).splitlines()[0]}). "
                f'Use device="auto" or "cpu".'
            ) from error
    return resolved


def exact_dtype(device: torch.device) -> torch.dtype:
    """What closed forms compute in unless they are told: float64, or float32 on a device that has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


@contextmanager
def run_on(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Inside, tensors are made on `device` with `dtype` by default; the caller's generators and defaults are kept."""
    previous = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        if device.type != torch.get_default_device().type:
            stack.enter_context(torch.device(device))
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(previous)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Use `count` CPU threads inside; None changes nothing."""
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
