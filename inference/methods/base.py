"""Methods that raise a bound by whole updates in closed form: their options, and what a fit by them is."""

from __future__ import annotations

import abc
import copy
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyro
import torch

from ..data.data import Data, MemoryData, as_data
from ..devices import exact_dtype, resolve_device, run_on
from ..errors import DataError
from ..fit.fit import Fit
from ..objectives.compatibility import check_observed
from ..options import check_callbacks, check_dtype, check_positive, check_seed, check_whole, plain
from ..pair.signature import refuse_class
from ..run.progress import Callback
from ..seeding import derive_seed
from ..storage.folders import as_path, no_empty_folder
from .ascent_run import AscentRun, Updates
from .svi.snapshot import run_identity

__all__ = ["Ascent"]


@dataclass(frozen=True)
class Ascent(abc.ABC):
    """Update until the bound per datum rises by less than `tolerance`. Abstract; see `EM` and `CAVI`.

    Closed forms take differences of large numbers, so they compute in float64, and the fit is in float64, unless
    `dtype` says otherwise.

    Args:
        steps: the most updates.
        tolerance: the fit has converged when an update raises the bound per datum by less than this, in nats. Where
            the bound's rounding is larger (in float32), the mean rise over so many updates that it is not.
        restarts: independent starts; the one with the best final bound is kept.
        device: ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, ….
        dtype: floating-point type of parameters and data; None for float64 (float32 on a device without float64).
        checkpoint_every: updates between checkpoints.
        progress: show a progress bar; None shows it on terminals.

    Raises:
        ConfigurationError: for any value that cannot work, at construction.
    """

    steps: int = 500
    tolerance: float = 1e-7
    restarts: int = 1
    device: str | torch.device = "auto"
    dtype: torch.dtype | None = None
    checkpoint_every: int = 20
    progress: bool | None = None

    _NOT_IDENTITY: ClassVar = ("device", "checkpoint_every", "progress")

    def __post_init__(self) -> None:
        for name in ("steps", "restarts", "checkpoint_every"):
            check_whole(name, getattr(self, name))
        check_positive("tolerance", self.tolerance)
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
        """Fit a copy of `model` to `data`.

        Args:
            model: a model with the closed forms that the method needs; it is not changed. Of one that comes from a
                fit, EM goes on from the parameters, and CAVI from the factors.
            data: a tensor, array, DataFrame, a dict of them or a `Dataset`, ``(N, …)`` each.
            seed: determines the start (and the batches, if any).
            validation: data of the same kind, never trained on: their bound is logged.
            checkpoint: folder for the run's state, and its rows as ``history.csv``. A run that finds its own earlier
                state goes on from it; a finished one is returned at once.
            callbacks: called with a `Progress` after every update; one that returns True stops the fit.

        Returns:
            The fit. Its history has one row an update; ``info["converged"]`` says whether `tolerance` was reached.

        Raises:
            ModelError: if the model lacks the closed forms; the methods that it supports are named.
            DataError: if the data cannot be used.
            NonFiniteError: if the bound stops being finite.
            CheckpointError: if `checkpoint` cannot be written, or holds another run.
        """
        check_seed(seed)
        functions = check_callbacks(callbacks)
        refuse_class(model)
        self.check_model(model)
        place = None if checkpoint is None else as_path("checkpoint", checkpoint)
        device = resolve_device(self.device)
        dtype = self.dtype or exact_dtype(device)
        with no_empty_folder(place), run_on(device, dtype), torch.no_grad():
            train = as_data(model, data, dtype=dtype, device=device)
            if not isinstance(train, MemoryData):
                raise DataError(
                    f"`data` must be in memory for {type(self).__name__}, got a stream. Pass its tensors, or use SVI."
                )
            check_observed(model, train.tensors)
            held_out = None
            if validation is not None:
                held_out = as_data(model, validation, dtype=dtype, device=device).batch()
                check_observed(model, held_out)
            runs = []
            for start in range(self.restarts):
                folder = place
                if folder is not None and self.restarts > 1:
                    folder = folder / f"start-{start}"
                own_seed = seed if start == 0 else derive_seed(seed, "restart", start)
                runs.append(self._run(model, train, held_out, own_seed, folder, functions, start))
                if runs[-1].status == "interrupted":
                    break
            return self._as_fit(max(runs, key=lambda run: run.final_bound), runs, train, seed)

    def _run(
        self,
        model: Any,
        train: MemoryData,
        validation: dict[str, torch.Tensor] | None,
        seed: int,
        folder: Path | None,
        callbacks: tuple[Callback, ...],
        start: int,
    ) -> AscentRun:
        own = copy.deepcopy(model).to(device=torch.get_default_device(), dtype=torch.get_default_dtype())
        torch.manual_seed(derive_seed(seed, "start"))
        updates = self.begin(own, train, seed)
        label = f" start {start + 1}/{self.restarts}" if self.restarts > 1 else ""
        run = AscentRun(
            updates,
            name=f"{type(self).__name__}{label}",
            data_size=train.effective_size(getattr(model, "row_weight", None)),
            steps=self.steps,
            tolerance=self.tolerance,
            checkpoint_every=self.checkpoint_every,
            validation=validation,
            callbacks=callbacks,
            progress=self.progress,
        )
        if folder is not None:
            state = updates.program.state_dict()
            run.keep_in(folder, run_identity(self.configuration(), model, train, validation, seed, state))
        run.train()
        return run

    @abc.abstractmethod
    def check_model(self, model: Any) -> None:
        """Raise a ModelError if the model lacks the closed forms that this method needs."""

    @abc.abstractmethod
    def begin(self, model: Any, data: Data, seed: int) -> Updates:
        """Start a fit of `model`, which is the fit's own copy."""

    def configuration(self) -> dict[str, Any]:
        """Everything that determines the fit, as plain values."""
        fields = [field.name for field in dataclasses.fields(self) if field.name not in self._NOT_IDENTITY]
        return {"method": type(self).__name__, **{name: plain(getattr(self, name)) for name in fields}}

    def _as_fit(self, best: AscentRun, runs: list[AscentRun], train: MemoryData, seed: int) -> Fit:
        import pandas

        best.updates.finish()
        info: dict[str, Any] = {
            "steps": best.step,
            "seconds": best.seconds,
            "steps_per_second": best.step / best.seconds if best.seconds and best.step else None,
            "converged": best.converged,
            "device": str(torch.get_default_device()),
            "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
            "versions": {"torch": torch.__version__, "pyro": pyro.__version__},
        }
        if len(runs) > 1:
            info["restart_bounds"] = [None if math.isnan(run.final_bound) else run.final_bound for run in runs]
        program = best.updates.program
        return Fit(
            method=type(self).__name__,
            config=self.configuration(),
            model=program.model_owner,
            guide=best.updates.guide,
            history=pandas.DataFrame(best.rows),
            seed=seed,
            data=train.tensors,
            data_size=train.size,
            status=runs[-1].status if runs[-1].status == "interrupted" else best.status,
            info=info,
            program=program.eval(),
        )
