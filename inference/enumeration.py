r"""Discrete latents taken exactly: summed out of the model, or averaged under the guide.

Latents that only the model samples are summed by tensor variable elimination,
:math:`\log \sum_y \prod_i p_i(\cdot \mid y)` per datum (Obermeyer et al., Tensor Variable Elimination for Plated Factor
Graphs, 2019, https://arxiv.org/abs/1902.03210). For latents that the guide enumerates, every other term `f` becomes its
expectation :math:`\sum_y q(y \mid x) f(y)`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from pyro.ops.contract import contract_to_tensor
from pyro.ops.rings import LogRing

from .densities import log_prob_of
from .errors import ModelError
from .minibatch import DATA_PLATE
from .program import Structure
from .structure import is_ignored

__all__ = ["Part", "contract"]


@dataclass(frozen=True)
class Part:
    """The terms of one site, or of one summed group: ``log_p``/``log_q`` of shape ``(B,)`` if local, else scalar."""

    name: str
    kind: str
    local: bool
    log_p: torch.Tensor | None
    log_q: torch.Tensor | None


@dataclass(frozen=True)
class _Factor:
    """A log density with its dimensions named: one symbol each, plates and enumerated variables alike."""

    tensor: torch.Tensor
    dims: str
    ordinal: frozenset[str]


def contract(model_trace: Any, guide_trace: Any, structure: Structure, summed: frozenset[str]) -> list[Part]:
    """Return every site's terms with all enumerated dimensions gone.

    Args:
        model_trace, guide_trace: enumerated traces.
        structure: the pair's structure.
        summed: names of the sites to sum out; other enumerated sites belong to the guide and are averaged.

    Raises:
        ModelError: if a guide site depends on a latent that is to be summed out.
    """
    guide_trace.symbolize_dims()
    model_trace.symbolize_dims(guide_trace.plate_to_symbol)
    plates = model_trace.plate_to_symbol
    data = plates.get(DATA_PLATE)
    model_nodes = {n: s for n, s in model_trace.nodes.items() if not is_ignored(s)}
    guide_nodes = {n: s for n, s in guide_trace.nodes.items() if not is_ignored(s) and not s["is_observed"]}
    log_p = {name: _factor(node, plates) for name, node in model_nodes.items()}
    log_q = {name: _factor(node, plates) for name, node in guide_nodes.items()}
    symbols = set(plates.values())
    enumerated = {
        name: (model_nodes if name in model_nodes else guide_nodes)[name]["infer"].get("_enumerate_symbol")
        for name in {**model_nodes, **guide_nodes}
        if structure.sites[name].enumerated or name in summed
    }
    sum_dims = {enumerated[name] for name in summed if enumerated.get(name)}
    posterior = {enumerated[n]: log_q[n] for n in log_q if n not in summed and enumerated.get(n)}
    averaged = {s for node in guide_nodes.values() if (s := node["infer"].get("_enumerate_symbol"))} - sum_dims
    for name, node in guide_nodes.items():
        symbol = node["infer"].get("_enumerate_symbol")
        if symbol in averaged:
            posterior[symbol] = log_q[name]

    def finish(factor: _Factor | None, local: bool) -> torch.Tensor | None:
        return (
            None
            if factor is None
            else _finish(_average(factor, posterior, symbols), data if local else None, structure)
        )

    parts, group = [], []
    for name, factor in log_p.items():
        if name in summed or not sum_dims.isdisjoint(factor.dims):
            group.append(name)
            continue
        site = structure.sites[name]
        parts.append(Part(name, site.kind, site.local, finish(factor, site.local), finish(log_q.get(name), site.local)))
    extra: list[_Factor] = []
    for name, factor in log_q.items():
        if name in summed:
            continue
        if not sum_dims.isdisjoint(factor.dims):
            extra.append(_Factor(-factor.tensor, factor.dims, factor.ordinal))
        elif name not in log_p or name in group:
            site = structure.sites[name]
            parts.append(Part(name, "auxiliary", site.local, None, finish(factor, site.local)))
    if group:
        local = all(structure.sites[name].local for name in summed)
        target = frozenset({data} if local and data else ())
        factors = [log_p[name] for name in group] + extra
        total = _sum_out(factors, sum_dims, target)
        name = "*".join(sorted(summed))
        parts.append(Part(name, "marginal", local, finish(total, local), None))
    return parts


def _factor(node: Any, plates: dict[str, str]) -> _Factor:
    tensor = log_prob_of(node)
    symbol_of = node["infer"]["_dim_to_symbol"]
    try:
        dims = "".join(symbol_of[i - tensor.dim()] for i, size in enumerate(tensor.shape) if size > 1)
    except KeyError as error:
        raise ModelError(
            f"The log density of `{node['name']}` has shape {tuple(tensor.shape)}, wider than the plates around it. "
            f"Mark the extra dimensions with `.to_event(…)`, or add a plate for them."
        ) from error
    ordinal = frozenset(plates[f.name] for f in node["cond_indep_stack"] if f.vectorized)
    return _Factor(tensor.squeeze() if 1 in tensor.shape else tensor, dims, ordinal)


class _LogSumProduct(LogRing):
    """Sums of products in log space with plain broadcasting, one variable eliminated at a time.

    Pyro's own ring goes through a custom autograd function, which vmap cannot run.
    """

    def sumproduct(self, terms: Any, dims: Any) -> Any:
        factors = [_Factor(term, term._pyro_dims, frozenset()) for term in terms]
        for symbol in sorted(dims):
            joint = _multiply([f for f in factors if symbol in f.dims])
            reduced = joint.tensor.logsumexp(joint.dims.index(symbol))
            factors = [f for f in factors if symbol not in f.dims]
            factors.append(_Factor(reduced, joint.dims.replace(symbol, ""), frozenset()))
        product = _multiply(factors)
        result = product.tensor.view(product.tensor.shape)
        result._pyro_dims = product.dims  # type: ignore[attr-defined]
        return result


def _multiply(factors: list[_Factor]) -> _Factor:
    order = sorted({symbol for factor in factors for symbol in factor.dims})
    total = _align(factors[0], order)
    for factor in factors[1:]:
        total = total + _align(factor, order)
    return _Factor(total, "".join(order), frozenset())


def _sum_out(factors: list[_Factor], sum_dims: set[str], target: frozenset[str]) -> _Factor:
    tree: OrderedDict[frozenset[str], list[torch.Tensor]] = OrderedDict()
    for factor in factors:
        tensor = factor.tensor.view(factor.tensor.shape)
        tensor._pyro_dims = factor.dims  # type: ignore[attr-defined]
        tree.setdefault(factor.ordinal, []).append(tensor)
    total = contract_to_tensor(tree, set(sum_dims), target_ordinal=target, ring=_LogSumProduct())
    return _Factor(total, total._pyro_dims, target)


def _average(factor: _Factor, posterior: dict[str, _Factor], plates: set[str]) -> _Factor:
    r"""``\sum_y q(y) f(y)`` over every averaged dimension of `factor`, with the upstream variables that q depends "
    "on."""
    dims = set(factor.dims)
    weights: list[_Factor] = []
    pending = [s for s in factor.dims if s in posterior]
    used: set[str] = set()
    while pending:
        symbol = pending.pop()
        if symbol in used:
            continue
        used.add(symbol)
        weights.append(posterior[symbol])
        dims |= set(posterior[symbol].dims)
        pending += [s for s in posterior[symbol].dims if s in posterior]
    if not weights:
        return factor
    order = sorted(dims)
    tensor = _align(factor, order)
    probability = sum((_align(weight, order) for weight in weights), start=tensor.new_zeros(())).exp()
    tensor = torch.where(probability > 0, tensor, tensor.new_zeros(())) * probability
    gone = [i for i, symbol in enumerate(order) if symbol in used]
    kept = "".join(symbol for symbol in order if symbol not in used)
    return _Factor(tensor.sum(gone), kept, factor.ordinal)


def _align(factor: _Factor, order: list[str]) -> torch.Tensor:
    present = [symbol for symbol in order if symbol in factor.dims]
    tensor = factor.tensor.permute([factor.dims.index(symbol) for symbol in present])
    for i, symbol in enumerate(order):
        if symbol not in factor.dims:
            tensor = tensor.unsqueeze(i)
    return tensor


def _finish(factor: _Factor, data: str | None, structure: Structure) -> torch.Tensor:
    """Sum over every plate but the data plate: ``(B,)``, or a scalar."""
    others = [i for i, symbol in enumerate(factor.dims) if symbol != data]
    tensor = factor.tensor.sum(others) if others else factor.tensor
    if data is not None and data not in factor.dims:
        tensor = tensor.expand(structure.batch_size or 1)
    return tensor
