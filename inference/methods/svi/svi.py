"""`SVI`: stochastic variational inference of any Pyro program."""

from __future__ import annotations

__all__ = ["SVI"]

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from ...data.base import Data, MemoryData
from ...data.data import as_data
from ...data.streams import LoaderData
from ...data.transforms import apply_transform, check_raw
from ...devices import resolve_device
from ...errors import ConfigurationError, DataError
from ...run.peers import Peers
from ...step.distributed import ShardPeers, current_shard
from ...tensors import Tensors
from ..base import Method
from .ascent import StochasticAscent
from .options import SVIOptions


@dataclass(frozen=True)
class SVI(SVIOptions, Method):
    r"""Fit a model and a guide by stochastic gradient ascent on a bound of the log evidence.

    .. math:: (\theta, \phi)_{t+1} = \mathrm{optimizer}\Big((\theta, \phi)_t,\; \nabla \widehat{\mathcal L}(\theta,
       \phi; \text{batch}_t, \epsilon_t)\Big)

    The draws :math:`\epsilon_t` and the batch of step `t` are pure functions of (seed, t), so a fit that is resumed, or
    run in another `compile` mode, sees the same ones.

    Args:
        objective: an objective, or its name (then with its defaults).
        steps: number of parameter updates; or ``"auto"``: a default guide that started at a known normal takes
            them until it has come to rest (no location or log scale moves by 0.3 posterior standard deviations over the
            last half of the run, tested every ten rows), and of one that is not on its way any more the mean over that
            half is returned. Everything else takes them until its bound is at rest, then at rates that fall by half a
            decade, until lower ones would bring less than a tolerance, at least 2,500 (:mod:`.run.plateau`); with
            validation data it goes on from their highest bound each time, and returns it. Both take at most 30,000.
            Networks with more parameters than data and no validation data leave the first rate after 4,000 steps or
            20 epochs. An interval that ends in numbers that are not finite, or a bound that fell beyond its noise, is
            undone and made again at half the rate, at most five times (``fit.info["step_backs"]``). Schedules of the
            rate or of the objective take 5,000. A number means that number, without any of this.
        lr: learning rate; None is 0.01, and with ``steps="auto"`` 0.001 where networks (layers of `torch.nn`) are
            fitted by a guide that is no default one.
        batch_size: data per step, drawn without replacement within each epoch; None for all data. Ignored for a
            `DataLoader`, which brings its own.
        guide: None (the model's own `guide`, else ``"normal"``), a name (``"normal"``, ``"multivariate_normal"``,
            ``"lowrank"``, ``"iaf"``, ``"flow"``), a Pyro autoguide class, or a callable ``model -> guide``.
        start: where a default guide starts:

            - ``"pathfinder"``: at the best normal on quasi-Newton paths towards the mode
              (:mod:`jensen.inference.methods.pathfinder`), in whose coordinates it then takes its steps;
            - ``"laplace"``: likewise at the normal of the mode (:class:`jensen.inference.Laplace`);
            - ``"prior"``: at the centre of the prior;
            - a dict of values by latent, each in the latent's own support and of its shape (or a number for all of
              it). Latents that it leaves out start at the centre of the prior. Scales, and the units of steps, are
              those of Pathfinder's normal on the path from there;
            - a `Fit` of the same latents, such as one of another guide, of less data or by `Laplace`: at the mean and
              covariance of its posterior.

            Models with latents of each datum, with masked or with more than 500 of them, and streamed data, start at
            the prior where a name is given, and have no units where values are; ``fit.info["start"]`` says so. Guides
            of your own start as they are, and take no values and no fit.
        optimizer: a `torch.optim` class, or a callable ``(parameters, lr) -> Optimizer``.
        optimizer_options: keyword arguments for the optimiser.
        lr_schedule: a function of the fraction of training that returns a factor (such as `iwae_schedule`), or a
            function ``optimizer -> LRScheduler``.
        clip_norm: clip the global gradient norm to this.
        average: decay `d` of an exponential moving average of the parameters, without weight on the start
            (``sum_s d^(t-s) theta_s / sum_s d^(t-s)``), which is what the fit then returns. Validation, callbacks and
            the history's `bound` are of it (on up to eight batches an interval); `loss` is what the steps minimise.
        drop_last: leave out the ragged last batch of each epoch.
        transform: applied to each batch at every step, such as `jensen.datasets.DynamicBinarization()`. If it has a
            method ``check(batch)`` that raises ValueError for data it cannot mean, a fit calls that once, before the
            first step, on the data in memory (of streamed data on the first batch) and on the validation data.
        compile: ``"auto"`` (traced, and compiled where the steps repay it; a CUDA graph on a GPU), ``"trace"``,
            ``"c"`` (the step as one C function, on a machine with a C compiler), ``"inductor"``, ``"cudagraph"``,
            or False (eager). All give the same numbers up to rounding.
        device: ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, ….
        dtype: floating-point type of parameters and data; torch's default one if None.
        precision: ``"bf16"`` runs the program under autocast; parameters and bounds keep `dtype`.
        restarts: independent starts; the one with the best final bound is kept.
        validate_every: steps between evaluations on the validation data (default: a fiftieth of the steps); each is
            made at the next row of the history, and so are checkpoints.
        validation_draws: sets of draws in each such evaluation; the same ones every time.
        patience: stop after this many evaluations without a rise, once `warm_up` of the steps is done; the best
            parameters are returned. None never stops early.
        warm_up: fraction of training during which nothing is stopped or called best.
        log_every: steps between rows of the history.
        checkpoint_every: steps between checkpoints (default: a twentieth of the steps, at least `log_every`).
        threads: CPU threads for the fit; None keeps torch's number, but uses one for tiny problems.
        tensorboard: folder for TensorBoard event files (needs the `tensorboard` extra), or None.
        progress: show a progress bar; None shows it on terminals.

    Raises:
        ConfigurationError: for any value that cannot work, at construction.

    Example:
        >>> SVI("Trace_ELBO", steps=2_000, lr=1e-2).objective
        Trace_ELBO(num_particles=1)
    """

    def check_model(self, model: Any) -> None:
        """Any program can be tried: its first step is checked."""

    def begin(self, model: Any, train: Data, validation: Tensors | None, seed: int) -> StochasticAscent:
        return StochasticAscent(
            self, model, train, validation, seed, current_shard(self.device), self._batch_size(train)
        )

    def _batch_size(self, train: Data) -> int | None:
        """Data per step; None for a `DataLoader`, which brings its own."""
        return None if isinstance(train, LoaderData) else train.check_batch_size(self.batch_size)

    def _peers(self) -> Peers:
        shard = current_shard(self.device)
        return Peers() if shard is None else ShardPeers(shard, resolve_device(self.device))

    def _prepare(self, stack: ExitStack) -> None:
        if self.precision == "bf16" and (dtype := torch.get_default_dtype()) != torch.float32:
            raise ConfigurationError(
                f'`precision="bf16"` needs `dtype` torch.float32, got {dtype}: autocast ignores it.'
            )
        # An engine chooses the number of threads for itself if none is given; the caller's is restored.
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        if self.threads is not None:
            torch.set_num_threads(self.threads)

    def _read(self, model: Any, data: Any, validation: Any, seed: int) -> tuple[Data, Tensors | None]:
        if self.patience is not None and validation is None:
            raise ConfigurationError("`patience` watches the bound on validation data: pass `validation=…` to `fit`.")
        dtype, device, check = torch.get_default_dtype(), torch.get_default_device(), self.transform is None
        train = as_data(model, data, dtype=dtype, device=device, check=check)
        held_out = None
        if validation is not None:
            held_out = as_data(model, validation, dtype=dtype, device=device, check=check).batch()
            if lacking := [name for name in train.names if name not in held_out]:
                raise DataError(f"`validation` must hold what the training data hold, and lacks `{lacking[0]}`.")
            check_raw(self.transform, held_out, "validation data")
            held_out = apply_transform(self.transform, model, held_out, seed)
        size = self._batch_size(train)
        raw = train.tensors if isinstance(train, MemoryData) else train.head(size or train.size)
        check_raw(self.transform, raw, "training data")
        return train, held_out

    def _kept(self, model: Any, train: Data, seed: int) -> dict[str, Any]:
        first = apply_transform(self.transform, model, train.head(1), seed)
        whole = apply_transform(self.transform, model, train.tensors, seed) if isinstance(train, MemoryData) else None
        return {"data": whole, "prototype": {name: value.clone() for name, value in first.items()}}
