"""`Pathfinder`: the best normal on quasi-Newton paths towards the mode."""

from __future__ import annotations

__all__ = ["Pathfinder"]

from dataclasses import dataclass, field, replace
from typing import Any

import pyro
import torch

from ...data.base import MemoryData
from ...errors import NonFiniteError
from ...guides import build_guide
from ...guides.whitened import AutoMultivariateNormal
from ...options import check_whole
from ...pair.function_program import own_copy
from ...pair.program import Program
from ...run.algorithm import Algorithm, FitParts, Snapshot
from ...run.checkpoint_check import check_tensors
from ...run.convergence import CONVERGED, UNKNOWN, Verdict
from ...seeding import derive_seed
from ..base import Method
from .normal import Normal
from .resampling import Resampled, resampled
from .target import check_suited, posterior_target


@dataclass(frozen=True)
class Pathfinder(Method):
    r"""A normal approximation of the posterior of global latents, in a second or two.

    Each path climbs :math:`\log \tilde p(u)` of the unconstrained latents from the centre of the prior or a draw from
    it; of the normals with the curvature that the path has learned, the one of the greatest bound

    .. math:: \mathbb E_{q_l}[\log \tilde p(u) - \log q_l(u)], \qquad
       q_l = \mathcal N(u_l + H_l \nabla \log \tilde p(u_l), H_l)

    over all points of all paths becomes the guide, a normal with full covariance. Parameters of the model stay as they
    are. With `draws`, the fit also holds so many draws of the posterior, resampled from all paths by importance weights
    (:mod:`jensen.inference.methods.pathfinder.resampling`): these are what :meth:`Fit.posterior` and
    :meth:`Fit.predict` give, while scores are of the best normal. ``info["pareto_k"]`` is k-hat of the weights.

    Args:
        steps: number of paths, each from a start of its own; a step of the fit is a path (CmdStan's `num_paths`).
        num_draws: from each normal, to estimate its bound (CmdStan's `num_elbo_draws`).
        draws: how many draws of the posterior are resampled from the pool of at least 1,000 a path (CmdStan's `draws`);
            None for none, and the posterior is the best normal.
        device, checkpoint_every, progress: as in `SVI`.
        dtype: floating-point type of the fitted guide; paths are climbed in float64.

    Raises:
        ModelError: the model has latents of each datum, masked ones, or none or more than 500 numbers.
        NonFiniteError: the density has no value at any start.

    Reference: Zhang, Carpenter, Gelman and Vehtari (2022), Pathfinder: Parallel quasi-Newton variational inference,
    https://arxiv.org/abs/2108.03782

    Example:
        >>> from jensen.models import BayesianLogisticRegression
        >>> x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
        >>> data = {"x": x, "y": (x[:, 0] > 0).float()}
        >>> fit = Pathfinder(progress=False).fit(BayesianLogisticRegression(2), data)
        >>> fit.posterior(100)["w"].shape
        torch.Size([100, 2])
    """

    steps: int = 4
    num_draws: int = 32
    draws: int | None = field(default=None, metadata={"later": True})
    device: str | torch.device = "auto"
    dtype: torch.dtype | None = None
    checkpoint_every: int | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("num_draws", self.num_draws)
        if self.draws is not None:
            check_whole("draws", self.draws)

    def check_model(self, model: Any) -> None:
        """Any program can be tried: its latents are looked at."""

    def configuration(self) -> dict[str, Any]:
        named = {**super().configuration(), "guide": "multivariate_normal"}  # what the fit holds
        if self.draws is None:
            del named["draws"]  # as it was before there were any
        return named

    def begin(self, model: Any, train: MemoryData, validation: dict[str, torch.Tensor] | None, seed: int) -> _Paths:
        own = own_copy(model, torch.get_default_device(), torch.get_default_dtype())
        return _Paths(self, own, train, seed)


class _Paths(Algorithm):
    def __init__(self, method: Pathfinder, model: Any, train: MemoryData, seed: int) -> None:
        batch = train.batch()
        self.data_size, self.bound, self.steps, self.at_mode = train.size, -torch.inf, 0, False
        self.best: Normal | None = None
        check_suited("Pathfinder", model, batch)
        with pyro.get_param_store().scope():  # whatever happens while the guide looks at the model
            guide = build_guide("multivariate_normal", model, batch)
        assert isinstance(guide, AutoMultivariateNormal)
        self.guide = guide
        self.program = Program(model, self.guide)
        self.program.structure(batch)
        self.target = posterior_target(model, batch, seed, method.num_draws)
        self.draws, self.seed = method.draws, seed
        self.normals: list[Normal] = []  # of every path, for the draws

    def advance(self, step: int, most: int) -> int:
        starts = self.target.starts
        found = self.target.follow(starts[step % len(starts)])
        self.latest = float("nan") if found is None else found.bound
        if found is not None:
            self.steps += found.steps
            if self.draws is not None:
                self.normals.append(found.normal)
            if found.bound > self.bound:
                self.best, self.bound, self.at_mode = found.normal, found.bound, found.converged
        return 1

    def row(self, step: int) -> dict[str, Any]:
        bound = self.bound
        return {"bound": bound, "bound_per_datum": bound / self.data_size, "loss": -bound, "path_bound": self.latest}

    def state(self) -> Snapshot:
        values = {
            "bound": self.bound,
            "path_steps": self.steps,
            "at_mode": self.at_mode,
            "found": self.best is not None,
        }
        dim = self.target.log_density.dim
        best = self.best or Normal(self.target.centre, torch.eye(dim, dtype=self.target.centre.dtype))
        tensors = {"loc": best.loc, "scale_tril": best.scale_tril}
        if self.draws is not None:
            tensors["locs"] = torch.stack([n.loc for n in self.normals]) if self.normals else best.loc.new_empty(0, dim)
            roots = [n.scale_tril for n in self.normals]
            tensors["roots"] = torch.stack(roots) if roots else best.loc.new_empty(0, dim, dim)
        return Snapshot(tensors, values)

    def check(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        check_tensors(snapshot.tensors, self.shapes)
        float(snapshot.values["bound"])

    def load(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        values = snapshot.values
        self.bound, self.steps, self.at_mode = values["bound"], values["path_steps"], values["at_mode"]
        tensors = {name: value.to(self.target.centre.device) for name, value in snapshot.tensors.items()}
        if self.draws is not None:
            self.normals = [Normal(*pair) for pair in zip(tensors["locs"], tensors["roots"], strict=True)]
        if values["found"]:
            self.best = Normal(tensors["loc"], tensors["scale_tril"])

    @property
    def shapes(self) -> dict[str, torch.Tensor]:
        held = self.state().tensors
        return {name: value[:0] if name in ("locs", "roots") else value for name, value in held.items()}

    def finish(self, status: str) -> FitParts:
        if self.best is None:
            raise NonFiniteError("Pathfinder: the log density has no value at any start. Start elsewhere, or use SVI.")
        self.guide.whiten(self.best.loc, self.best.scale_tril)
        self.guide.fold()
        info: dict[str, Any] = {"path_steps": self.steps, "at_mode": self.at_mode}
        verdict = Verdict(UNKNOWN, "the best path ended before it reached a mode", "See its `pareto_k`, or use SVI.")
        if self.at_mode:
            verdict = Verdict(CONVERGED, "the best path ended at a mode")
        draws = None
        if self.draws is not None:
            draws, found = self._resampled(self.draws)
            info |= {"pareto_k": found.pareto_k, "pareto_k_threshold": found.threshold}
            if not found.pareto_k <= found.threshold:
                k = f"k-hat {found.pareto_k:.2g} of the paths' weights is above {found.threshold:.2g}"
                verdict = replace(
                    verdict, advice=f"The draws are unreliable: {k}. Use SVI, or see whether paths agree."
                )
        return FitParts(self.program, self.guide, self.bound, draws=draws, verdict=verdict, info=info)

    def _resampled(self, count: int) -> tuple[dict[str, torch.Tensor], Resampled]:
        """Draws ``(count, …)`` of every latent, in the number type of the fit, and how good they are."""
        centre, density = self.target.centre, self.target.log_density
        generator = torch.Generator(centre.device).manual_seed(derive_seed(self.seed, "resampling"))
        found = resampled(density, self.normals, count, generator)
        with torch.no_grad():
            values, _ = density.density.latents(found.u)
        return {name: value.to(torch.get_default_dtype()) for name, value in values.items()}, found
