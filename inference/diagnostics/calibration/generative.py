"""Latents and data drawn together from a model's own program, in the place of the data that it was given."""

from __future__ import annotations

__all__ = ["GenerativeModel", "Simulated"]

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import ImproperUniform
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ...errors import DataError, ModelError
from ...fit.model_outline import Outline, outline
from ...pair.bound_pair import empty_guide
from ...pair.eval_mode import evaluation_mode
from ...pair.function_program import own_copy
from ...pair.program import Program
from ...pair.signature import name_of
from ...tensors import Tensors

_MOST_ROUNDS = 10_000


@dataclasses.dataclass(frozen=True)
class Simulated:
    """One draw of a model: its latents by site, with the mask of those that are in use (None for all), and its data."""

    latents: Tensors
    masks: dict[str, Tensor | None]
    data: Tensors


class GenerativeModel:
    r"""Draws :math:`(z, x) \sim p(z)\, p(x \mid z, c)` with the inputs `c` as given.

    Every observed site is drawn, and its value put where the data have it. A program that reads data which it also
    observes, such as :math:`x_{t-1}` in the mean of :math:`x_t`, is run again on what it drew, from the same random
    numbers, until it draws what it was given: after as many runs as the recursion has steps.

    Args:
        model: a `LatentVariableModel`, or a Pyro program; copied.
        batch: data of the shape to draw, on the device and in the number type to draw them in.
        prepare: whether the model is yet to take from the data what is no parameter, as at the start of a fit.

    Raises:
        ModelError: a model that observes nothing, or something computed from the data that cannot be put back; one with
            a `pyro.factor`, a scale set by hand or an improper prior, whose density is not that of its draws.
        DataError: rows that count more or less than once.
    """

    def __init__(self, model: Any, batch: Tensors, *, prepare: bool = True) -> None:
        self.name = name_of(model)
        self.batch = {name: value.contiguous() for name, value in batch.items()}
        floating = [value.dtype for value in batch.values() if value.is_floating_point()]
        first = next(iter(batch.values()))
        own = own_copy(model, first.device, floating[0] if floating else None)
        if prepare and callable(take := getattr(own, "prepare", None)):
            take(self.batch)
        self.program = Program(own, empty_guide)
        self._refuse_weights(model)
        with evaluation_mode(self.program, 0), self.program.environment(), _Proper(self.name):
            self.sites = outline(self.program, self.batch, {})
        self._refuse_what_is_not_drawn()
        self.places = {name: self._place(name) for name in self.sites.observed}
        numbers = sum(self.sites.nodes[name]["value"].numel() for name in self.sites.observed)
        self._rounds = min(_MOST_ROUNDS, numbers + 2)
        self._tried = False  # whether data that were drawn have been observed

    @property
    def is_local(self) -> bool:
        """Whether every latent belongs to a datum."""
        return all(self.sites.is_local(name) for name in self.sites.latents)

    @property
    def has_parameters(self) -> bool:
        """Whether the model has parameters that a fit moves."""
        return any(parameter.requires_grad for parameter in self.program.parameters())

    def draw(self, seed: int) -> Simulated:
        """Draw latents and data; the same seed gives the same.

        Raises:
            ModelError: if no data draw themselves: what is observed depends on itself.
        """
        batch = self.batch
        with evaluation_mode(self.program, seed), self.program.environment():
            for _ in range(self._rounds):
                torch.manual_seed(seed)
                with poutine.uncondition():
                    seen = Outline(poutine.trace(self.program.model).get_trace(**batch))
                drawn = self._put_back(seen)
                if all(torch.equal(_known(drawn[name]), _known(batch[name])) for name in drawn):
                    self._check_observed(batch)
                    latents = {name: seen.nodes[name] for name in self.sites.latents}
                    values = {name: node["value"].detach().clone() for name, node in latents.items()}
                    return Simulated(values, {name: _mask(node) for name, node in latents.items()}, batch)
                batch = drawn
        listed = ", ".join(f"`{name}`" for name in self.places)
        raise ModelError(
            f"`{self.name}` draws no data for which it would draw the same data again: {listed} depend on themselves. "
            f"Simulation needs a program in which each value depends on earlier ones alone."
        )

    def _put_back(self, seen: Outline) -> Tensors:
        """The batch with what was drawn in the place of what was observed; masked and missing entries stay."""
        batch = {name: value.clone() for name, value in self.batch.items()}
        for site, place in self.places.items():
            node = seen.nodes[site]
            target = place.of(batch[place.argument])
            value = node["value"].detach().reshape(target.shape).to(target.dtype)
            mask = _mask(node)
            if mask is not None:
                wide = mask.reshape(*mask.shape, *(1,) * (node["value"].dim() - mask.dim())).expand(node["value"].shape)
                value = torch.where(wide.reshape(target.shape), value, target)
            missing = torch.isnan(target) if target.is_floating_point() else torch.zeros_like(target, dtype=torch.bool)
            target.copy_(torch.where(missing, target, value))
        return batch

    def _place(self, site: str) -> _Place:
        """Which argument a site observes, and where in it.

        Raises:
            ModelError: if it is none, nor a part of one.
        """
        value = self.sites.nodes[site]["value"]
        for name, whole in self.batch.items():
            same_memory = value.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
            repeated = any(step == 0 and size > 1 for step, size in zip(value.stride(), value.shape, strict=True))
            if same_memory and value.dtype == whole.dtype and not repeated:
                offset = value.storage_offset() - whole.storage_offset()
                return _Place(name, tuple(value.shape), value.stride(), offset)
        mask = _mask(self.sites.nodes[site])
        for name, whole in self.batch.items():
            if value.numel() == whole.numel() and _same(value, whole, mask):
                return _Place(name, tuple(whole.shape), whole.stride(), 0)
        raise self._computed(site)

    def _check_observed(self, batch: Tensors) -> None:
        """See, once, that the model observes what was put back: numbers that agree may do so by chance.

        Raises:
            ModelError: otherwise.
        """
        if self._tried:
            return
        seen = outline(self.program, batch, {})
        for site, place in self.places.items():
            value = seen.nodes[site]["value"]
            if not _same(value, place.of(batch[place.argument]), _mask(seen.nodes[site])):
                raise self._computed(site)
        self._tried = True

    def _computed(self, site: str) -> ModelError:
        return ModelError(
            f"`{site}` of `{self.name}` observes something that is computed from the data, so that draws of it cannot "
            f"be put back. Compute it outside of the model, and observe an argument as it is, or a part of one."
        )

    def _refuse_weights(self, model: Any) -> None:
        weight = getattr(model, "row_weight", None)
        if weight in self.batch and bool((self.batch[weight] != 1).any()):
            raise DataError(
                f"`{weight}` says that rows count more or less than once, and each row of simulated data is drawn "
                f"once. Leave `{weight}` out."
            )

    def _refuse_what_is_not_drawn(self) -> None:
        for name, reason, cure in self._faults():
            raise ModelError(f"`{name}` of `{self.name}` {reason}. {cure}")
        if not self.sites.observed:
            raise ModelError(f"`{self.name}` observes none of the data, so that there is nothing to simulate.")
        if not self.sites.latents:
            raise ModelError(f"`{self.name}` has no latents, so that there is nothing to rank.")

    def _faults(self) -> Iterator[tuple[str, str, str]]:
        for name in self.sites.factors:
            yield (
                name,
                "is a `pyro.factor`, and nothing is drawn from one",
                "Write it as a distribution, `pyro.sample`.",
            )
        for name in [*self.sites.latents, *self.sites.observed]:
            node = self.sites.nodes[name]
            scale = torch.as_tensor(node["scale"], dtype=torch.float64)
            if not torch.allclose(scale, torch.ones_like(scale), rtol=1e-9, atol=0.0):
                reason = "is scaled by hand or in a subsampling plate: its density is not that of its draws"
                yield name, reason, "Remove the scale (`poutine.scale`, `subsample_size`)."


class _Proper(Messenger):
    """Refuse a latent with an improper prior, before it is drawn."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model

    def _pyro_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], ImproperUniform) and not msg["is_observed"]:
            reason = "has an improper prior, from which nothing can be drawn. Give it a proper one."
            raise ModelError(f"`{msg['name']}` of `{self.model}` {reason}")


@dataclasses.dataclass(frozen=True)
class _Place:
    """A part of an argument: which one, and which of its numbers, in memory."""

    argument: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def of(self, whole: Tensor) -> Tensor:
        return whole.as_strided(self.shape, self.stride, whole.storage_offset() + self.offset)


def _mask(node: Any) -> Tensor | None:
    mask = node["mask"]
    if mask is None or mask is True:
        return None
    mask = torch.as_tensor(mask, device=node["value"].device)
    shape = node["value"].shape[: node["value"].dim() - node["fn"].event_dim]
    return mask.expand(shape)


def _same(value: Tensor, whole: Tensor, mask: Tensor | None) -> bool:
    """Whether a value holds an argument's numbers, but for masked and missing ones."""
    used = torch.ones_like(value, dtype=torch.bool)
    if mask is not None:
        used = mask.reshape(*mask.shape, *(1,) * (value.dim() - mask.dim())).expand(value.shape)
    flat, other = value.reshape(-1), whole.reshape(-1)
    used = used.reshape(-1) & ~torch.isnan(other)
    return torch.equal(flat[used].to(other.dtype), other[used])


def _known(value: Tensor) -> Tensor:
    return torch.nan_to_num(value) if value.is_floating_point() else value
