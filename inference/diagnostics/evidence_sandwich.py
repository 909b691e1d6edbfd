"""The log evidence between a stochastic lower and a stochastic upper bound."""

from __future__ import annotations

__all__ = ["EvidenceSandwich", "evidence_sandwich"]

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from ..annealing.bridge import Bridge, build_bridge
from ..annealing.given_base import as_base
from ..annealing.passage import Passage
from ..annealing.pilot import run_pilot
from ..annealing.schedule import Plan, make_plan
from ..annealing.simulation import simulate
from ..annealing.transition import State, Transition, default_leapfrogs, start_at
from ..devices import resolve_device
from ..errors import ConfigurationError, DataError
from ..fit.record import FitRecord
from ..options import check_count, check_seed
from .annealed_evidence import annealed_estimate, plain_bound
from .estimate import Estimate
from .reference import check_reference, data_of, is_chains, reference_draws

_FEWEST = 32  # particles
_MOVES = (20, 200)  # of the particles on their way back at the posterior, before they leave it: at least and at most


@dataclass(frozen=True, repr=False)
class EvidenceSandwich:
    r"""Bounds of :math:`\log Z`, the log evidence, in nats over all data.

    Attributes:
        lower: :math:`\log \bar w`, at most :math:`\log Z` in expectation.
        upper: :math:`-\log \bar w'`, at least :math:`\log Z` in expectation.
        confidence: that the intervals hold :math:`\log Z` with.
        simulated: whether the data were drawn from the model.
        data: the data that the evidence is of.
    """

    lower: Estimate
    upper: Estimate
    confidence: float
    simulated: bool
    data: dict[str, Tensor]

    @property
    def interval(self) -> tuple[float, float]:
        """From the lower bound less its error to the upper bound and its error, at the confidence.

        Half of what may go wrong is left to each side. It relies on the errors, hence on chains that mix.
        """
        times = NormalDist().inv_cdf(0.5 + 0.5 * self.confidence)
        return self.lower.value - times * self.lower.stderr, self.upper.value + times * self.upper.stderr

    @property
    def guaranteed(self) -> tuple[float, float]:
        r"""The same by Markov's inequality, :math:`P(\log \bar w > \log Z + b) \le e^{-b}`, and above alike.

        However badly chains mix: all it needs is that the draws on the way back begin at the posterior.
        """
        slack = math.log(2.0 / (1.0 - self.confidence))
        return self.lower.value - slack, self.upper.value + slack

    @property
    def gap(self) -> Estimate:
        """Upper less lower bound: what is not known, and in expectation at least 0."""
        stderr = math.hypot(self.lower.stderr, self.upper.stderr)
        return Estimate(self.upper.value - self.lower.value, stderr, self.lower.n)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and dicts, without the data."""
        return {
            "lower": self.lower.to_dict(),
            "upper": self.upper.to_dict(),
            "confidence": self.confidence,
            "interval": list(self.interval),
            "guaranteed": list(self.guaranteed),
            "simulated": self.simulated,
        }

    def __str__(self) -> str:
        (low, high), (least, most) = self.interval, self.guaranteed
        of = " of simulated data" if self.simulated else ""
        return (
            f"{self.lower} <= log evidence{of} <= {self.upper}\n"
            f"  {self.confidence:.0%} interval [{low:.7g}, {high:.7g}] by the errors, "
            f"[{least:.7g}, {most:.7g}] by Markov's inequality"
        )

    def __repr__(self) -> str:
        return f"EvidenceSandwich({self})"


def evidence_sandwich(
    fit: Any,
    data: Any = None,
    *,
    reference: Any = None,
    simulated: bool = False,
    base: Any = None,
    steps: int = 1_000,
    num_particles: int = 256,
    leapfrogs: int | None = None,
    confidence: float = 0.95,
    compile: bool | None = None,
    seed: int = 0,
) -> EvidenceSandwich:
    r"""The log evidence between two bounds, both by annealed importance sampling (bidirectional Monte Carlo).

    .. math:: \mathbb E \log \bar w \le \log p(x) \le -\mathbb E \log \bar w'

    w are weights of particles that go from the prior to the posterior (:class:`jensen.inference.AIS`); w', whose mean
    is :math:`1 / p(x)`, of particles that begin at draws from the posterior and go back to the prior through the same
    temperatures. Where those draws come from decides what is known: from the chains of a converged `reference`, of the
    data themselves; with `simulated` from the model, which draws latents and data together, so that the latents are an
    exact draw of that data's posterior and both bounds hold whatever mixes. Both sides share a pilot run, which chooses
    temperatures, coordinates and step sizes with random numbers of its own.

    Args:
        fit: a `Fit`, or a model. Its parameters stay as they are.
        data: the training data by default. With `simulated`, only its inputs and shapes are used.
        reference: a converged fit by NUTS (or another method with chains) of the same model and data; `fit` itself by
            default, if it is one.
        simulated: whether the data are drawn from the model.
        base: a `Fit`, the normal of whose posterior the path begins at; None for the prior.
        steps: temperatures. The gap falls as one over it.
        num_particles: each way, at least 32.
        leapfrogs, compile: as in :class:`jensen.inference.AIS`.
        confidence: of the intervals, in (0, 1).
        seed: of everything that is random.

    Returns:
        The bounds: an :class:`EvidenceSandwich`. Their details are those of ``log_evidence`` of an `AIS` fit.

    Raises:
        ConfigurationError: if there is no reference and nothing is simulated, the reference has not converged, is no
            fit with chains, or is of other data or parameters; if an option cannot work.
        ModelError: as in :class:`jensen.inference.AIS`.

    References: R. Grosse, Z. Ghahramani, R. Adams, "Sandwiching the marginal likelihood using bidirectional Monte
    Carlo", 2015, https://arxiv.org/abs/1511.02543; R. Grosse, S. Ancha, D. Roy, "Measuring the reliability of MCMC
    inference with bidirectional Monte Carlo", NeurIPS 2016, https://arxiv.org/abs/1606.02275.

    Example:
        >>> evidence_sandwich(NUTS().fit(model, data))  # doctest: +SKIP
        EvidenceSandwich(-48.71 +- 0.04 (k-hat 0.2) <= log evidence <= -48.66 +- 0.04 (k-hat 0.1)
          95% interval [-48.79, -48.58] by the errors, [-52.4, -44.97] by Markov's inequality)
    """
    check_seed(seed)
    steps = check_count("steps", steps)
    count = check_count("num_particles", num_particles, _FEWEST)
    if leapfrogs is not None:
        leapfrogs = check_count("leapfrogs", leapfrogs)
    if isinstance(confidence, bool) or not isinstance(confidence, (int, float)) or not 0.0 < confidence < 1.0:
        raise ConfigurationError(f"`confidence` must be a number in (0, 1), such as 0.95, got {confidence!r}.")
    if simulated and reference is not None:
        raise ConfigurationError("`simulated` data have draws of their own: leave `reference` out, or `simulated`.")
    if reference is None and not simulated:
        if not is_chains(fit):
            raise ConfigurationError(
                "`reference` must be a converged fit of these data with chains, such as `NUTS().fit(model, data)`; or "
                "pass `simulated=True` for the evidence of data that are drawn from the model."
            )
        reference = fit
    model = fit.model if isinstance(fit, FitRecord) else fit
    if data is None and not isinstance(fit, FitRecord) and isinstance(reference, FitRecord):
        data = reference.data
    batch = data_of(fit, data, resolve_device("auto"))
    if reference is not None:
        check_reference(reference, model, batch, count)
    drawn: dict[str, Tensor] = {}
    if simulated:
        made = simulate(model, batch, seed)
        batch, drawn = made.data, made.latents
    bridge = build_bridge("evidence_sandwich", model, batch, as_base(base))
    if simulated:
        names = [site.name for site in bridge.density.sites]
        exact = bridge.free({name: drawn[name].unsqueeze(0) for name in names}).expand(count, -1).contiguous()
    else:
        exact = bridge.free(reference_draws(reference, count))
    if not bool(torch.isfinite(exact).all()):
        raise DataError(
            "Draws of the reference lie on the edge of their support in its number type, where there is no density. "
            "Fit it with `dtype=torch.float64`."
        )
    transition = Transition(bridge, leapfrogs or default_leapfrogs(bridge.dim))
    begin = start_at(bridge, bridge.draw(count, seed, "there"))
    transition.compile(begin, 2 * steps, compile)
    plan = make_plan(run_pilot(bridge, transition, count, seed), steps, "adaptive")
    there = Passage(bridge, transition, plan, count, seed, "there").complete(begin)
    home = _moved(bridge, transition, plan, start_at(bridge, exact), seed)
    back = Passage(bridge, transition, plan, count, seed, "back", back=True).complete(home)
    size = len(next(iter(batch.values())))
    lower = plain_bound(annealed_estimate(there[-1], size))
    upper = plain_bound(annealed_estimate(back[-1], size, back=True))
    if not simulated:  # draws of chains are not independent: the spread between parts of them counts
        parts = annealed_estimate(back[-1][: count - count % 16], size, groups=16, back=True)
        upper = Estimate(upper.value, max(upper.stderr, parts.stderr), size, upper.details)
    return EvidenceSandwich(lower, upper, float(confidence), simulated, batch)


def _moved(bridge: Bridge, transition: Transition, plan: Plan, state: State, seed: int) -> State:
    """The particles after moves that leave the posterior as it is, so that they forget what they began at."""
    steps = min(max(len(plan.metrics) // 10, _MOVES[0]), _MOVES[1])
    ones = plan.betas.new_ones(steps + 1)
    still = Plan(ones, plan.sizes[-1].expand(steps), [plan.metrics[-1]] * steps, plan.factors)
    return Passage(bridge, transition, still, len(state[0]), seed, "home").complete(state)
