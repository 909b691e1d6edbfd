"""The pair at the start of a run: a copy of the model, started at the data, and its guide."""

from __future__ import annotations

__all__ = ["as_one_batch", "starting_pair"]

import copy
from contextlib import nullcontext
from typing import Any

import pyro
import torch

from ...data.base import Data, MemoryData
from ...data.transforms import apply_transform
from ...errors import ConfigurationError
from ...guides import GUIDES, build_guide
from ...guides.whitened import is_whitenable
from ...pair.eager_run import kept_buffers
from ...pair.function_program import FunctionProgram, counterparts, own_copy, with_modules
from ...pair.plain_state import PlainState, kept
from ...pair.program import Program
from ...pair.program_errors import explained
from ...run.initialize import start_model
from ...seeding import derive_seed
from .given_start import GivenStart
from .options import SVIOptions
from .start import start_guide

_ROWS = 4096  # of data too large for memory, what stands for them


def as_one_batch(data: Data) -> dict[str, torch.Tensor]:
    """All the data, if they are in memory; otherwise the first of them."""
    return data.batch() if isinstance(data, MemoryData) else data.head(_ROWS)


def starting_pair(
    svi: SVIOptions,
    model: Any,
    data: Data,
    first: dict[str, torch.Tensor],
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Program, Any, dict[str, Any]]:
    """The bound pair, its guide and how that was started. Neither `model` nor a guide passed as a module is changed.

    Args:
        svi: the configuration.
        model: the model, of which a copy is made.
        data: what the copy starts at, if it knows how and comes from no fit.
        first: one batch, to build the guide on.
        seed: of this start.
        device, dtype: of the parameters.
    """
    torch.manual_seed(derive_seed(seed, "start"))
    own = own_copy(model, device, dtype)
    seen: dict[str, torch.Tensor] | None = None
    if isinstance(own, torch.nn.Module):
        own.train()
        seen = apply_transform(svi.transform, model, as_one_batch(data), seed)
        start_model(own, seen, derive_seed(seed, "initialize"))
    python = PlainState({"model": own.function if isinstance(own, FunctionProgram) else own}).values
    spec = svi.guide
    if isinstance(spec, torch.nn.Module):
        spec = copy.deepcopy(spec, {id(model): own})  # what it shares with the model, it shares with the copy
    buffers = kept_buffers(own) if isinstance(own, torch.nn.Module) else nullcontext()
    with explained(), pyro.get_param_store().scope(), buffers:  # whatever happens while the guide looks at the model
        guide = build_guide(spec, own, first)
    guide = with_modules(guide, counterparts(model, own))
    if isinstance(guide, torch.nn.Module):
        guide.to(device=device, dtype=dtype)
        guide.train()
    program = Program(own, guide)
    found = PlainState(program.roots).values  # before it is run
    program.at_start = {name: found[name] for name in found if not name.startswith("model")} | python
    structure = program.structure(first)  # creates the parameters of `pyro.param` statements
    start: dict[str, Any] = {"kind": "prior"}
    stopped = any("fit" in finding.stops for finding in structure.findings)  # the caller raises them
    given, whole = isinstance(svi.start, GivenStart), isinstance(data, MemoryData)
    if stopped or not (given or whole):
        return program, guide, start
    if not is_whitenable(guide):
        if given:
            raise ConfigurationError(
                f"`start` is {svi.start!r}, which only default guides can start at "
                f"({', '.join(name for name in GUIDES if name != 'iaf')}). Give your own guide its start where it is "
                f"built, or choose `guide=`."
            )
        return program, guide, {"kind": "the guide's own"}
    if svi.start != "prior":
        if seen is None or not whole:
            seen = apply_transform(svi.transform, model, data.batch(), seed) if isinstance(data, MemoryData) else first
        buffers = kept_buffers(own) if isinstance(own, torch.nn.Module) else nullcontext()
        with buffers, kept(PlainState(program.roots).places.values()):
            start = start_guide(guide, own, seen, derive_seed(seed, "start"), svi.start, whole)
    return program, guide, start
