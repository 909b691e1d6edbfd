"""Stochastic variational inference: its whole configuration, and the entry point of a fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...devices import resolve_device
from ...errors import ConfigurationError, nearest
from ...objectives import OBJECTIVES, Objective, Trace_ELBO
from ...options import check_callbacks, check_dtype, check_fraction, check_positive, check_whole, plain
from ...run.progress import Callback
from ...step.engine import COMPILE_MODES

if TYPE_CHECKING:
    from ...fit.fit import Fit

__all__ = ["SVI"]


@dataclass(frozen=True)
class SVI:
    r"""Fit a model and a guide by stochastic gradient ascent on a bound of the log evidence.

    .. math:: (\theta, \phi)_{t+1} = \mathrm{optimizer}\Big((\theta, \phi)_t,\; \nabla \widehat{\mathcal L}(\theta,
       \phi; \text{batch}_t, \epsilon_t)\Big)

    The draws :math:`\epsilon_t` and the batch of step `t` are pure functions of (seed, t), so a fit that is resumed, or
    run in another `compile` mode, sees the same ones.

    Args:
        objective: an objective, or its name (then with its defaults).
        steps: number of parameter updates.
        lr: learning rate.
        batch_size: data per step, drawn without replacement within each epoch; None for all data. Ignored for a
            `DataLoader`, which brings its own.
        guide: None (the model's own `guide`, else ``"normal"``), a name (``"normal"``, ``"multivariate_normal"``,
            ``"lowrank"``, ``"iaf"``, ``"flow"``), a Pyro autoguide class, or a callable ``model -> guide``.
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
            ``"inductor"``, ``"cudagraph"``, or False (eager). All give the same numbers up to rounding.
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

    objective: Objective | str = field(default_factory=Trace_ELBO)
    steps: int = 5_000
    lr: float = 1e-2
    batch_size: int | None = None
    guide: Any = None
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    lr_schedule: Callable[[Any], Any] | None = None
    clip_norm: float | None = None
    average: float | None = None
    drop_last: bool = False
    transform: Callable[..., Any] | None = None
    compile: str | bool = "auto"
    device: str | torch.device = "auto"
    dtype: torch.dtype | None = None
    precision: str | None = None
    restarts: int = 1
    validate_every: int | None = None
    validation_draws: int = 16
    patience: int | None = None
    warm_up: float = 0.1
    log_every: int = 100
    checkpoint_every: int | None = None
    threads: int | None = None
    tensorboard: str | Path | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "objective", _objective(self.objective))
        for name in ("steps", "restarts", "validation_draws", "log_every"):
            check_whole(name, getattr(self, name))
        for name in ("batch_size", "validate_every", "patience", "checkpoint_every", "threads"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name))
        check_positive("lr", self.lr)
        if self.clip_norm is not None:
            check_positive("clip_norm", self.clip_norm)
        if self.average is not None:
            check_fraction("average", self.average, "a decay", ", such as 0.999")
        check_fraction("warm_up", self.warm_up, "a fraction of training")
        if self.compile not in COMPILE_MODES:
            names = [str(mode) for mode in COMPILE_MODES]
            raise ConfigurationError(
                f"`compile` must be one of {', '.join(names)}, got {self.compile!r}.{nearest(self.compile, names)}"
            )
        if self.precision not in (None, "bf16"):
            raise ConfigurationError(f'`precision` must be None or "bf16", got {self.precision!r}.')
        check_dtype(self.dtype)
        if not callable(self.optimizer):
            raise ConfigurationError(
                f"`optimizer` must be a torch.optim class, or a callable `(parameters, lr) -> Optimizer`, got "
                f"{self.optimizer!r}."
            )
        if not isinstance(self.optimizer_options, dict):
            raise ConfigurationError(
                f"`optimizer_options` must be a dict of keyword arguments, got {self.optimizer_options!r}."
            )
        if self.lr_schedule is not None and not callable(self.lr_schedule):
            raise ConfigurationError(
                f"`lr_schedule` must be a function of the fraction of training, or of an optimiser, got "
                f"{self.lr_schedule!r}."
            )
        if self.transform is not None and not callable(self.transform):
            raise ConfigurationError(f"`transform` must be a function of a batch, got {self.transform!r}.")
        resolve_device(self.device)
        _check_guide(self.guide)

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
            model: a `LatentVariableModel`, or any Pyro program as a callable, whose modules are copied; it is not
                changed. A new one is started at the data, one that comes from a fit goes on from its parameters.
            data: a tensor, array, DataFrame, a dict of them, a tuple of them in the order of the model's arguments, a
                `Dataset` or a `DataLoader`, ``(N, …)`` each.
            seed: determines every draw, start and batch of the fit.
            validation: data of the same kind, never trained on: their bound is logged, and watched by `patience`.
            checkpoint: folder for the run's state, and its rows as ``history.csv``. A run that finds its own earlier
                state goes on from it; a finished one is returned at once.
            callbacks: called with a `Progress` at every logging interval; one that returns True stops the fit.

        Returns:
            The fit. After Ctrl-C (noted between two steps) it is the fit so far, with status ``"interrupted"``.

        Raises:
            DataError: if the data cannot be used (empty, not finite, of the wrong kind, shape or name, or outside the
                support of what observes them, which is looked at in all data before the first step).
            ModelError: if model and guide do not go together, or with this objective.
            ConfigurationError: if the options do not go together (a batch larger than the data, …).
            NonFiniteError: if the bound or a parameter stops being finite; the last good state is kept in `checkpoint`.
            CheckpointError: if `checkpoint` cannot be written, or holds another run.
        """
        from .restarts import run_svi

        return run_svi(self, model, data, seed, validation, checkpoint, check_callbacks(callbacks))

    def build_optimizer(self, parameters: Sequence[torch.Tensor], lr: float | torch.Tensor) -> torch.optim.Optimizer:
        """The optimiser over `parameters`.

        Raises:
            ConfigurationError: if it refuses its options.
        """
        name = getattr(self.optimizer, "__name__", repr(self.optimizer))
        try:
            built = self.optimizer(parameters, lr=lr, **self.optimizer_options)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"`optimizer` {name} refused `optimizer_options` or `lr`: {error}") from error
        if isinstance(built, torch.optim.LBFGS):
            raise ConfigurationError(
                f"`optimizer` {name} needs a closure that evaluates the bound several times a step, which a noisy "
                f"bound does not allow. Use `torch.optim.Adam`."
            )
        if not isinstance(built, torch.optim.Optimizer):
            raise ConfigurationError(f"`optimizer` must return a torch Optimizer, got {built!r} from {name}.")
        return built

    def configuration(self) -> dict[str, Any]:
        """Everything that determines the fit, as plain values."""
        assert isinstance(self.objective, Objective)
        return {
            **self.objective.configuration(),
            "steps": self.steps,
            "lr": self.lr,
            "batch_size": self.batch_size,
            "guide": plain(self.guide),
            "optimizer": plain(self.optimizer),
            "optimizer_options": {key: plain(value) for key, value in self.optimizer_options.items()},
            "lr_schedule": plain(self.lr_schedule),
            "clip_norm": self.clip_norm,
            "average": self.average,
            "drop_last": self.drop_last,
            "transform": plain(self.transform),
            "compile": self.compile,
            "dtype": plain(self.dtype),
            "precision": self.precision,
            "restarts": self.restarts,
            "validate_every": self.validate_every,
            "validation_draws": self.validation_draws,
            "patience": self.patience,
            "warm_up": self.warm_up,
            "log_every": self.log_every,
        }


def _objective(objective: Any) -> Objective:
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, str):
        if objective not in OBJECTIVES:
            raise ConfigurationError(
                f"`objective` must be one of {', '.join(OBJECTIVES)}, got {objective!r}."
                f"{nearest(objective, OBJECTIVES)}"
            )
        objective = OBJECTIVES[objective]
    if isinstance(objective, type) and issubclass(objective, Objective):
        try:
            return objective()
        except TypeError as error:
            raise ConfigurationError(
                f"`objective` {objective.__name__} needs arguments: {error}. Pass an instance."
            ) from error
    raise ConfigurationError(
        f"`objective` must be a jensen objective such as `Trace_ELBO()`, or its name, got {objective!r}. Pyro's own "
        f"losses synchronise with the host at every step; jensen's of the same names take their place."
    )


def _check_guide(guide: Any) -> None:
    if isinstance(guide, str):
        from ...guides import GUIDES

        if guide not in GUIDES:
            raise ConfigurationError(
                f"`guide` must be one of {', '.join(GUIDES)}, a Pyro autoguide class or a callable `model -> guide`, "
                f"got {guide!r}.{nearest(guide, GUIDES)}"
            )
    elif guide is not None and not callable(guide):
        raise ConfigurationError(
            f"`guide` must be a name, a Pyro autoguide class or a callable `model -> guide`, got {guide!r}."
        )
