"""The steps of one fit by a loss of the model's own: batches, updates, rows of the history, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyro
import torch

from ..data.data import MemoryData
from ..data.sampler import BatchSampler
from ..errors import NonFiniteError
from ..pair.program import Program
from ..run.history import write_history
from ..run.interrupts import deferred_interrupt
from ..run.progress import Callback, Progress, progress_bar
from ..seeding import derive_seed
from ..storage.checkpoint import Checkpoint, CheckpointStore
from .svi.snapshot_check import check_progress, check_tensors

if TYPE_CHECKING:
    from ..fit.fit import Fit
    from .loss_minimization import LossMinimization

__all__ = ["LossRun"]


class LossRun:
    """The steps of one fit."""

    def __init__(
        self,
        method: LossMinimization,
        model: Any,
        train: MemoryData,
        validation: Mapping[str, torch.Tensor] | None,
        seed: int,
    ) -> None:
        self.method, self.model, self.data, self.validation, self.seed = method, model, train, validation, seed
        self.program = Program(model)
        self.sampler = BatchSampler(train.size, method.batch_size or train.size, seed)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=method.lr)
        self.step, self.seconds, self.status = 0, 0.0, "running"
        self.rows: list[dict[str, Any]] = []
        self.pending: list[dict[str, torch.Tensor]] = []
        self._store: CheckpointStore | None = None

    def keep_in(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Keep the run's state in `folder`, and go on from the one that is there."""
        self._store = CheckpointStore(folder, identity)
        if (found := self._store.latest(self._check)) is None:
            return
        program, state = _parts(found)
        self.program.load_state_dict(program)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.step, self.rows = found.step, list(found.history)
        self.seconds, self.status = found.state["seconds"], found.state["status"]

    def _check(self, found: Checkpoint) -> None:
        check_progress(found, self.method.steps, "seconds")
        program, state = _parts(found)
        check_tensors(program, self.program.state_dict())
        for index, entries in state.items():
            like = self.parameters[index]
            step = torch.zeros((), dtype=entries["step"].dtype)
            check_tensors(entries, {"step": step, "exp_avg": like, "exp_avg_sq": like})

    def train(self, callbacks: tuple[Callback, ...]) -> None:
        """Take the steps that are left."""
        if self.status != "running":
            return
        with ExitStack() as stack:
            bar = stack.enter_context(progress_bar("LossMinimization", self.method.steps, self.method.progress))
            pressed = stack.enter_context(deferred_interrupt())
            self.status = self._steps(bar, pressed, callbacks)
        self.program.eval()
        if self.status != "interrupted" and callable(finish := getattr(self.model, "finish", None)):
            finish(self.data.batch())
        self._save(self.status if self.status != "interrupted" else "running")

    def _steps(
        self, bar: Callable[[int, str], None], pressed: Callable[[], bool], callbacks: tuple[Callback, ...]
    ) -> str:
        begin, saved = time.perf_counter() - self.seconds, self.step
        self.program.train()
        while self.step < self.method.steps:
            torch.manual_seed(derive_seed(self.seed, "step", self.step))
            batch = self.data.batch(self.sampler.indices(self.step))
            losses = self._unchecked(self.model.losses, batch) if self.step else self.model.losses(**batch)
            self.optimizer.zero_grad()
            losses["loss"].backward()
            self.optimizer.step()
            self.pending.append({name: value.detach() for name, value in losses.items()})
            self.step += 1
            if self.step % self.method.log_every and self.step < self.method.steps:
                continue
            row = self._record(begin)
            bar(self.step, f"loss {row['loss']:.6g} a datum")
            progress = Progress(self.step, self.method.steps, dict(row), self.program)
            answers = [callback(progress) for callback in callbacks]  # every one is called
            if any(answer is True for answer in answers):
                return "stopped early"
            if pressed():
                return "interrupted"
            if self.step - saved >= self.method.checkpoint_every and self.step < self.method.steps:
                self._save("running")
                saved = self.step
        return "finished"

    @staticmethod
    def _unchecked(
        losses: Callable[..., dict[str, torch.Tensor]], batch: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """`losses` without Pyro's checks, which read from the device, and stop a fit that diverges with their words."""
        with pyro.validation_enabled(False):
            return losses(**batch)

    def _record(self, begin: float) -> dict[str, Any]:
        row: dict[str, Any] = {"step": self.step}
        for name in self.pending[0]:
            row[name] = float(torch.stack([values[name] for values in self.pending]).double().mean())
        self.pending = []
        if not math.isfinite(row["loss"]):
            raise NonFiniteError(f"The loss is {row['loss']} by step {self.step}. Lower `lr`, or standardise the data.")
        if self.validation is not None:
            self.program.eval()
            score = getattr(self.model, "validation_losses", self.model.losses)
            with torch.no_grad():
                held_out = self._unchecked(score, self.validation)
            self.program.train()
            row |= {f"validation_{name}": float(value) for name, value in held_out.items()}
        self.seconds = row["seconds"] = time.perf_counter() - begin
        self.rows.append(row)
        return row

    def _save(self, status: str) -> None:
        if self._store is None:
            return
        tensors = {f"program.{name}": value.detach().cpu() for name, value in self.program.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value.cpu() for key, value in values.items()}
        self._store.save(
            self.step, tensors, {"seconds": self.seconds, "status": status}, self.rows, finished=status != "running"
        )
        write_history(self._store.folder / "history.csv", self.rows)

    def as_fit(self) -> Fit:
        """The fit so far."""
        import pandas

        from ..fit.fit import Fit

        info = {
            "steps": self.step,
            "seconds": self.seconds,
            "steps_per_second": self.step / self.seconds if self.seconds else None,
            "device": str(torch.get_default_device()),
            "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
            "versions": {"torch": torch.__version__, "pyro": pyro.__version__},
        }
        return Fit(
            method="LossMinimization",
            config=self.method.configuration(),
            model=self.model,
            guide=None,
            history=pandas.DataFrame(self.rows),
            seed=self.seed,
            data=self.data.tensors,
            data_size=self.data.size,
            status=self.status,
            info=info,
            program=self.program.eval(),
        )


def _parts(found: Checkpoint) -> tuple[dict[str, torch.Tensor], dict[int, dict[str, torch.Tensor]]]:
    """The pair's tensors by name, and the optimiser's by parameter and entry."""
    program = {name: value for name, value in found.tensors.items() if name.startswith("program.")}
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name in found.tensors.keys() - program.keys():
        _, index, key = name.split(".", 2)
        state.setdefault(int(index), {})[key] = found.tensors[name]
    return {name.removeprefix("program."): value for name, value in program.items()}, state
