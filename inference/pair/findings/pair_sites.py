"""The sites of one run of the model beside those of one run of the guide, as every check sees them."""

from __future__ import annotations

__all__ = [
    "Moving",
    "PairSites",
    "class_name",
    "data_frames",
    "in_data_plate",
    "is_ignored",
    "plate_cure",
    "still_points",
    "subsamples",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.distributions import Delta
from pyro.poutine.subsample_messenger import _Subsample

from ..messengers.minibatch import DATA_PLATE
from ..supports.support_sets import base_of


@dataclass(frozen=True)
class Moving:
    """What the support of a site depends on: continuous latents, parameters, discrete latents."""

    latents: tuple[str, ...]
    parameters: bool
    discrete: bool

    def __str__(self) -> str:
        names = ", ".join(f"`{name}`" for name in self.latents)
        parts = [f"the latent{'s' if len(self.latents) > 1 else ''} {names}"] if names else []
        parts += ["discrete latents"] if self.discrete else []
        parts += ["parameters of the model"] if self.parameters else []
        return " and on ".join(parts)


@dataclass(frozen=True)
class PairSites:
    """The sample sites that one run of each program recorded, with the same latent values in both.

    Attributes:
        model, guide: Pyro's messages of the sites with a density, by name, in order.
        batch: what both were given.
        model_rows, guide_rows: of each plate, the rows that the program itself gave it or drew for it.
        model_complete, guide_complete: whether the run reached its end; what follows a break was not seen.
        has_guide: whether there is a guide to compare with.
        used_masked: latents that are masked in the model, and of which masked values change other densities.
        still: latents whose guide is a `Delta` at the same place in every run.
        moving: the model's sites whose support depends on latents or parameters.
        elsewhere: further runs of the pair, where these have moved; each has a `model` and a `guide`.
        first_row: where in all the data the batch begins; `part` says of what else it is a part, such as a stream.
    """

    model: Mapping[str, Any]
    guide: Mapping[str, Any]
    batch: Mapping[str, Any]
    model_rows: Mapping[str, torch.Tensor] = field(default_factory=dict)
    guide_rows: Mapping[str, torch.Tensor] = field(default_factory=dict)
    model_complete: bool = True
    guide_complete: bool = True
    has_guide: bool = True
    still: frozenset[str] = frozenset()
    moving: Mapping[str, Moving] = field(default_factory=dict)
    elsewhere: Sequence[Any] = ()
    first_row: int = 0
    part: str = ""
    used_masked: tuple[str, ...] = ()

    @property
    def latents(self) -> dict[str, Any]:
        """The model's latent sites."""
        return {name: site for name, site in self.model.items() if not site["is_observed"]}

    @property
    def shared(self) -> dict[str, tuple[Any, Any]]:
        """Latents that both sample: name -> (model's, guide's)."""
        return {name: (site, self.guide[name]) for name, site in self.latents.items() if name in self.guide}

    @property
    def size(self) -> int | None:
        """How many data the batch has, or None if it has no tensors."""
        return next((len(v) for v in self.batch.values() if isinstance(v, torch.Tensor) and v.dim()), None)

    @property
    def first(self) -> str:
        """The name of the argument whose length a plate should ask for."""
        return next(iter(self.batch), "x")


def plate_cure(pair: PairSites) -> str:
    """How the data plate is written."""
    return f'`with pyro.plate("{DATA_PLATE}", len({pair.first})):`'


def is_ignored(site: Any) -> bool:
    """Whether a trace node carries no density: plates' index sites and `pyro.deterministic`."""
    return (
        site["type"] != "sample"
        or isinstance(site["fn"], _Subsample)
        or bool(site["infer"].get("_deterministic", False))
    )


def still_points(guide: Mapping[str, Any], again: Mapping[str, Any]) -> frozenset[str]:
    """The `Delta` sites of a guide that are where they were in another run of it, with other draws."""
    points = [name for name, node in guide.items() if class_name(node["fn"]) == "Delta" and name in again]
    return frozenset(name for name in points if torch.equal(guide[name]["value"], again[name]["value"]))


def data_frames(site: Any) -> list[Any]:
    """The frames of the plate ``"data"`` around a site."""
    return [frame for frame in site["cond_indep_stack"] if frame.name == DATA_PLATE]


def in_data_plate(site: Any) -> bool:
    return bool(data_frames(site))


def subsamples(frame: Any) -> bool:
    """Whether a plate takes some of its rows only."""
    return frame.full_size is not None and frame.size < frame.full_size


def class_name(fn: Any) -> str:
    """The name of a distribution's class, under what wraps it."""
    fn = base_of(fn)
    return "Delta" if isinstance(fn, Delta) else fn.__class__.__name__
