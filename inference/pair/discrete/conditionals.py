r"""Discrete latents given everything else: the elimination that sums them out, run backwards.

Summing a variable `s` out of the product `J(s, r)` of all factors that hold it leaves :math:`m(r) = \log \sum_s \exp
J(s, r)`, and :math:`p(s \mid r, x) = \exp(J(s, r) - m(r))`. In the reverse order, `r` is known before `s`: drawn, for
exact joint draws (in a chain, forward filtering and backward sampling); or with its own marginal, for exact marginals.
"""

from __future__ import annotations

__all__ = ["Conditional"]

from typing import Any

import torch

from ...errors import ModelError
from ..findings.pair_sites import is_ignored
from .sum_product import Elimination, Factor, align, factor_of, sum_out


class Conditional:
    r"""The joint conditional :math:`p(z \mid x, \theta)` of the discrete sites `names` of a model's trace.

    Args:
        trace: of the model, with `names` enumerated in parallel.
        names: the sites `z`.
        known: the other latents, at their values. A latent that is in neither was drawn for nothing, and is left out;
            nothing observed may depend on it.

    Raises:
        ModelError: if a site depends on all elements of a discrete latent's plate together.
    """

    def __init__(self, trace: Any, names: frozenset[str], known: frozenset[str] = frozenset()) -> None:
        trace.symbolize_dims()
        plates: dict[str, str] = trace.plate_to_symbol
        counted = names | known
        nodes = {
            name: node
            for name, node in trace.nodes.items()
            if not is_ignored(node) and (node["is_observed"] or name in counted)
        }
        self.nodes = {name: node for name, node in nodes.items() if name in names and not node["is_observed"]}
        self.symbol_of = {name: node["infer"]["_enumerate_symbol"] for name, node in self.nodes.items()}
        self.frames = {
            name: sorted((f.dim, plates[f.name], f.size) for f in node["cond_indep_stack"] if f.vectorized)
            for name, node in self.nodes.items()
        }
        symbols = set(self.symbol_of.values())
        # A mask hides what depends on a discrete latent, never its own probabilities.
        factors = {name: factor_of(node, plates, masked=name not in self.nodes) for name, node in nodes.items()}
        held = {name: factor for name, factor in factors.items() if not symbols.isdisjoint(factor.dims)}
        self._check_plates(held)
        self.steps: list[Elimination] = []
        if held:
            sum_out(list(held.values()), symbols, frozenset(), self.steps)

    def _check_plates(self, factors: dict[str, Factor]) -> None:
        for name, symbol in self.symbol_of.items():
            around = {plate for _, plate, size in self.frames[name] if size > 1}
            for other, factor in factors.items():
                if symbol in factor.dims and not around <= factor.ordinal:
                    raise ModelError(
                        f"`{other}` depends on all elements of the discrete latent `{name}` together, but is outside "
                        f"of its plate, so the elements cannot be summed out one by one. Write them as sites of their "
                        f"own, or put `{other}` inside the plate."
                    )

    @property
    def num_numbers(self) -> int:
        """How many numbers the factors and the sums over them take, about."""
        return 4 * sum(step.joint.tensor.numel() for step in self.steps)

    def draw(self) -> dict[str, torch.Tensor]:
        """One joint draw of every site, ``(*batch shape, *event shape)``, from torch's generator."""
        index: dict[str, Factor] = {}
        name_of = {symbol: name for name, symbol in self.symbol_of.items()}
        for step in reversed(self.steps):
            frames = [frame for frame in self.frames[name_of[step.symbol]] if frame[2] > 1]
            logits = _select(step, index, frames)
            reached = logits.softmax(0).cumsum(0)
            uniform = torch.rand([size for _, _, size in frames], dtype=logits.dtype, device=logits.device)
            chosen = (reached <= uniform * reached[-1]).sum(0)  # below C, as the uniform is below 1
            index[step.symbol] = Factor(chosen, "".join(plate for _, plate, _ in frames))
        return {name: self._value(name, index.get(symbol)) for name, symbol in self.symbol_of.items()}

    def probabilities(self) -> dict[str, torch.Tensor]:
        """Each site's marginal, ``(*batch shape, C)``, over its `support`."""
        cliques: list[Factor] = []  # of the steps in reverse: p(s, r | x)
        found: dict[str, Factor] = {}
        enumerated = set(self.symbol_of.values())
        for step in reversed(self.steps):
            joint, axis = step.joint, step.joint.dims.index(step.symbol)
            total = joint.tensor.logsumexp(axis, keepdim=True)
            ratio = torch.where(total > -torch.inf, joint.tensor - total, -torch.inf).exp()
            clique = Factor(ratio, joint.dims)
            rest = {symbol for symbol in joint.dims if symbol in enumerated} - {step.symbol}
            if rest:
                holding = next(c for c in reversed(cliques) if rest <= set(c.dims))
                given = align(_onto(holding, rest, joint.dims, enumerated), list(joint.dims))
                clique = Factor(ratio * given, joint.dims)
            cliques.append(clique)
            found[step.symbol] = _onto(clique, {step.symbol}, clique.dims, enumerated)
        return {name: self._table(name, found.get(symbol)) for name, symbol in self.symbol_of.items()}

    def support(self, name: str) -> torch.Tensor:
        """The values that a site can take: ``(C, *event shape)``."""
        node = self.nodes[name]
        value, event_dim = node["value"], node["fn"].event_dim
        batch_dim, at = value.dim() - event_dim, node["infer"]["_enumerate_dim"]
        if -at > batch_dim:  # one value, whose dimension was dropped
            return value[(0,) * batch_dim].unsqueeze(0)  # type: ignore[no-any-return]
        moved = value.movedim(batch_dim + at, 0)
        return moved[(slice(None), *(0,) * (batch_dim - 1))]  # type: ignore[no-any-return]

    def _value(self, name: str, index: Factor | None) -> torch.Tensor:
        support = self.support(name)
        shape = self._shape(name)
        if index is None:
            return support[0].expand(*shape, *support.shape[1:])
        return support[self._widened(name, index, ()).expand(shape)]

    def _table(self, name: str, marginal: Factor | None) -> torch.Tensor:
        shape = self._shape(name)
        if marginal is None:
            value = self.nodes[name]["fn"].log_prob(self.nodes[name]["value"])
            return torch.ones_like(value).reshape(-1)[:1].expand(*shape, 1)
        table = self._widened(name, marginal, (self.symbol_of[name],))
        return table.expand(*shape, table.shape[-1])

    def _shape(self, name: str) -> tuple[int, ...]:
        frames = self.frames[name]
        size_at = {dim: size for dim, _, size in frames}
        return tuple(size_at.get(dim, 1) for dim in range(min(size_at, default=0), 0))

    def _widened(self, name: str, factor: Factor, last: tuple[str, ...]) -> torch.Tensor:
        """Its tensor over the site's plates, each at its own dimension, and then over the symbols `last`."""
        symbol_at = {dim: plate for dim, plate, _ in self.frames[name]}
        return align(factor, [*(symbol_at.get(dim, " ") for dim in range(min(symbol_at, default=0), 0)), *last])


def _select(step: Elimination, index: dict[str, Factor], frames: list[tuple[int, str, int]]) -> torch.Tensor:
    """``J(s, r)`` at the drawn `r`: over `s`, then the plates of its site."""
    order = [step.symbol, *(plate for _, plate, _ in frames)]
    joint = step.joint
    places = []
    for symbol, size in zip(joint.dims, joint.tensor.shape, strict=True):
        if symbol in index:
            places.append(align(index[symbol], order))
        else:
            places.append(align(Factor(torch.arange(size, device=joint.tensor.device), symbol), order))
    return joint.tensor[tuple(places)]


def _onto(factor: Factor, kept: set[str], plates: str, enumerated: set[str]) -> Factor:
    """The marginal of the variables `kept`, over those of its plates that are among `plates`."""
    tensor, dims = factor.tensor, factor.dims
    for symbol in factor.dims:
        axis = dims.index(symbol)
        if symbol in enumerated and symbol not in kept:
            tensor, dims = tensor.sum(axis), dims.replace(symbol, "")
        elif symbol not in enumerated and symbol not in plates:
            tensor, dims = tensor.select(axis, 0), dims.replace(symbol, "")  # equal for all of that plate
    return Factor(tensor, dims)
