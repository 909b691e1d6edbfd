"""`Objective`, the base of every objective: terms in, one differentiable scalar out."""

from __future__ import annotations

__all__ = ["Bound", "Objective"]

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro.infer import ELBO

from ..errors import ConfigurationError, ModelError
from ..pair.program import Program
from ..pair.randomness.noise import Noise, NoiseLayout
from ..pair.site_terms import Terms
from ..pair.sites import Structure
from ..pair.terms import evaluate
from ..tensors import Batch


@dataclass(frozen=True)
class Bound:
    """What an objective makes of one set of terms.

    Attributes:
        surrogate: scalar whose *gradient* is the estimator; its value may differ from the objective's.
        objective: detached scalar, the value that is maximised (annealed, penalised, …), a total over the `N` data.
        bound: detached scalar, the plain bound on ``log p(x)`` (no annealing), a total over the `N` data.
    """

    surrogate: torch.Tensor
    objective: torch.Tensor
    bound: torch.Tensor


class Objective(ELBO, abc.ABC):
    """A bound on the log evidence and its gradient estimator, as a reduction of a pair's terms.

    Subclasses implement :meth:`reduce` and may set the class attributes below. Every objective works in a plain
    :class:`pyro.infer.SVI` as its `loss` and, as ``objective(model, guide)``, as a module.

    Args:
        num_particles: `K`, the number of draws from the guide, vectorised.

    Raises:
        ConfigurationError: if `num_particles` is not a positive whole number.
    """

    analytic_kl: bool = False
    """Use closed-form KLs where they are exact."""
    detach_guide: bool = False
    """Score the guide with its parameters detached."""
    enumerate_guide: bool = False
    """Take the expectation over every discrete site of the guide exactly."""
    sum_guide: bool = False
    """Sum enumerated guide sites out of the importance weight."""

    def __init__(self, num_particles: int = 1) -> None:
        if isinstance(num_particles, bool) or not isinstance(num_particles, int) or num_particles < 1:
            raise ConfigurationError(f"`num_particles` must be a positive whole number, got {num_particles!r}.")
        super().__init__(num_particles=num_particles, vectorize_particles=num_particles > 1)
        self._programs: dict[Any, Program] = {}

    @abc.abstractmethod
    def reduce(self, terms: Terms, weight: torch.Tensor | float) -> Bound:
        """Turn terms into a bound. `weight` is the value of :meth:`schedule` at this step (1.0 without one)."""

    def check(self, structure: Structure) -> None:
        """Raise a ModelError if this objective cannot be used with a pair of this structure."""

    def schedule(self, fraction: float) -> float:
        """The annealing weight after `fraction` (0 to 1) of the training; 1.0 for objectives that do not anneal."""
        return 1.0

    @property
    def is_scheduled(self) -> bool:
        """Whether :meth:`schedule` changes during training."""
        return False

    @property
    def is_sum_over_data(self) -> bool:
        """Whether the objective is a plain sum of global terms and terms of each datum (so shards can be added up)."""
        return True

    @property
    def hook_values(self) -> Callable[..., Any] | None:
        """A function applied to the draws between guide and model, or None."""
        return None

    def configuration(self) -> dict[str, Any]:
        """The objective's name and arguments, as plain values."""
        return {"objective": type(self).__name__, "num_particles": self.num_particles}

    def __repr__(self) -> str:
        arguments = {k: v for k, v in self.configuration().items() if k != "objective"}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and self.configuration() == other.configuration()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_programs": {}}

    def bound(
        self,
        program: Program,
        batch: Batch,
        *,
        args: tuple[Any, ...] = (),
        noise: Noise | NoiseLayout | None = None,
        weight: torch.Tensor | float = 1.0,
        share: float = 1.0,
    ) -> Bound:
        """Evaluate the pair on a batch and reduce its terms."""
        return self.reduce(self.evaluate(program, batch, args=args, noise=noise, share=share), weight)

    def evaluate(
        self,
        program: Program,
        batch: Batch,
        *,
        args: tuple[Any, ...] = (),
        noise: Noise | NoiseLayout | None = None,
        share: float = 1.0,
    ) -> Terms:
        """The pair's terms on a batch, as this objective needs them."""
        return evaluate(
            program,
            batch,
            args=args,
            num_particles=self.num_particles,
            noise=noise,
            analytic_kl=self.analytic_kl,
            detach_guide=self.detach_guide,
            enumerate_guide=self.enumerate_guide,
            sum_guide=self.sum_guide,
            hook_values=self.hook_values,
            share=share,
        )

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **batch: Any) -> torch.Tensor:
        """``-objective`` as a scalar whose gradient is the estimator. No host synchronisation.

        A scheduled objective uses its final weight here; :class:`jensen.inference.SVI` follows the schedule.
        """
        program = self._program(model, guide)
        structure = program.structure(batch, args)
        if id(structure) not in self._checked(program):
            self.check(structure)
            self._checked(program).add(id(structure))
        bound = self.bound(program, batch, args=args, weight=self.schedule(1.0))
        return -(bound.objective + (bound.surrogate - bound.surrogate.detach()))

    def loss(self, model: Any, guide: Any, *args: Any, **batch: Any) -> float:
        """The loss as a number (for `pyro.infer.SVI.evaluate_loss`)."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, **batch))

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **batch: Any) -> torch.Tensor:
        """Accumulate gradients and return the loss, as a tensor (Pyro's returns a number, at the cost of a sync)."""
        loss = self.differentiable_loss(model, guide, *args, **batch)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        raise ConfigurationError("jensen's objectives evaluate terms, not Pyro traces; use `bound` instead.")

    def _program(self, model: Any, guide: Any) -> Program:
        key = tuple((getattr(f, "__func__", f), id(getattr(f, "__self__", None))) for f in (model, guide))
        if key not in self._programs:
            self._programs[key] = Program(model, guide, isolated=False)
        return self._programs[key]

    @staticmethod
    def _checked(program: Program) -> set[int]:
        checked: set[int] = program.__dict__.setdefault("_checked", set())
        return checked


def require_unscaled(structure: Structure, objective: str) -> None:
    """Importance weights need unscaled terms: refuse a program that scales its own sites."""
    for site in structure.sites.values():
        if site.scaled:
            raise ModelError(
                f"The program scales the site `{site.name}` itself, and importance weights ({objective}) are wrong "
                f"with scaled terms. Remove `poutine.scale` or the subsampling plate; `SVI(batch_size=…)` scales "
                "mini-batches."
            )
