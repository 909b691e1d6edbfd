"""Stochastic minimisation of a loss of the model's own: for models that bound no evidence."""

from __future__ import annotations

__all__ = ["LossMinimization"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch

from jensen.models.protocols import HasFinish, HasLoss, HasValidationLoss

from ..data.base import MemoryData
from ..data.sampler import BatchSampler
from ..errors import ModelError, NonFiniteError
from ..options import check_positive, check_whole
from ..pair.program import Program
from ..run.algorithm import Algorithm, FitParts, Snapshot
from ..run.checkpoint_check import check_tensors
from ..run.initialize import start_model
from ..seeding import derive_seed
from ..tensors import Tensors
from .base import Method


@dataclass(frozen=True)
class LossMinimization(Method):
    r"""Fit a model by stochastic gradient descent on the loss that it defines.

    .. math:: \theta_{t+1} = \mathrm{Adam}\big(\theta_t, \nabla_\theta \ell(\theta_t; \text{batch}_t)\big)

    The model has ``losses(**batch) -> {"loss": scalar, other columns}``, means over the batch, and may have
    ``validation_losses(**batch)``, the same for any number of data. **A loss is no bound**: the history has a column
    ``loss`` and none of bounds, and evidences of such a fit are errors. Batch and draws of a step are functions of
    (seed, step), so a fit that was killed and resumed ends as one that was not.

    Args:
        steps: number of parameter updates.
        lr: learning rate.
        batch_size: data per step, without replacement within an epoch; None for all data.
        log_every: steps between rows of the history.
        checkpoint_every: steps between checkpoints.
        device: ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, ….
        dtype: floating-point type of parameters and data; torch's default one if None.
        progress: show a progress bar; None shows it on terminals.

    Raises:
        ConfigurationError: for any value that cannot work, at construction.

    Example:
        >>> LossMinimization(steps=1_000, batch_size=128).lr
        0.001
    """

    steps: int = 5_000
    lr: float = 1e-3
    batch_size: int | None = None
    log_every: int = 100
    checkpoint_every: int = 1_000
    device: str | torch.device = "auto"
    dtype: torch.dtype | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size is not None:
            check_whole("batch_size", self.batch_size)
        check_positive("lr", self.lr)

    def check_model(self, model: Any) -> None:
        if not isinstance(model, HasLoss):
            raise ModelError(
                f"LossMinimization needs a model with a loss of its own, `losses(**batch)`, which "
                f"`{type(model).__name__}` lacks. Use SVI."
            )

    def begin(self, model: Any, train: MemoryData, validation: Tensors | None, seed: int) -> Algorithm:
        own = self.copied(model)
        start_model(own, train.batch(), derive_seed(seed, "start"))
        return _Descent(self, own, train, validation, seed)


class _Descent(Algorithm):
    """Adam on the model's own loss, a batch a step."""

    def __init__(
        self, method: LossMinimization, model: Any, data: MemoryData, validation: Tensors | None, seed: int
    ) -> None:
        self.model, self.data, self.validation, self.seed = model, data, validation, seed
        self.program = Program(model)
        self.sampler = BatchSampler(data.size, method.batch_size or data.size, seed)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=method.lr)
        self._losses: list[Tensors] = []  # of the steps since the last row

    def start(self) -> None:
        self.program.train()

    def advance(self, step: int, most: int) -> int:
        torch.manual_seed(derive_seed(self.seed, "step", step))
        batch = self.data.batch(self.sampler.indices(step))
        losses = _unchecked(self.model.losses, batch) if step else self.model.losses(**batch)
        self.optimizer.zero_grad()
        losses["loss"].backward()
        self.optimizer.step()
        self._losses.append({name: value.detach() for name, value in losses.items()})
        return 1

    def row(self, step: int) -> dict[str, Any]:
        names = list(self._losses[0])
        row = {name: float(torch.stack([each[name] for each in self._losses]).double().mean()) for name in names}
        self._losses = []
        if not math.isfinite(row["loss"]):
            raise NonFiniteError(f"The loss is {row['loss']} by step {step}. Lower `lr`, or standardise the data.")
        if self.validation is not None:
            self.program.eval()
            model = self.model
            score = model.validation_losses if isinstance(model, HasValidationLoss) else model.losses
            with torch.no_grad():
                held_out = _unchecked(score, self.validation)
            self.program.train()
            row |= {f"validation_{name}": float(value) for name, value in held_out.items()}
        return row

    def state(self) -> Snapshot:
        tensors = {f"program.{name}": value for name, value in self.program.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in values.items()}
        for name in self._losses[0] if self._losses else ():
            tensors[f"pending.{name}"] = torch.stack([each[name] for each in self._losses])
        return Snapshot(tensors)

    def check(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        program, state, _ = _parts(snapshot)
        check_tensors(program, self.program.state_dict())
        for index, entries in state.items():
            like = self.parameters[index]
            step = torch.zeros((), dtype=entries["step"].dtype)
            check_tensors(entries, {"step": step, "exp_avg": like, "exp_avg_sq": like})

    def load(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        program, state, pending = _parts(snapshot)
        self.program.load_state_dict(program)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        columns = [[(name, value) for value in values] for name, values in pending.items()]
        self._losses = [dict(step) for step in zip(*columns, strict=True)]

    def finish(self, status: str) -> FitParts:
        self.program.eval()
        if isinstance(self.model, HasFinish):
            self.model.finish(self.data.batch())
        return FitParts(self.program)


def _unchecked(losses: Callable[..., Tensors], batch: Tensors) -> Tensors:
    """`losses` without Pyro's checks, which read from the device, and stop a fit that diverges with their words."""
    with pyro.validation_enabled(False):
        return losses(**batch)


def _parts(snapshot: Snapshot) -> tuple[Tensors, dict[int, Tensors], Tensors]:
    """The pair's tensors by name, the optimiser's by parameter and entry, and the losses that no row covers yet."""
    parts: dict[str, Tensors] = {"program": {}, "pending": {}}
    state: dict[int, Tensors] = {}
    for path, value in snapshot.tensors.items():
        kind, _, name = path.partition(".")
        if kind == "optimizer":
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        else:
            parts[kind][name] = value
    return parts["program"], state, parts["pending"]
