r"""Discrete latents taken exactly: summed out of the model, or averaged under the guide.

Latents that only the model samples are summed by tensor variable elimination,
:math:`\log \sum_y \prod_i p_i(\cdot \mid y)` per datum (Obermeyer et al., Tensor Variable Elimination for Plated Factor
Graphs, 2019, https://arxiv.org/abs/1902.03210). For latents that the guide enumerates, every other term `f` becomes its
expectation :math:`\sum_y q(y \mid x) f(y)`.
"""

from __future__ import annotations

__all__ = ["Part", "contract"]

from dataclasses import dataclass
from typing import Any

import torch

from ..errors import ModelError
from .discrete.sum_product import Factor, align, factor_of, negative, sum_out
from .findings.pair_sites import is_ignored
from .messengers.minibatch import DATA_PLATE
from .sites import Structure


@dataclass(frozen=True)
class Part:
    """The terms of one site, or of one summed group: ``log_p``/``log_q`` of shape ``(B,)`` if local, else scalar."""

    name: str
    kind: str
    local: bool
    log_p: torch.Tensor | None
    log_q: torch.Tensor | None
    weight: Any = 1.0
    pathwise: bool = True


def contract(
    model_trace: Any, guide_trace: Any, scoring_trace: Any, structure: Structure, summed: frozenset[str]
) -> list[Part]:
    """Return every site's terms with all enumerated dimensions gone.

    Args:
        model_trace, guide_trace: enumerated traces.
        scoring_trace: the guide's trace whose ``log q`` are the terms (with detached parameters, or `guide_trace`); the
            probabilities that terms are averaged under are always `guide_trace`'s.
        structure: the pair's structure.
        summed: names of the sites to sum out; other enumerated sites belong to the guide and are averaged.

    Raises:
        ModelError: if a draw without a pathwise gradient depends on an enumerated site, if sites that are summed out
            together are scaled differently, or if a global site is summed out with the data of a mini-batch.
    """
    guide_trace.symbolize_dims()
    plates = guide_trace.plate_to_symbol
    scoring_trace.symbolize_dims(plates)
    model_trace.symbolize_dims(plates)
    data = plates.get(DATA_PLATE)
    model_nodes, guide_nodes = _scored(model_trace), _scored(guide_trace, guide=True)
    # A mask hides what depends on a discrete latent, never its own probabilities, which must still sum to one.
    log_p = {name: factor_of(node, plates, masked=name not in summed) for name, node in model_nodes.items()}
    log_q = {name: factor_of(node, plates) for name, node in _scored(scoring_trace, guide=True).items()}
    symbol_of = {n: node["infer"].get("_enumerate_symbol") for n, node in {**model_nodes, **guide_nodes}.items()}
    sum_dims = {symbol for name in summed if (symbol := symbol_of[name])}
    posterior = {
        symbol: factor_of(node, plates, masked=False)
        for name, node in guide_nodes.items()
        if (symbol := symbol_of[name]) and symbol not in sum_dims
    }
    pathwise = {n: structure.sites[n].reparameterized or bool(symbol_of[n]) for n in log_q}
    _check_pathwise(pathwise, log_q, sum_dims | set(posterior), structure)
    weight = {n: _weight(node, structure) for n, node in {**guide_nodes, **model_nodes}.items()}

    def finish(name: str, factor: Factor | None) -> torch.Tensor | None:
        if factor is None:
            return None
        return _finish(_average(factor, posterior), data if structure.sites[name].local else None, structure)

    parts, group = [], []
    for name, factor in log_p.items():
        if name in summed or not sum_dims.isdisjoint(factor.dims):
            group.append(name)
            continue
        site, q = structure.sites[name], finish(name, log_q.get(name))
        parts.append(Part(name, site.kind, site.local, finish(name, factor), q, weight[name], pathwise.get(name, True)))
    extra: list[str] = []
    for name, factor in log_q.items():
        if name in summed:
            continue
        if not sum_dims.isdisjoint(factor.dims):
            extra.append(name)
        elif name not in log_p or name in group:
            local, q = structure.sites[name].local, finish(name, factor)
            parts.append(Part(name, "auxiliary", local, None, q, weight[name], pathwise[name]))
    if group:
        local = all(structure.sites[name].local for name in summed)
        _check_group(group + extra, weight, local, model_nodes, structure)
        target = frozenset({data} if local and data else ())
        total = sum_out([log_p[n] for n in group] + [negative(log_q[n]) for n in extra], sum_dims, target)
        value = _finish(_average(total, posterior), data if local else None, structure)
        parts.append(Part("*".join(sorted(summed)), "marginal", local, value, None, weight[group[0]]))
    return parts


def _scored(trace: Any, guide: bool = False) -> dict[str, Any]:
    return {n: s for n, s in trace.nodes.items() if not is_ignored(s) and not (guide and s["is_observed"])}


def _weight(node: Any, structure: Structure) -> Any:
    """What the program itself scales the site by."""
    return node["scale"] / node.get("minibatch_scale", 1.0) if structure.sites[node["name"]].scaled else 1.0


def _check_pathwise(
    pathwise: dict[str, bool], log_q: dict[str, Factor], enumerated: set[str], structure: Structure
) -> None:
    for name, has_gradient in pathwise.items():
        if not has_gradient and not enumerated.isdisjoint(log_q[name].dims):
            raise ModelError(
                f"The guide draws `{name}` ({structure.sites[name].guide_distribution}), which has no pathwise "
                f"gradient, given a site that is enumerated, so its score function has no single learning signal. "
                f'Enumerate `{name}` as well (`infer={{"enumerate": "parallel"}}`), or sample both.'
            )


def _check_group(
    names: list[str], weight: dict[str, Any], local: bool, model_nodes: dict[str, Any], structure: Structure
) -> None:
    first = weight[names[0]]
    for name in names:
        if weight[name] is not first and not (isinstance(first, float) and weight[name] == first):
            raise ModelError(
                f"`{names[0]}` and `{name}` are summed over the same discrete latent and must have the same scale. Put "
                f"one `poutine.scale` around both, or around neither."
            )
        factor = model_nodes[name].get("minibatch_scale", 1.0) if name in model_nodes else 1.0
        if not local and structure.sites[name].local and factor != 1.0:
            summed = next(s.name for s in structure.sites.values() if s.enumerated and not s.local)
            raise ModelError(
                f"The global discrete latent `{summed}` is summed out together with all the data, which a mini-batch "
                f"cannot do without bias. Drop `batch_size`, or sample it in the guide with `Trace_ELBO`."
            )


def _average(factor: Factor, posterior: dict[str, Factor]) -> Factor:
    r"""``\sum_y q(y) f(y)`` over every averaged dimension of `factor`, and over those that `q` depends on."""
    dims = set(factor.dims)
    weights: list[Factor] = []
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
    tensor = align(factor, order)
    probability = sum((align(weight, order) for weight in weights), start=tensor.new_zeros(())).exp()
    tensor = torch.where(probability > 0, tensor, tensor.new_zeros(())) * probability
    gone = [i for i, symbol in enumerate(order) if symbol in used]
    kept = "".join(symbol for symbol in order if symbol not in used)
    return Factor(tensor.sum(gone), kept, factor.ordinal)


def _finish(factor: Factor, data: str | None, structure: Structure) -> torch.Tensor:
    """Sum over every plate but the data plate: ``(B,)``, or a scalar."""
    others = [i for i, symbol in enumerate(factor.dims) if symbol != data]
    tensor = factor.tensor.sum(others) if others else factor.tensor
    if data is not None and data not in factor.dims:
        tensor = tensor.expand(structure.batch_size or 1)
    return tensor
