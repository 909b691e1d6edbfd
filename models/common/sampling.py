"""Draws from a Pyro program: any number of data, repeatable, in the dtype and on the device of its tensors."""

from __future__ import annotations

__all__ = ["DataSize", "default_device_and_dtype", "draw_data", "seeded"]

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import ImproperUniform
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor


@contextlib.contextmanager
def default_device_and_dtype(batch: Mapping[str, Any], parameters: Iterable[Tensor] = ()) -> Iterator[None]:
    """Run under the device and the default floating dtype of the batch and parameters (first floating tensor wins)."""
    tensors = [value for value in (*batch.values(), *parameters) if isinstance(value, Tensor)]
    floating = next((tensor for tensor in tensors if tensor.is_floating_point()), None)
    previous = torch.get_default_dtype()
    device = tensors[0].device if tensors else torch.get_default_device()
    try:
        if floating is not None and floating.dtype in (torch.float32, torch.float64):
            torch.set_default_dtype(floating.dtype)
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(previous)


@contextlib.contextmanager
def seeded(seed: int | None, devices: Iterable[int] | None = None) -> Iterator[None]:
    """Draws inside are repeatable and leave the caller's random state as it was; with None, nothing is changed."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


class DataSize(Messenger):
    """Gives the plate ``"data"`` the number of rows to draw, whatever size the program asked for."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self.num = num

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] == "data" and site_is_subsample(msg):
            msg["value"] = torch.arange(self.num)
            msg["done"] = True


class _Proper(Messenger):
    """Raises a `ValueError` at a latent with an improper prior, from which nothing can be drawn."""

    def _pyro_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], ImproperUniform) and msg["value"] is None:
            raise ValueError(
                f"`{msg['name']}` has an improper prior (ImproperUniform), from which nothing can be drawn. Give it a "
                f"proper one, or draw from a fit."
            )


def draw_data(
    program: Callable[..., Any],
    num: int,
    inputs: Mapping[str, Tensor],
    parameters: Iterable[Tensor] = (),
    *,
    seed: int | None = None,
) -> dict[str, Tensor]:
    """Run `program` once with `num` rows in its plate ``"data"``; sampled and observed sites by name."""
    devices = sorted({t.device.index or 0 for t in inputs.values() if t.is_cuda})
    default = default_device_and_dtype(inputs, parameters)
    with seeded(seed, devices), torch.no_grad(), default, poutine.block(), DataSize(num), _Proper():
        trace = poutine.trace(program).get_trace(**inputs)
    sites: dict[str, Any] = {name: site for name, site in trace.nodes.items() if site["type"] == "sample"}
    return {name: site["value"].detach() for name, site in sites.items() if not site_is_subsample(site)}
