r"""One temperature of the path: a weight, and a Hamiltonian move that leaves :math:`f_\beta` as it is.

.. math:: \log w \leftarrow \log w + (\beta_t - \beta_{t-1})\, g(u), \qquad u \sim K_{\beta_t}(\cdot \mid u)

where K follows Hamilton's equations of :math:`-\log f_\beta(L v) + \tfrac12 p^\top p` over a few leapfrog steps from a
fresh momentum p, and takes where that ends with probability :math:`\min(1, e^{-\Delta H})`. Going back, the move comes
first and the weight after it. A function of tensors without branches, so that it is recorded and compiled like the step
of a fit.

References: R. Neal, "Annealed importance sampling", Statistics and Computing 11, 2001,
https://arxiv.org/abs/physics/9803008; R. Neal, "MCMC using Hamiltonian dynamics", 2011,
https://arxiv.org/abs/1206.1901.
"""

from __future__ import annotations

__all__ = ["DENSE", "STATE", "State", "Transition", "default_leapfrogs", "start_at"]

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..devices import threads
from ..step.compile.c.library import CSteps
from ..step.compile.choice import is_tiny
from ..step.compile.cost import estimate_cost
from ..step.recorded_function import compile_graph, record_function
from .bridge import Bridge

State = tuple[Tensor, ...]
DENSE = 300  # numbers of which the particles' whole covariance is used
STATE = ("u", "base", "gain", "base_slope", "gain_slope", "log_weight")


def default_leapfrogs(dim: int) -> int:
    """About a quarter turn of steps that shrink as the fourth root of the dimension."""
    return max(2, round(1.2 * dim**0.25))


def start_at(bridge: Bridge, u: Tensor) -> State:
    """Particles at ``u (K, D)``, each of weight one."""
    with torch.no_grad():
        return (u, *bridge.terms(u), u.new_zeros(len(u)))


class Transition:
    """Temperatures one after the other, eagerly, by a trace or compiled.

    Args:
        bridge: the path.
        leapfrogs: of each move.

    Attributes:
        how: ``"eager"``, ``"trace"``, ``"c"`` or ``"inductor"``.
    """

    def __init__(self, bridge: Bridge, leapfrogs: int) -> None:
        self.bridge, self.leapfrogs, self.how = bridge, leapfrogs, "eager"
        self._run: Callable[..., Any] = self._step
        self._in_c: CSteps | None = None
        self._tiny = False

    def _step(
        self,
        u: Tensor,
        base: Tensor,
        gain: Tensor,
        base_slope: Tensor,
        gain_slope: Tensor,
        log_weight: Tensor,
        factor: Tensor,
        momentum: Tensor,
        chance: Tensor,
        size: Tensor,
        place: Tensor,
    ) -> tuple[Tensor, ...]:
        """One temperature; the last result is the mean acceptance.

        Args:
            factor: L, ``(D, D)``, or its diagonal, ``(D,)``.
            momentum: standard normal, ``(K, D)``.
            chance: logs of uniform numbers, ``(K,)``.
            size: of the leapfrog steps, ``(K, 1)``.
            place: the inverse temperature, and what is added to it before the move and after it, ``(3,)``.
        """
        dense = factor.dim() == 2
        beta, before, after = place[0], place[1], place[2]
        log_weight = log_weight + before * gain
        at, value, terms = u, base + beta * gain, (base, gain, base_slope, gain_slope)
        old = value - 0.5 * momentum.square().sum(-1)
        for number in range(self.leapfrogs):
            slope = terms[2] + beta * terms[3]
            pull = slope @ factor if dense else slope * factor
            momentum = momentum + (0.5 if number == 0 else 1.0) * size * pull
            at = at + size * (momentum @ factor.mT if dense else momentum * factor)
            terms = self.bridge.terms(at)
        slope = terms[2] + beta * terms[3]
        momentum = momentum + 0.5 * size * (slope @ factor if dense else slope * factor)
        rise = terms[0] + beta * terms[1] - 0.5 * momentum.square().sum(-1) - old
        taken = chance < rise
        each = taken.unsqueeze(-1)
        u = torch.where(each, at, u)
        base, gain = torch.where(taken, terms[0], base), torch.where(taken, terms[1], gain)
        base_slope, gain_slope = torch.where(each, terms[2], base_slope), torch.where(each, terms[3], gain_slope)
        log_weight = log_weight + after * gain
        rate = torch.where(rise < 0.0, rise.exp(), torch.where(rise >= 0.0, 1.0, 0.0))
        return u, base, gain, base_slope, gain_slope, log_weight, rate.mean()

    def compile(self, state: State, steps: int, wanted: bool | None) -> None:
        """Record the step for as many particles as `state` has, and compile it where `steps` of it repay that.

        The rule is of the graph and of `steps` only, so that a run that goes on chooses as it did before.

        Args:
            state: an example.
            steps: how many temperatures there will be.
            wanted: True compiles in any case, False never does.
        """
        u, self.how = state[0], "eager"
        rows = [torch.zeros_like(u), u.new_full((len(u),), -0.5), u.new_full((len(u), 1), 1e-3), u.new_full((3,), 0.5)]
        dim = self.bridge.dim
        factor = torch.eye(dim).to(u) if dim <= DENSE else torch.ones(dim).to(u)
        inputs = [*(tensor.clone().contiguous() for tensor in state), factor, *rows]
        module = record_function(self._step, inputs)
        if module is None:
            return
        self._run, self.how = module.forward, "trace"
        cost = estimate_cost(module)
        self._tiny = u.device.type == "cpu" and is_tiny(cost)
        if wanted is False:
            return
        found = compile_graph(module, inputs, len(STATE), len(rows), cost=cost, calls=steps, wanted=bool(wanted))
        if isinstance(found, CSteps):
            self._in_c, self.how = found, "c"
        elif found is not None:
            self._run, self.how = found, "inductor"

    def __call__(self, state: State, factor: Tensor, rows: Sequence[Tensor]) -> tuple[State, Tensor]:
        """Go through n temperatures, whose rows are stacked; the state after them, and their acceptances ``(n,)``."""
        count, factor = len(rows[0]), factor.contiguous()  # compiled code knows one layout
        with torch.no_grad(), threads(1 if self._tiny else None):
            if self._in_c is not None:
                own = [tensor.contiguous().clone() for tensor in state]  # updated in place
                return tuple(own), self._in_c([*own, factor, *rows], count)
            rates = []
            if self.how == "inductor":
                state = tuple(tensor.clone() for tensor in state)
            for number in range(count):
                *new, rate = self._run(*state, factor, *(row[number] for row in rows))
                state = tuple(new)
                rates.append(rate)
        return state, torch.stack(rates)
