"""Stochastic minimisation of a loss of the model's own: for models that bound no evidence."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ..data.data import MemoryData, as_data
from ..devices import resolve_device, run_on
from ..errors import DataError, ModelError
from ..options import check_callbacks, check_dtype, check_positive, check_seed, check_whole, plain
from ..pair.signature import refuse_class
from ..run.initialize import start_model
from ..run.progress import Callback
from ..seeding import derive_seed
from ..storage.folders import as_path, no_empty_folder
from .loss_run import LossRun
from .svi.snapshot import run_identity

if TYPE_CHECKING:
    from ..fit.fit import Fit

__all__ = ["LossMinimization"]


@dataclass(frozen=True)
class LossMinimization:
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

    _NOT_IDENTITY: ClassVar = ("device", "checkpoint_every", "progress")

    def __post_init__(self) -> None:
        for name in ("steps", "log_every", "checkpoint_every"):
            check_whole(name, getattr(self, name))
        if self.batch_size is not None:
            check_whole("batch_size", self.batch_size)
        check_positive("lr", self.lr)
        check_dtype(self.dtype)
        resolve_device(self.device)

    def fit(
        self,
        model: Any,
        data: Any,
        *,
        seed: int = 0,
        validation: Any = None,
        checkpoint: str | Path | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Fit:
        """Fit a copy of `model` to `data`, which are held in memory.

        Args:
            model: a model with `losses`; it is not changed. One that comes from a fit goes on from its parameters.
            data: a tensor, array, DataFrame, a dict of them or a `Dataset`, ``(N, …)`` each.
            seed: determines the start, the batches and the draws.
            validation: data of the same kind, never trained on: their losses are logged as ``validation_…``.
            checkpoint: folder for the run's state, and its rows as ``history.csv``. A run that finds its own earlier
                state goes on from it; a finished one is returned at once.
            callbacks: called with a `Progress` at every logging interval; one that returns True stops the fit.

        Raises:
            ModelError: if the model has no loss of its own.
            DataError: if the data cannot be used.
            NonFiniteError: if the loss stops being finite.
            CheckpointError: if `checkpoint` cannot be written, or holds another run.
        """
        check_seed(seed)
        functions = check_callbacks(callbacks)
        refuse_class(model)
        if not callable(getattr(model, "losses", None)):
            raise ModelError(
                f"LossMinimization needs a model with a loss of its own, `losses(**batch)`, which "
                f"`{type(model).__name__}` lacks. Use SVI."
            )
        place = None if checkpoint is None else as_path("checkpoint", checkpoint)
        device, dtype = resolve_device(self.device), self.dtype or torch.get_default_dtype()
        with no_empty_folder(place), run_on(device, dtype):
            train = as_data(model, data, dtype=dtype, device=device)
            if not isinstance(train, MemoryData):
                raise DataError("`data` must be in memory for LossMinimization, got a stream. Pass its tensors.")
            held_out = None
            if validation is not None:
                held_out = as_data(model, validation, dtype=dtype, device=device).batch()
            own = copy.deepcopy(model).to(device=device, dtype=dtype)
            torch.manual_seed(derive_seed(seed, "start"))
            start_model(own, train.batch(), derive_seed(seed, "start"))
            run = LossRun(self, own, train, held_out, seed)
            if place is not None:
                state = run.program.state_dict()
                identity = run_identity(self.configuration(), model, train, held_out, seed, state)
                run.keep_in(place, identity)
            run.train(functions)
            return run.as_fit()

    def configuration(self) -> dict[str, Any]:
        """Everything that determines the fit, as plain values."""
        names = [field.name for field in fields(self) if field.name not in self._NOT_IDENTITY]
        return {"method": "LossMinimization", **{name: plain(getattr(self, name)) for name in names}}
