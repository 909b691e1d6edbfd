"""Runs of a program that go on where a fit would stop: what was sampled until it ended, or broke, and where."""

from __future__ import annotations

__all__ = ["Give", "Run", "accepted", "moved_parameters", "run"]

import inspect
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.params.param_store import ParamStoreDict
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import nn

from ..tensors import Batch, Tensors
from .bound_pair import BoundPair
from .densities.site_densities import known_log_prob
from .findings.improper import FeasibleValue
from .findings.pair_sites import is_ignored

_LIBRARIES = ("site-packages", "<string>", "/contextlib.py", "/functools.py")
_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = tuple(f"{_ROOT / name}/" for name in ("models", "inference", "studies", "datasets"))


@dataclass
class Run:
    """What one run of a program recorded.

    Attributes:
        sites: Pyro's messages of the sample statements, by name, in order.
        params: those of `pyro.param` statements.
        plates: name -> (size, rows in use) of every plate that draws indices.
        repeated, repeated_plates: names sampled, and plates declared, more than once.
        error: what the program raised, or None; `last` is the last site it reached, `line` its own line.
    """

    sites: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    plates: dict[str, tuple[int, int]] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    repeated_plates: list[str] = field(default_factory=list)
    error: Exception | None = None
    last: str | None = None
    line: str = ""

    @property
    def complete(self) -> bool:
        return self.error is None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(site["value"].shape) for name, site in self.sites.items()}

    @property
    def draws(self) -> Tensors:
        """The values of the sites that are not observed."""
        return {name: site["value"] for name, site in self.sites.items() if not site["is_observed"]}

    def log_probs(self) -> Tensors:
        """The log densities of the sites that have one at their value."""
        found = {name: known_log_prob(site) for name, site in self.sites.items()}
        return {name: term for name, term in found.items() if term is not None}


class _Record(Messenger):
    def __init__(self, record: Run) -> None:
        super().__init__()
        self.record = record

    def _pyro_sample(self, msg: Any) -> None:
        if not is_ignored(msg):
            self.record.last = msg["name"]

    def _pyro_post_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], _Subsample):
            if msg["name"] in self.record.plates:
                self.record.repeated_plates.append(msg["name"])
            rows = len(msg["value"]) if isinstance(msg["value"], torch.Tensor) else msg["fn"].size
            self.record.plates[msg["name"]] = (int(msg["fn"].size), rows)
        elif not is_ignored(msg):
            if msg["name"] in self.record.sites:
                self.record.repeated.append(msg["name"])
            self.record.sites[msg["name"]] = msg.copy()

    def _pyro_post_param(self, msg: Any) -> None:
        if isinstance(getattr(msg["fn"], "__self__", None), ParamStoreDict):
            self.record.params[msg["name"]] = msg.copy()


class Give(Messenger):
    """Give latents known values. Unless `force` is set, only where shape and support allow it."""

    def __init__(self, values: Batch, force: bool = False) -> None:
        super().__init__()
        self.values, self.force = values, force

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            value = self.values[msg["name"]]
            if tuple(value.shape) == tuple(msg["fn"].shape()) and (self.force or _inside(msg["fn"], value)):
                msg["value"], msg["done"] = value, True


def _inside(fn: Any, value: torch.Tensor) -> bool:
    try:
        return bool(fn.support.check(value).all())
    except (NotImplementedError, RuntimeError, ValueError):
        return True


def run(
    program: BoundPair,
    function: Callable[..., Any],
    batch: Batch,
    *,
    seed: int = 0,
    values: Batch | None = None,
    force: bool = False,
    validate: bool = False,
    grad: bool = False,
    handler: Messenger | None = None,
) -> Run:
    """Run a model or a guide and record it, whatever it raises.

    Args:
        program: the pair that `function` is part of.
        function: its model or guide.
        batch: data; arguments that the function does not take are left out.
        seed: of its draws.
        values: latents to give instead of drawing them; `force` gives them also outside the support.
        validate: run with Pyro's checks of arguments and plates.
        grad: keep the graph for gradients.
        handler: one more effect handler around the run.
    """
    record = Run()
    hide = poutine.block(hide_fn=lambda msg: msg["type"] == "sample")
    with (
        torch.random.fork_rng(devices=[]),
        program.environment(),
        pyro.validation_enabled(validate),
        torch.set_grad_enabled(grad),
        warnings.catch_warnings(),
        hide,
        _Record(record),
        FeasibleValue(),
        Give(values or {}, force),
        handler if handler is not None else Messenger(),
    ):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        try:
            function(**accepted(function, batch))
        except Exception as error:  # whatever the user's program raises is a finding
            record.error, record.line = error, _line(error)
    return record


@contextmanager
def moved_parameters(program: BoundPair, size: float = 1e-2, seed: int = 0) -> Iterator[None]:
    """Inside, the trainable parameters are `size` standard normals off their start, which is restored."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [p for p in program.parameters() if p.requires_grad]
    kept = [p.detach().clone() for p in parameters]
    try:
        with torch.no_grad():
            for p in parameters:
                p.add_(size * torch.randn(p.shape, generator=generator, dtype=p.dtype, device="cpu").to(p.device))
        yield
    finally:
        with torch.no_grad():
            for p, value in zip(parameters, kept, strict=True):
                p.copy_(value)


def accepted(function: Callable[..., Any], batch: Batch) -> Tensors:
    """The part of the batch that the function takes."""
    try:
        parameters = inspect.signature(function.forward if isinstance(function, nn.Module) else function).parameters
    except (TypeError, ValueError):
        return dict(batch)
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(batch)
    return {name: value for name, value in batch.items() if name in parameters}


def _line(error: Exception) -> str:
    """The file and line of the user's own code where it was raised, or ``""``."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = frame.filename
        if not path.startswith(_PACKAGES) and not any(part in path for part in _LIBRARIES):
            return f"{Path(path).name}:{frame.lineno}"
    return ""
