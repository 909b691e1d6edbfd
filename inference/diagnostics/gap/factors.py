"""The guide's distributions of local draws, each datum's free of the network that set them."""

from __future__ import annotations

__all__ = ["Factors"]

from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ...errors import ModelError
from ...pair.program import Program
from ...pair.sites import Structure
from ...pair.trace import JointTrace
from ...tensors import Batch
from .free_distribution import FreeDistribution, Unsuited

Values = dict[str, dict[str, Tensor]]
"""Tensors by site and parameter."""


class Factors:
    r"""A pair whose guide draws each local latent from a distribution of the same family, free for every datum.

    Args:
        program: the pair.
        names: the sites that are drawn, all of them local.

    Attributes:
        program: the pair with that guide, at what :meth:`set` was given.
        start: the parameters that the guide itself sets on the rows that :meth:`read` saw.
    """

    def __init__(self, program: Program, names: list[str]) -> None:
        self._own, self.names = program, names
        self._free: dict[str, FreeDistribution] = {}
        self._present: Values = {}
        self.program = program.with_guide(_Put(self)(program.guide))

    def read(self, batch: Batch, structure: Structure) -> None:
        """Take the distributions that the guide has on these rows.

        Raises:
            ModelError: if one has no parameters to set, or they change with the draw of another latent.
        """
        first, again = self._distributions(batch, structure, 0), self._distributions(batch, structure, 1)
        self._free, self._shapes = {}, {}
        for name, fn in first.items():
            try:
                free = FreeDistribution(fn)
                other = FreeDistribution(again[name])
            except Unsuited as reason:
                raise _refusal(name, str(reason)) from None
            if any(not torch.equal(value, other.start[key]) for key, value in free.start.items()):
                raise _refusal(name, "changes with the draw of another latent")
            self._free[name] = free
            self._shapes[name] = len(fn.batch_shape) + (structure.sites[name].data_dim or -1)
        self.start: Values = {name: free.start for name, free in self._free.items()}
        self.set(self.start)

    def _distributions(self, batch: Batch, structure: Structure, seed: int) -> dict[str, Any]:
        """By site, with gradients of whatever the guide's parameters reach, also of frozen ones."""
        parameters = [p for p in self._own.parameters() if p.is_floating_point()]
        before = [parameter.requires_grad for parameter in parameters]
        try:
            for parameter in parameters:
                parameter.requires_grad_(True)
            with torch.enable_grad(), self._own.environment():
                torch.manual_seed(seed)  # of a generator that `scored` puts back
                nodes = JointTrace(self._own, structure, batch).guide({}).nodes
                return {name: nodes[name]["fn"] for name in self.names}
        finally:
            for parameter, asked in zip(parameters, before, strict=True):
                parameter.requires_grad_(asked)

    def set(self, values: Values) -> None:
        """From now on the guide's distributions have these parameters."""
        self._present = values

    def distribution(self, name: str) -> Any:
        """The present distribution of a site, or None where it is the guide's own."""
        return self._free[name].build(self._present[name]) if name in self._present else None

    def draw(self, values: Values, num: int) -> dict[str, Tensor]:
        """Draws ``(num, *site shape)`` of all sites at these parameters, with their gradient."""
        return {name: free.build(values[name]).rsample((num,)) for name, free in self._free.items()}

    def zeros(self) -> Values:
        """Unconstrained moves that lead nowhere."""
        return {name: free.zeros() for name, free in self._free.items()}

    def move(self, start: Values, moves: Values) -> Values:
        """The parameters that `moves` from `start` lead to."""
        return {name: free.move(start[name], moves[name]) for name, free in self._free.items()}

    def choose(self, where: Tensor, these: Values, those: Values) -> Values:
        """For each datum, `these` parameters where ``where (B,)`` is true, else `those`."""
        return {
            name: {
                key: torch.where(_along(where, self._shapes[name], value), value, those[name][key])
                for key, value in parameters.items()
            }
            for name, parameters in these.items()
        }


def _along(where: Tensor, axis: int, value: Tensor) -> Tensor:
    return where.reshape([-1 if i == axis else 1 for i in range(value.dim())])


class _Put(Messenger):
    """Put the free distributions in the place of the guide's."""

    def __init__(self, factors: Factors) -> None:
        super().__init__()
        self.factors = factors

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.factors.names and (fn := self.factors.distribution(msg["name"])) is not None:
            msg["fn"] = fn


def _refusal(name: str, reason: str) -> ModelError:
    return ModelError(
        f"`inference_gap` cannot be split into approximation and amortization here: the guide's distribution of "
        f"`{name}` {reason}, so it has no best form for each datum. Of such a guide the whole gap is "
        f"`log_evidence(fit)` less `elbo_terms(fit)`; it is split where each local latent is drawn from a "
        f"reparameterised distribution whose parameters depend on the data alone, such as a Normal."
    )
