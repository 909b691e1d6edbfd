"""A whole fit: the data checked, one or several starts trained, the best of them returned."""

from __future__ import annotations

import math
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyro
import torch

from ...data.data import Data, MemoryData, as_data
from ...data.streams import LoaderData
from ...data.transforms import check_raw, presented
from ...devices import resolve_device, run_on
from ...errors import ConfigurationError, DataError, NonFiniteError
from ...fit.fit import Fit
from ...options import check_seed
from ...run.history import write_history
from ...run.progress import Callback
from ...seeding import derive_seed
from ...step.distributed import current_shard
from ...storage.folders import as_path, no_empty_folder
from .run import Outcome, Run
from .svi import SVI

__all__ = ["run_svi"]


def run_svi(
    svi: SVI,
    model: Any,
    data: Any,
    seed: int,
    validation: Any,
    checkpoint: str | Path | None,
    callbacks: tuple[Callback, ...],
) -> Fit:
    """Run every start and return the best as a `Fit`; see :meth:`jensen.inference.SVI.fit`."""
    check_seed(seed)
    if svi.patience is not None and validation is None:
        raise ConfigurationError("`patience` watches the bound on validation data: pass `validation=…` to `fit`.")
    dtype = svi.dtype or torch.get_default_dtype()
    if svi.precision == "bf16" and dtype != torch.float32:
        raise ConfigurationError(f'`precision="bf16"` needs `dtype` torch.float32, got {dtype}: autocast ignores it.')
    shard = current_shard(svi.device)
    device = resolve_device(svi.device)
    place = None if checkpoint is None else as_path("checkpoint", checkpoint)
    with ExitStack() as stack:
        stack.enter_context(no_empty_folder(place))
        stack.enter_context(run_on(device, dtype))
        check = svi.transform is None
        train = as_data(model, data, dtype=dtype, device=device, check=check)
        held_out = None
        if validation is not None:
            held_out = as_data(model, validation, dtype=dtype, device=device, check=check).batch()
            if lacking := [name for name in train.names if name not in held_out]:
                raise DataError(f"`validation` must hold what the training data hold, and lacks `{lacking[0]}`.")
            check_raw(svi.transform, held_out, "validation data")
            held_out = presented(svi.transform, model, held_out, seed)
        batch_size = None if isinstance(train, LoaderData) else train.check_batch_size(svi.batch_size)
        raw = train.tensors if isinstance(train, MemoryData) else train.head(batch_size or train.size)
        check_raw(svi.transform, raw, "training data")
        _keep_threads(stack, svi.threads)
        outcomes: list[Outcome] = []
        failure: NonFiniteError | None = None
        for start in range(svi.restarts):
            folder = place
            if folder is not None and svi.restarts > 1:
                folder = folder / f"start-{start}"
            own_seed = seed if start == 0 else derive_seed(seed, "restart", start)
            run = Run(svi, model, train, held_out, own_seed, device, dtype, folder, callbacks, shard, batch_size)
            try:
                outcomes.append(run.train(f"start {start + 1}/{svi.restarts}" if svi.restarts > 1 else ""))
            except NonFiniteError as error:
                if svi.restarts == 1:
                    raise
                failure = error
                warnings.warn(f"Start {start + 1} of {svi.restarts} is left out. {error}", stacklevel=3)
                continue
            if outcomes[-1].status == "interrupted":
                break
        if not outcomes:
            assert failure is not None
            raise failure
        best = max(outcomes, key=lambda outcome: -math.inf if math.isnan(outcome.bound) else outcome.bound)
        if place is not None and svi.restarts > 1 and (shard is None or shard.rank == 0):
            write_history(place / "history.csv", best.rows)
        return _as_fit(svi, best, outcomes, train, seed)


def _as_fit(svi: SVI, best: Outcome, outcomes: list[Outcome], train: Data, seed: int) -> Fit:
    import pandas

    info = {**best.info, "versions": {"torch": torch.__version__, "pyro": pyro.__version__}}
    if len(outcomes) > 1:
        info["restart_bounds"] = [outcome.bound for outcome in outcomes]
    model = best.program.model_owner
    first = presented(svi.transform, model, train.head(1), seed)
    return Fit(
        method="SVI",
        config=svi.configuration(),
        model=model,
        guide=best.guide,
        history=pandas.DataFrame(best.rows),
        seed=seed,
        data=presented(svi.transform, model, train.tensors, seed) if isinstance(train, MemoryData) else None,
        data_size=train.size,
        status=outcomes[-1].status if outcomes[-1].status == "interrupted" else best.status,
        info=info,
        prototype={name: value.clone() for name, value in first.items()},
        program=best.program.eval(),
    )


def _keep_threads(stack: ExitStack, threads: int | None) -> None:
    """Use `threads` for this fit (an engine chooses for itself if that is None); the caller's number is restored."""
    stack.callback(torch.set_num_threads, torch.get_num_threads())
    if threads is not None:
        torch.set_num_threads(threads)
