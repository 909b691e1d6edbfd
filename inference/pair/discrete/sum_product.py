"""Log densities with named dimensions, and the sum over discrete latents of their product."""

from __future__ import annotations

__all__ = ["Elimination", "Factor", "align", "factor_of", "multiply", "negative", "sum_out"]

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from pyro.ops.contract import contract_to_tensor
from pyro.ops.rings import LogRing

from ...errors import ModelError
from ..densities.site_densities import log_prob_of


@dataclass(frozen=True)
class Factor:
    """A log density with its dimensions named: one symbol each, plates and enumerated variables alike."""

    tensor: torch.Tensor
    dims: str
    ordinal: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Elimination:
    r"""One variable summed out: :math:`m(r) = \log \sum_s \exp J(s, r)`.

    Attributes:
        symbol: of the variable `s`.
        joint: `J`, the product of every factor that held `s` at that point; its other variables `r` go later.
    """

    symbol: str
    joint: Factor


def negative(factor: Factor) -> Factor:
    """Its reciprocal."""
    return Factor(-factor.tensor, factor.dims, factor.ordinal)


def factor_of(node: Any, plates: dict[str, str], masked: bool = True) -> Factor:
    """The log density of a node of a trace whose dimensions have symbols; those of size one are dropped.

    Raises:
        ModelError: if it is wider than the plates around the site.
    """
    tensor = log_prob_of(node, masked)
    symbol_of = node["infer"]["_dim_to_symbol"]
    try:
        dims = "".join(symbol_of[i - tensor.dim()] for i, size in enumerate(tensor.shape) if size > 1)
    except KeyError as error:
        raise ModelError(
            f"The log density of `{node['name']}` has shape {tuple(tensor.shape)}, wider than the plates around it. "
            f"Mark the extra dimensions with `.to_event(…)`, or add a plate for them."
        ) from error
    ordinal = frozenset(plates[f.name] for f in node["cond_indep_stack"] if f.vectorized)
    return Factor(tensor.squeeze() if 1 in tensor.shape else tensor, dims, ordinal)


class _LogSumProduct(LogRing):
    """Sums of products in log space with plain broadcasting, one variable eliminated at a time.

    Pyro's own ring goes through a custom autograd function, which vmap cannot run. What is eliminated is appended to
    `kept`, if there is one.
    """

    def __init__(self, kept: list[Elimination] | None = None) -> None:
        super().__init__()
        self.kept = kept

    def sumproduct(self, terms: Any, dims: Any) -> Any:
        factors = [Factor(term, term._pyro_dims) for term in terms]
        for symbol in sorted(dims):
            joint = multiply([f for f in factors if symbol in f.dims])
            if self.kept is not None:
                self.kept.append(Elimination(symbol, joint))
            reduced = joint.tensor.logsumexp(joint.dims.index(symbol))
            factors = [f for f in factors if symbol not in f.dims]
            factors.append(Factor(reduced, joint.dims.replace(symbol, "")))
        product = multiply(factors)
        result = product.tensor.view(product.tensor.shape)
        result._pyro_dims = product.dims  # type: ignore[attr-defined]
        return result

    def broadcast(self, term: Any, ordinal: Any) -> Any:
        return term  # a plate of size one has no dimension; whoever reads the result widens it


def multiply(factors: list[Factor]) -> Factor:
    """The product of densities, over all their dimensions."""
    order = sorted({symbol for factor in factors for symbol in factor.dims})
    total = align(factors[0], order)
    for factor in factors[1:]:
        total = total + align(factor, order)
    return Factor(total, "".join(order))


def sum_out(
    factors: list[Factor], sum_dims: set[str], target: frozenset[str], kept: list[Elimination] | None = None
) -> Factor:
    """Sum the product of `factors` over the variables `sum_dims`, leaving the plates `target`.

    Args:
        factors: of one model, with the plates around each as its `ordinal`.
        sum_dims: symbols of the variables.
        target: symbols of the plates whose dimension stays; the others are multiplied over.
        kept: a list to append every :class:`Elimination` to, in order.

    Reference: F. Obermeyer et al., *Tensor Variable Elimination for Plated Factor Graphs*, 2019,
    https://arxiv.org/abs/1902.03210
    """
    tree: OrderedDict[frozenset[str], list[torch.Tensor]] = OrderedDict()
    for factor in factors:
        tensor = factor.tensor.view(factor.tensor.shape)
        tensor._pyro_dims = factor.dims  # type: ignore[attr-defined]
        tree.setdefault(factor.ordinal, []).append(tensor)
    total = contract_to_tensor(tree, set(sum_dims), target_ordinal=target, ring=_LogSumProduct(kept))
    return Factor(total, total._pyro_dims, target)


def align(factor: Factor, order: list[str]) -> torch.Tensor:
    """The tensor with its dimensions in `order`, of size one where the factor has none."""
    present = [symbol for symbol in order if symbol in factor.dims]
    tensor = factor.tensor.permute([factor.dims.index(symbol) for symbol in present])
    for i, symbol in enumerate(order):
        if symbol not in factor.dims:
            tensor = tensor.unsqueeze(i)
    return tensor
