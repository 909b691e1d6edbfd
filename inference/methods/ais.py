"""`AIS`: annealed importance sampling, the evidence and draws of the posterior by way of tempered ones."""

from __future__ import annotations

__all__ = ["AIS"]

import math
from dataclasses import dataclass
from typing import Any

import torch

from ..annealing.bridge import NormalBase, build_bridge
from ..annealing.given_base import as_base
from ..annealing.passage import Passage
from ..annealing.pilot import run_pilot
from ..annealing.resampling import systematic
from ..annealing.schedule import SCHEDULES, Knots, make_plan
from ..annealing.transition import STATE, State, Transition, default_leapfrogs, start_at
from ..data.base import MemoryData
from ..diagnostics.annealed_evidence import annealed_estimate
from ..diagnostics.weights.pareto import k_threshold
from ..errors import ConfigurationError, NonFiniteError, nearest
from ..fit.record import points_program
from ..options import check_compile, check_whole
from ..pair.function_program import own_copy
from ..run.algorithm import Algorithm, FitParts, Snapshot
from ..run.checkpoint_check import check_tensors
from ..run.convergence import CONVERGED, NOT_CONVERGED, Verdict
from ..seeding import derive_seed
from .base import Method

GROUPS = 16  # of particles that are resampled: the spread between them is the error
_FEWEST = 32
_NEVER = -1e25  # the log weight of what has no likelihood is below


@dataclass(frozen=True)
class AIS(Method):
    r"""The log evidence of global latents, with its error, and draws of their posterior.

    Particles go from a density that can be drawn from to the posterior through T inverse temperatures,

    .. math:: \log f_\beta(u) = \log p(z) + \log \Big|\det \frac{\partial T}{\partial u}\Big| + \beta \log p(x \mid z),
       \qquad \log w = \sum_{t=1}^T (\beta_t - \beta_{t-1}) \log p(x \mid z_{t-1}), \qquad \mathbb E[w] = p(x),

    each moved at each :math:`\beta_t` by a Hamiltonian move that leaves :math:`f_{\beta_t}` as it is. They begin at
    exact draws from the prior, or from the normal of a fit's posterior (`base`), for which the path is
    :math:`q^{1 - \beta} (p\, p(x \mid \cdot))^\beta`. A pilot run with random numbers of its own chooses temperatures,
    coordinates and step sizes, which are then frozen. Discrete latents are summed out exactly; parameters of the model
    stay as they are. ``log_evidence(fit)`` is the evidence as an `Estimate`, ``fit.info["log_evidence"]`` its value,
    and ``fit.posterior()`` gives the particles, resampled by their weights.

    Args:
        steps: T. The variance of the log weights falls as one over it.
        num_particles: how many particles, at least 32; with `resampling` a multiple of 16.
        schedule: ``"adaptive"``, temperatures of equal conditional effective sample sizes in the pilot run;
            ``"geometric"`` or ``"sigmoidal"``.
        base: a `Fit` of the same latents, the normal of whose posterior the path begins at; None for the prior.
        resampling: whether particles are resampled where their weights have become uneven (a sequential Monte Carlo
            sampler), in 16 independent groups, between which the error is seen.
        leapfrogs: of each move; None for a number by the dimension (2 up to about 17 numbers, 4 for 100).
        compile: whether the step is compiled; None compiles it where that is repaid.
        device, checkpoint_every, log_every, progress: as in `SVI`.
        dtype: floating-point type of the draws; particles move in float64.

    Raises:
        ModelError: the model has latents of each datum, masked ones or none, or a prior without an integral; or,
            without `base`, a prior that depends on a discrete latent.
        NonFiniteError: no particle has a likelihood.

    References: R. Neal, "Annealed importance sampling", Statistics and Computing 11, 2001,
    https://arxiv.org/abs/physics/9803008; P. Del Moral, A. Doucet, A. Jasra, "Sequential Monte Carlo samplers", JRSS B
    68, 2006, https://doi.org/10.1111/j.1467-9868.2006.00553.x.

    Example:
        >>> from jensen.models import BayesianLogisticRegression
        >>> x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
        >>> data = {"x": x, "y": (x[:, 0] > 0).float()}
        >>> fit = AIS(steps=100, num_particles=64, progress=False).fit(BayesianLogisticRegression(2), data)
        >>> fit.posterior(64)["w"].shape
        torch.Size([64, 2])
    """

    steps: int = 1_000
    num_particles: int = 256
    schedule: str = "adaptive"
    base: Any = None
    resampling: bool = False
    leapfrogs: int | None = None
    compile: bool | None = None
    device: str | torch.device = "auto"
    dtype: torch.dtype | None = None
    log_every: int = 100
    checkpoint_every: int | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("num_particles", self.num_particles)
        if self.num_particles < _FEWEST or (self.resampling is True and self.num_particles % GROUPS):
            raise ConfigurationError(
                f"`num_particles` must be at least {_FEWEST}, and with `resampling` a multiple of {GROUPS}, got "
                f"{self.num_particles}."
            )
        if self.schedule not in SCHEDULES:
            raise ConfigurationError(
                f"`schedule` must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}."
                f"{nearest(self.schedule, SCHEDULES)}"
            )
        if not isinstance(self.resampling, bool):
            raise ConfigurationError(f"`resampling` must be True or False, got {self.resampling!r}.")
        if self.leapfrogs is not None:
            check_whole("leapfrogs", self.leapfrogs)
        check_compile(self.compile)
        object.__setattr__(self, "base", as_base(self.base))

    def check_model(self, model: Any) -> None:
        """Any program can be tried: its latents are looked at."""

    def configuration(self) -> dict[str, Any]:
        named = super().configuration()
        return named | {"base": self.base.plain()} if isinstance(self.base, NormalBase) else named

    def begin(self, model: Any, train: MemoryData, validation: dict[str, torch.Tensor] | None, seed: int) -> _Annealing:
        own = own_copy(model, torch.get_default_device(), torch.get_default_dtype())
        return _Annealing(self, own, train, seed)


class _Annealing(Algorithm):
    restorable = True

    def __init__(self, method: AIS, model: Any, train: MemoryData, seed: int) -> None:
        batch = train.batch()
        self.method, self.seed, self.data_size, self.step = method, seed, train.size, 0
        self.bridge = build_bridge("AIS", model, batch, method.base)
        self.program = points_program(model, batch)
        dim, count = self.bridge.dim, method.num_particles
        self.transition = Transition(self.bridge, method.leapfrogs or default_leapfrogs(dim))
        self.particles: State | None = None
        self.knots: Knots | None = None
        self.rates = torch.zeros(2, dtype=torch.float64, device=self.bridge.device)  # sum and number since the last row
        self._shapes = {"u": torch.empty(count, dim, dtype=self.bridge.dtype)}

    def start(self) -> None:
        method, bridge = self.method, self.bridge
        if self.particles is None:
            self.particles = start_at(bridge, bridge.draw(method.num_particles, self.seed, "particles"))
        self.transition.compile(self.particles, method.steps, method.compile)
        if self.knots is None:
            self.knots = run_pilot(bridge, self.transition, method.num_particles, self.seed)
        self._set_out()

    def _set_out(self) -> None:
        method = self.method
        assert self.knots is not None
        plan = make_plan(self.knots, method.steps, method.schedule)
        groups = GROUPS if method.resampling else 0
        self.passage = Passage(
            self.bridge, self.transition, plan, method.num_particles, self.seed, "particles", groups=groups
        )

    def advance(self, step: int, most: int) -> int:
        assert self.particles is not None
        every = self.method.log_every
        most = min(most, every - step % every)
        self.particles, rates = self.passage.advance(self.particles, step, most)
        self.rates = self.rates + torch.stack([rates.sum(), rates.new_tensor(len(rates))])
        self.step = step + len(rates)
        return len(rates)

    def row(self, step: int) -> dict[str, Any]:
        assert self.particles is not None
        log_weights, (total, count) = self.particles[-1], self.rates.tolist()
        self.rates = torch.zeros_like(self.rates)
        evidence = float(log_weights.logsumexp(0)) - math.log(len(log_weights))
        if not evidence > _NEVER:
            advice = "Take more `num_particles`, or begin at a fit (`base=`)."
            raise NonFiniteError(f"AIS: at step {step} no particle has a likelihood. {advice}")
        effective = float((2.0 * log_weights.logsumexp(0) - (2.0 * log_weights).logsumexp(0)).exp())
        return {
            "loss": -evidence,
            "log_evidence": evidence,
            "beta": float(self.passage.plan.betas[step]),
            "ess": effective,
            "acceptance": total / count if count else math.nan,
        }

    def state(self) -> Snapshot:
        if self.particles is None or self.knots is None:
            return Snapshot({"rates": self.rates}, {"begun": False})
        tensors = dict(zip(STATE, self.particles, strict=True)) | self.knots.tensors | {"rates": self.rates}
        return Snapshot(tensors, {"begun": True, "compile": self.transition.how})

    @property
    def shapes(self) -> dict[str, torch.Tensor]:
        return self._shapes

    def check(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        own = {"rates": self.rates}
        if snapshot.values["begun"]:
            u = self._shapes["u"]
            own |= {name: u if name == "u" or "slope" in name else u[:, 0] for name in STATE}
            dense = snapshot.tensors["factors"].dim() == 3
            own |= {"betas": u[:0, 0], "sizes": u[:0, 0], "factors": u.unsqueeze(-1).expand(-1, -1, u.shape[1])[:0]}
            own["factors"] = own["factors"] if dense else u[:0]
        check_tensors(snapshot.tensors, own)

    def load(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        found = {name: value.to(self.bridge.device) for name, value in snapshot.tensors.items()}
        self.rates = found["rates"]
        self.step = int(snapshot.values.get("step", rows[-1]["step"] if rows else 0))
        if snapshot.values["begun"]:
            self.particles = tuple(found[name] for name in STATE)
            self.knots = Knots(found["betas"], found["factors"], found["sizes"])
            self.transition.how = str(snapshot.values["compile"])  # until it is compiled again
            self._set_out()

    def finish(self, status: str) -> FitParts:
        if self.particles is None:
            self.start()
        assert self.particles is not None and self.knots is not None
        u, log_weights = self.particles[0], self.particles[-1]
        generator = torch.Generator(self.bridge.device).manual_seed(derive_seed(self.seed, "annealing", "draws"))
        chosen = systematic(log_weights, generator)
        order = torch.randperm(len(chosen), generator=generator, device=chosen.device)
        with torch.no_grad():
            values, _ = self.bridge.density.latents(u[chosen[order]])
        draws = {name: value.to(torch.get_default_dtype()) for name, value in values.items()}
        info: dict[str, Any] = {
            "beta": float(self.passage.plan.betas[self.step]),
            "leapfrogs": self.transition.leapfrogs,
            "knots": len(self.knots.betas),
            "compile": self.transition.how,
        }
        if self.step < self.method.steps:  # the particles are of a tempered posterior
            return FitParts(self.program, draws=draws, info=info)
        groups = GROUPS if self.method.resampling else 0
        found = annealed_estimate(log_weights, self.data_size, groups=groups)
        info |= {"log_evidence": found.value, "evidence": found.to_dict()}
        reason = f"log evidence {found}, of {len(u)} particles with an effective number of {found.details['ess']:.0f}"
        if "k_hat" in found.details:
            reason += f"; the limit of k-hat is {k_threshold(len(u)):.2g}"
        verdict = Verdict(CONVERGED, reason)
        if found.details["unreliable"]:
            advice = "Take more `steps` (twice as many halve the variance of log weights), or begin at a fit (`base=`)."
            verdict = Verdict(NOT_CONVERGED, reason, advice)
        return FitParts(self.program, draws=draws, info=info, verdict=verdict)
