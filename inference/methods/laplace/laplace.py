"""`Laplace`: the normal of the curvature at the mode, and the evidence that it gives."""

from __future__ import annotations

__all__ = ["Laplace"]

import math
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch

from ...data.base import MemoryData
from ...devices import exact_dtype
from ...errors import ConfigurationError, ModelError, NonFiniteError, nearest
from ...guides import build_guide
from ...guides.whitened import fold, whiten
from ...options import check_whole
from ...pair.function_program import own_copy
from ...pair.program import Program
from ...run.algorithm import Algorithm, FitParts, Snapshot
from ...run.checkpoint_check import check_tensors
from ...run.convergence import CONVERGED, Verdict
from ..base import Method
from ..pathfinder.normal import Normal
from ..pathfinder.target import check_suited, posterior_target
from .curvature import STRUCTURES, Curvature, structured
from .faults import explained
from .mode import AT_REST, Mode, find_mode

_NUMBERS = ("bound", "log_evidence", "log_density", "distance", "climb_steps")


@dataclass(frozen=True)
class Laplace(Method):
    r"""A normal at the mode of the posterior of global latents, with the curvature there.

    .. math:: \hat u = \arg\max_u \log \tilde p(u), \qquad H = -\nabla^2 \log \tilde p(\hat u), \qquad
       q = \mathcal N(\hat u, H^{-1}), \qquad
       \log p(x) \approx \log \tilde p(\hat u) + \tfrac D2 \log 2\pi - \tfrac12 \log\det H

    over the unconstrained latents u, whose density :math:`\tilde p` has the Jacobian of their supports. Exact where the
    posterior of u is normal. H is computed by differentiating twice, in float64, after Newton steps have brought the
    gradient to zero. Several climbs, from the centre of the prior and draws from it, keep the mode whose normal has the
    greatest bound. Parameters of the model stay as they are.

    Args:
        steps: number of climbs, each from a start of its own; a step of the fit is a climb.
        hessian: ``"full"``; ``"block"``, without what couples one latent site with another; or ``"diagonal"``, whose
            guide has independent normals. What is left out makes the evidence smaller.
        num_draws: from the normal, to estimate its bound.
        device, checkpoint_every, progress: as in `SVI`.
        dtype: floating-point type of the fitted guide; None for float64 (float32 on a device without float64).

    Raises:
        ConfigurationError: for any value that cannot work, at construction.
        ModelError: the model has latents of each datum, masked ones, or none or more than 500 numbers; or its density
            has no mode with a curvature (it is flat along a direction, or rises without end): the direction is named.
        NonFiniteError: the density has no value at any start.

    The fit's ``info`` has ``log_evidence``, the approximation above in nats; ``log_density`` at the mode;
    ``newton_distance``, what a Newton step would still move it by in posterior standard deviations; and how many
    ``modes`` the climbs found.

    Reference: Tierney and Kadane (1986), Accurate approximations for posterior moments and marginal densities,
    https://doi.org/10.1080/01621459.1986.10478240

    Example:
        >>> from jensen.models import BayesianLogisticRegression
        >>> x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
        >>> data = {"x": x, "y": (x[:, 0] > 0).float()}
        >>> fit = Laplace(progress=False).fit(BayesianLogisticRegression(2), data)
        >>> fit.status, fit.posterior(100)["w"].shape
        ('converged', torch.Size([100, 2]))
    """

    steps: int = 4
    hessian: str = "full"
    num_draws: int = 32
    device: str | torch.device = "auto"
    dtype: torch.dtype | None = None
    checkpoint_every: int | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("num_draws", self.num_draws)
        if self.hessian not in STRUCTURES:
            raise ConfigurationError(
                f"`hessian` must be one of {', '.join(STRUCTURES)}, got {self.hessian!r}."
                f"{nearest(self.hessian, STRUCTURES)}"
            )

    @property
    def guide(self) -> str:
        """The name of the guide that the fit holds."""
        return "normal" if self.hessian == "diagonal" else "multivariate_normal"

    def check_model(self, model: Any) -> None:
        """Any program can be tried: its latents are looked at."""

    def configuration(self) -> dict[str, Any]:
        return {**super().configuration(), "guide": self.guide}

    def begin(self, model: Any, train: MemoryData, validation: dict[str, torch.Tensor] | None, seed: int) -> _Climbs:
        own = own_copy(model, torch.get_default_device(), torch.get_default_dtype())
        return _Climbs(self, own, train, seed)

    def _number_type(self, device: torch.device) -> torch.dtype:
        return self.dtype or exact_dtype(device)


@dataclass
class _Found:
    """What the climbs so far have found."""

    loc: torch.Tensor
    hessian: torch.Tensor  # of the structure that was asked for
    places: torch.Tensor  # ``(n, D)``, the mode of each climb that ended at one
    bound: float = -math.inf
    log_evidence: float = -math.inf
    log_density: float = math.nan
    distance: float = math.inf
    climb_steps: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        return {"loc": self.loc, "hessian": self.hessian, "places": self.places}

    @property
    def numbers(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in _NUMBERS}


class _Climbs(Algorithm):
    def __init__(self, method: Laplace, model: Any, train: MemoryData, seed: int) -> None:
        batch = train.batch()
        self.data_size, self.structure = train.size, method.hessian
        check_suited("Laplace", model, batch)
        with pyro.get_param_store().scope():  # whatever happens while the guide looks at the model
            self.guide: Any = build_guide(method.guide, model, batch)
        self.program = Program(model, self.guide)
        self.program.structure(batch)
        self.target = posterior_target(model, batch, seed, method.num_draws)
        dim = self.target.log_density.dim
        centre = self.target.centre
        self.found = _Found(centre, torch.eye(dim).to(centre), centre.new_empty(0, dim))

    def advance(self, step: int, most: int) -> int:
        starts = self.target.starts
        mode = find_mode(self.target.log_density, starts[step % len(starts)], self.target.spread)
        if mode is not None:
            self.found.climb_steps += mode.steps
            if mode.fault:
                self.found.faults.append(explained(mode, self.target))
            else:
                self.found.places = torch.cat([self.found.places, mode.u.unsqueeze(0)])
                self._compare(mode)
        return 1

    def _compare(self, mode: Mode) -> None:
        """Keep the mode if its normal has a greater bound than those before."""
        density = self.target.log_density.density
        hessian = structured(mode.hessian, [math.prod(shape) for shape in density.shapes], self.structure)
        curvature = Curvature(hessian, self.target.spread)
        draws, log_q = Normal(mode.u, curvature.scale_tril).draw(self.target.noise)
        bound = float((self.target.log_density(draws)[0] - log_q).mean())
        bound = bound if math.isfinite(bound) else -math.inf
        evidence = mode.value + 0.5 * len(mode.u) * math.log(2 * math.pi) - 0.5 * curvature.log_det
        found = self.found
        if (bound, evidence) > (found.bound, found.log_evidence):
            found.loc, found.hessian, found.bound, found.log_evidence = mode.u, hessian, bound, evidence
            found.log_density, found.distance = mode.value, mode.distance

    def converged(self) -> bool:
        """Whether two climbs went nowhere, and none found a mode: others would go there too."""
        return len(self.found.faults) > 1 and not len(self.found.places)

    def row(self, step: int) -> dict[str, Any]:
        found = self.found
        return {
            "bound": found.bound,
            "bound_per_datum": found.bound / self.data_size,
            "loss": -found.bound,
            "log_evidence": found.log_evidence,
        }

    def state(self) -> Snapshot:
        return Snapshot(self.found.tensors, {**self.found.numbers, "faults": self.found.faults})

    def check(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        check_tensors(snapshot.tensors, self.shapes)
        for name in _NUMBERS:
            float(snapshot.values[name])
        [str(fault) for fault in snapshot.values["faults"]]

    def load(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        tensors = {name: value.to(self.target.centre.device) for name, value in snapshot.tensors.items()}
        numbers: dict[str, Any] = {name: snapshot.values[name] for name in _NUMBERS}
        places, faults = tensors["places"], list(snapshot.values["faults"])
        self.found = _Found(tensors["loc"], tensors["hessian"], places, faults=faults, **numbers)

    @property
    def shapes(self) -> dict[str, torch.Tensor]:
        return {**self.found.tensors, "places": self.found.places[:0]}

    def finish(self, status: str) -> FitParts:
        found = self.found
        if not len(found.places):
            if found.faults:
                raise ModelError(f"Laplace: {found.faults[0]}")
            raise NonFiniteError("Laplace: the log density has no value at any start. Start elsewhere, or use SVI.")
        curvature = Curvature(found.hessian, self.target.spread)
        whiten(self.guide, found.loc, curvature.scale_tril)
        fold(self.guide)
        here = sum(self._same(place, found.loc) for place in found.places)
        modes: list[torch.Tensor] = []
        for place in found.places:
            if not any(self._same(place, other) for other in modes):
                modes.append(place)
        reason = (
            f"at the mode a Newton step is {found.distance:.1g} posterior sds (tolerance {AT_REST:g}); of "
            f"{len(found.places) + len(found.faults)} climbs {here} ended there"
        )
        advice = f"{len(modes)} modes were found, and the normal stands for one of them." if len(modes) > 1 else ""
        info = {
            "log_evidence": found.log_evidence,
            "log_density": found.log_density,
            "newton_distance": found.distance,
            "modes": len(modes),
            "path_steps": found.climb_steps,
        }
        return FitParts(self.program, self.guide, found.bound, verdict=Verdict(CONVERGED, reason, advice), info=info)

    def _same(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        """Whether two places are less than a hundredth of a standard deviation apart."""
        step = one - other
        return float(step @ self.found.hessian @ step) < 1e-4
