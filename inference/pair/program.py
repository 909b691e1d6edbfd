"""A bound (model, guide) pair, and the structure of its sites."""

from __future__ import annotations

__all__ = ["Program"]

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pyro import poutine

from ..tensors import Batch
from .bound_pair import BoundPair
from .capabilities import check_has_evidence
from .enumerated_terms import check_enumeration
from .findings import ALL_USES, raise_first
from .program_errors import explained
from .sites import Structure
from .structure import examine_structure


class Program(BoundPair):
    """A pair whose sites are known once it has run: see :class:`BoundPair` for the arguments."""

    def __init__(self, model: Callable[..., Any], guide: Callable[..., Any] | None = None, *, isolated: bool = True):
        super().__init__(model, guide, isolated=isolated)
        self._structure: dict[tuple[Any, ...], Structure] = {}

    def structure(self, batch: Batch, args: tuple[Any, ...] = ()) -> Structure:
        """The pair's sites, from one eager validated run on `batch`; kept for later batches of the same shapes.

        What stops only some uses of the pair is in its `findings`.

        Raises:
            ModelError: for a model that bounds no evidence (``scored_by_loss``), and for the first thing found that
                stops every use of the pair.
        """
        check_has_evidence(self.model_owner)
        key = tuple((name, tuple(getattr(value, "shape", ()))) for name, value in batch.items())
        key += tuple(tuple(getattr(value, "shape", ())) for value in args)
        if key not in self._structure:
            with explained():
                structure = examine_structure(self, batch, args)
            raise_first([finding for finding in structure.findings if finding.stops == ALL_USES], "fit")
            if not self._structure:
                raise_first([*check_enumeration(self, structure, batch, args)], "fit")
            self._structure[key] = structure
        return self._structure[key]

    def sample_enumerated(self) -> Program:
        """The same pair, sharing all its parts, whose guide draws the sites that it would otherwise enumerate."""
        return self.with_guide(poutine.infer_config(self.guide, config_fn=lambda site: {"enumerate": None}))

    def with_guide(self, guide: Callable[..., Any]) -> Program:
        """The same pair, sharing all its parts, with its own guide inside of `guide`, such as a handler around it."""
        other = copy.copy(self)
        other._structure = {}
        other._guide = replace(self._guide, owner=None, name=None, callable=guide)
        return other
