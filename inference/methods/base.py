"""`Method`, the base of every method: options that are checked, one `fit`, and the `Fit` that it returns."""

from __future__ import annotations

__all__ = ["Method"]

import abc
import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pyro
import torch

from ..data.base import Data, MemoryData
from ..data.data import as_data
from ..devices import resolve_device, run_on
from ..errors import DataError, NonFiniteError
from ..fit.fit import Fit
from ..objectives.compatibility import check_observed
from ..options import check_callbacks, check_seed
from ..pair.signature import refuse_class
from ..run.algorithm import Algorithm, FitParts
from ..run.convergence import Verdict, verdict_of_rows
from ..run.history import write_history
from ..run.identity import plain, run_identity
from ..run.loop import Loop
from ..run.peers import Peers
from ..run.progress import Callback
from ..seeding import derive_seed
from ..storage.folders import as_path, no_empty_folder
from ..tensors import Tensors
from ..warn import warn_user
from .advice import advice_of
from .options import MethodOptions
from .reliability import reliability_of


class Method(MethodOptions, abc.ABC):
    """Abstract. A method is a frozen dataclass: its fields are the whole configuration, and it makes algorithms.

    Extend it by :meth:`check_model` and :meth:`begin`; the loop (:class:`~jensen.inference.run.loop.Loop`) brings
    history, progress, checkpoints, callbacks and interrupts.
    """

    _NOT_IDENTITY: ClassVar[tuple[str, ...]] = ("device", "checkpoint_every", "progress")
    _GRADIENTS: ClassVar = True  # whether the algorithm differentiates

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
            model: a model with what the method needs: for `SVI` a `LatentVariableModel`, or any Pyro program as a
                callable, whose modules are copied. It is not changed. A new one is started at the data, one that comes
                from a fit goes on from what that fit learned.
            data: a tensor, array, DataFrame, a dict of them, a tuple of them in the order of the model's arguments or
                a `Dataset`, ``(N, …)`` each; for `SVI` also what is streamed, such as a `DataLoader`.
            seed: determines every start, batch and draw of the fit.
            validation: data of the same kind, never trained on: what the method climbs or descends is logged of them,
                as columns ``validation_…``.
            checkpoint: folder for the run's state, and its rows as ``history.csv``. A run that finds its own earlier
                state goes on from it; a finished one is returned at once.
            callbacks: called with a `Progress` at every row of the history; one that returns True stops the fit.

        Returns:
            The fit. After Ctrl-C (noted between two steps) it is the fit so far, with status ``"interrupted"``.

        Raises:
            DataError: if the data cannot be used (empty, not finite, of the wrong kind, shape or name, or, for `SVI`,
                outside the support of what observes them, which is looked at in all data before the first step).
            ModelError: if the model lacks what the method needs (the methods that it supports are named), or model and
                guide do not go together.
            ConfigurationError: if the options do not go together (a batch larger than the data, …).
            NonFiniteError: if the bound, the loss or a parameter stops being finite; of several starts, if all do.
            CheckpointError: if `checkpoint` cannot be written, or holds another run.
        """
        check_seed(seed)
        functions = check_callbacks(callbacks)
        refuse_class(model)
        self.check_model(model)
        peers = self._peers()
        place = None if checkpoint is None else as_path("checkpoint", checkpoint)
        device = resolve_device(self.device)
        with ExitStack() as stack:
            stack.enter_context(no_empty_folder(place))
            stack.enter_context(run_on(device, self._number_type(device)))
            stack.enter_context(torch.set_grad_enabled(self._GRADIENTS))
            self._prepare(stack)
            train, held_out = self._read(model, data, validation, seed)
            ended: list[tuple[Loop, FitParts]] = []
            for start in range(self.restarts):
                folder = place if peers.leader else None
                if folder is not None and self.restarts > 1:
                    folder = folder / f"start-{start}"
                own_seed = seed if start == 0 else derive_seed(seed, "restart", start)
                try:
                    loop = self._loop(model, train, held_out, own_seed, folder, functions, start, peers)
                    loop.run()
                except NonFiniteError as error:
                    if self.restarts == 1 or (start == self.restarts - 1 and not ended):
                        raise
                    warn_user(f"Start {start + 1} of {self.restarts} is left out. {error}")
                    continue
                ended.append((loop, loop.algorithm.finish(loop.status)))
                if loop.status == "interrupted":
                    break
            best = max(ended, key=lambda pair: _comparable(pair[1].bound))
            if place is not None and self.restarts > 1 and peers.leader:
                write_history(place / "history.csv", best[0].rows)
            status = "interrupted" if ended[-1][0].status == "interrupted" else best[0].status
            bounds = [parts.bound for _, parts in ended]
            return self._as_fit(*best, bounds, status, train, seed)

    @abc.abstractmethod
    def check_model(self, model: Any) -> None:
        """Raise a ModelError if the model lacks what this method needs."""

    @abc.abstractmethod
    def begin(self, model: Any, train: Any, validation: Tensors | None, seed: int) -> Algorithm:
        """Start a fit of `model`, which is the caller's own: an algorithm works on a copy (:meth:`copied`)."""

    def copied(self, model: Any) -> Any:
        """The fit's own copy of a module, on the fit's device and in its number type."""
        return copy.deepcopy(model).to(device=torch.get_default_device(), dtype=torch.get_default_dtype())

    def configuration(self) -> dict[str, Any]:
        """Everything that determines the fit, as plain values."""
        fields: Any = dataclasses.fields(self)  # type: ignore[arg-type]
        names = [field.name for field in fields if field.name not in self._NOT_IDENTITY]
        return {"method": type(self).__name__, **{name: plain(getattr(self, name)) for name in names}}

    # What only some methods do otherwise.

    def _number_type(self, device: torch.device) -> torch.dtype:
        """The floating-point type of parameters and data on `device`."""
        return self.dtype or torch.get_default_dtype()

    def _peers(self) -> Peers:
        """The processes that make the fit together."""
        return Peers()

    def _prepare(self, stack: ExitStack) -> None:
        """Change what the fit needs for its time; `stack` puts it back."""

    def _read(self, model: Any, data: Any, validation: Any, seed: int) -> tuple[Any, Tensors | None]:
        """The data, checked, and the validation data as one batch."""

        def read(given: Any) -> MemoryData:
            found = as_data(model, given, dtype=torch.get_default_dtype(), device=torch.get_default_device())
            if not isinstance(found, MemoryData):
                other = "" if getattr(model, "scored_by_loss", False) else ", or use SVI"
                raise DataError(
                    f"`data` must be in memory for {type(self).__name__}, got a stream. Pass its tensors{other}."
                )
            check_observed(model, found.tensors)
            return found

        return read(data), None if validation is None else read(validation).batch()

    def _kept(self, model: Any, train: Any, seed: int) -> dict[str, Any]:
        """What the fit keeps of the data: fields of `Fit`."""
        return {"data": train.tensors}

    def _loop(
        self,
        model: Any,
        train: Data,
        validation: Tensors | None,
        seed: int,
        folder: Path | None,
        callbacks: tuple[Callback, ...],
        start: int,
        peers: Peers,
    ) -> Loop:
        """What advances one start, not yet begun."""
        torch.manual_seed(derive_seed(seed, "start"))
        algorithm = self.begin(model, train, validation, seed)
        steps = algorithm.most_steps or self.steps
        loop = Loop(
            algorithm,
            name=f"{type(self).__name__}{f' start {start + 1}/{self.restarts}' if self.restarts > 1 else ''}",
            steps=steps,
            row_every=self.log_every,
            checkpoint_every=self.checkpoint_every or max(self.log_every, steps // 20),
            callbacks=callbacks,
            progress=self.progress,
            tensorboard=self.tensorboard,
            peers=peers,
        )
        if folder is not None:
            identity = run_identity(self.configuration(), model, train, validation, seed, algorithm.shapes)
            loop.keep_in(folder, identity)
        return loop

    def _as_fit(
        self, loop: Loop, parts: FitParts, bounds: Sequence[float | None], status: str, train: Data, seed: int
    ) -> Fit:
        import pandas

        info: dict[str, Any] = {
            "steps": loop.step,
            "seconds": loop.seconds,
            "steps_per_second": loop.step / loop.seconds if loop.seconds and loop.step else None,
            **parts.info,
            "device": str(torch.get_default_device()),
            "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
            "versions": {"torch": torch.__version__, "pyro": pyro.__version__},
        }
        verdict: Verdict | None = None
        if status == "finished":
            verdict = parts.verdict or verdict_of_rows(loop.rows, train.size)
            status = verdict.status
            info["convergence"] = {"reason": verdict.reason, "advice": verdict.advice}
        if len(bounds) > 1:
            info["restart_bounds"] = [None if _comparable(bound) == -math.inf else bound for bound in bounds]
        kept: Mapping[str, Any] = self._kept(parts.program.model_owner, train, seed)
        fit = Fit(
            method=type(self).__name__,
            config=self.configuration(),
            model=parts.program.model_owner,
            guide=parts.guide,
            history=pandas.DataFrame(loop.rows),
            seed=seed,
            data_size=train.size,
            draws=parts.draws,
            sample_stats=parts.sample_stats,
            status=status,
            info=info,
            program=parts.program.eval(),
            **kept,
        )
        if status != "interrupted" and type(loop.peers) is Peers:
            rows = min(train.size, getattr(self, "batch_size", None) or train.size)
            if (reliability := reliability_of(fit, loop.step * rows)) is not None:
                info["reliability"] = reliability
            if verdict is not None:
                info["convergence"]["advice"] = advice_of(fit, verdict, getattr(train, "columns", {}))
        return fit


def _comparable(bound: float | None) -> float:
    return -math.inf if bound is None or math.isnan(bound) else bound
