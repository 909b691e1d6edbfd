r"""Dependence between data given the global latents, found by moving draws and seeing which terms follow.

Weights per datum, nested draws and mini-batches all rest on

.. math:: p(x, z, \theta) = p(\theta) \prod_n p(x_n, z_n \mid \theta), \qquad
   q(z, \theta) = q(\theta) \prod_n q(z_n \mid \theta).

A program may break it: a total of all :math:`z_n` that is observed, a latent that neighbours share, a guide that draws
a global latent after the local ones. What depends on what is not written in a program, but it shows: with every other
draw held, the terms that change when some draws move are those that depend on them.
"""

from __future__ import annotations

__all__ = ["Coupling", "examine_coupling", "few_rows"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ModelError
from ..tensors import Batch
from .eval_mode import evaluation_mode
from .program import Program
from .site_terms import SiteTerms, Terms
from .sites import Site, Structure
from .terms import evaluate

_ROWS = 8  # enough to see a dependence; more would only take longer
_TOLERANCE = 1e-4  # of float32 sums that were grouped otherwise; a dependence moves terms by tenths of a nat


@dataclass(frozen=True)
class Coupling:
    """What keeps the data from being independent given the global latents.

    Attributes:
        shared: global sites whose density depends on the draws of local latents.
        rows: local sites whose density at one datum depends on the draws of others.
        context: sites whose density at one datum depends on which rows are beside it.
    """

    shared: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    context: tuple[str, ...] = ()

    @property
    def of_draws(self) -> tuple[str, ...]:
        """The sites that tie the draws of different data together."""
        return (*self.shared, *self.rows)


def few_rows(program: Program, batch: Batch, most: int = _ROWS) -> dict[str, Tensor]:
    """The first rows of the batch, if the pair runs on a part of it; else all (a guide with parameters per datum)."""
    size = len(next(iter(batch.values())))
    if size > most:
        part = {name: value[:most] for name, value in batch.items()}
        try:
            if program.structure(part).batch_size == most:
                return part
        except (ModelError, RuntimeError, ValueError, IndexError):
            pass
    return dict(batch)


def examine_coupling(program: Program, batch: Batch) -> Coupling:
    """Move the local draws of half of the rows, and leave half of the rows out; report the terms of the rest that move.

    Args:
        program: the pair; it runs in evaluation mode and without gradients.
        batch: a few rows. With one there is nothing to compare but the global sites.
    """
    structure = program.structure(batch)
    size = structure.batch_size
    if size is None or not structure.select(local=True):
        return Coupling()
    try:
        return _by_probe(program, batch, structure, size)
    except NotImplementedError:  # a guide that scores its own draws only, as a planar flow
        return _by_order(structure)


def _by_probe(program: Program, batch: Batch, structure: Structure, size: int) -> Coupling:
    with evaluation_mode(program, seed=0):
        first = evaluate(program, batch, seed=1)
        held = _drawn(first)
        if held and not _unchanged(first, evaluate(program, batch, seed=2, values=held)):
            return _by_order(structure)  # noise outside of sample sites: what moves the terms cannot be told
        half, second = size // 2, first
        if any(structure.sites[name].local for name in held):
            moved = _moved(structure, held, _drawn(evaluate(program, batch, seed=3)))
            second = evaluate(program, batch, seed=1, values=moved)
        local = [name for name, site in first.sites.items() if site.local]
        shared = [n for n, site in first.sites.items() if not site.local and not _same(site, second.sites[n])]
        rows = [n for n in local if half and not _same(first.sites[n], second.sites[n], slice(half, None))]
        context = _context(program, batch, structure, first, held, half) if half else []
    return Coupling(tuple(shared), tuple(rows), tuple(context))


def _by_order(structure: Structure) -> Coupling:
    """What may depend on local draws because it comes after them."""
    if not structure.is_coupled:
        return Coupling()
    return Coupling(shared=tuple(site.name for site in structure.select(local=False)))


def _drawn(terms: Terms) -> dict[str, Tensor]:
    """The draws; images of other draws (`Delta`) are left out, for they are computed anew."""
    sites = terms.structure.sites
    return {name: value for name, value in terms.values.items() if sites[name].guide_distribution != "Delta"}


def _moved(structure: Structure, held: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The draws, of which the local ones of the first half of the rows (of a single row too) come from `other`."""
    values = dict(held)
    for name, value in held.items():
        site = structure.sites[name]
        if site.local:
            dim = _data_dim(site, value)
            values[name] = value.clone()
            count = max(value.shape[dim] // 2, 1)
            values[name].narrow(dim, 0, count).copy_(other[name].narrow(dim, 0, count))
    return values


def _data_dim(site: Site, value: Tensor) -> int:
    assert site.data_dim is not None
    return value.dim() - len(site.event_shape) + site.data_dim


def _context(
    program: Program, batch: Batch, structure: Structure, first: Terms, held: Mapping[str, Tensor], half: int
) -> list[str]:
    """Sites whose terms of the first rows change when the others are left out."""
    part = {name: value[:half] for name, value in batch.items()}
    values = {}
    for name, value in held.items():
        site = structure.sites[name]
        values[name] = value.narrow(_data_dim(site, value), 0, half) if site.local else value
    try:
        alone = evaluate(program, part, seed=1, values=values)
    except (ModelError, RuntimeError, ValueError, IndexError):
        return list(first.sites)
    return [n for n, s in first.sites.items() if n not in alone.sites or not _same(s, alone.sites[n], slice(0, half))]


def _unchanged(first: Terms, second: Terms) -> bool:
    return all(_same(site, second.sites[name]) for name, site in first.sites.items())


def _same(first: SiteTerms, second: SiteTerms, rows: slice = slice(None)) -> bool:
    """Whether the terms of a site agree, of a local one on `rows`."""
    for here, there in ((first.log_p, second.log_p), (first.log_q, second.log_q)):
        if here is None or there is None:
            if here is not there:
                return False
            continue
        if first.local and first.local == second.local:
            here, there = here[:, rows], there[:, rows]
        if here.shape != there.shape or not torch.allclose(
            here, there, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True
        ):
            return False
    return True
