"""A distribution with parameters of its own in the place of those that a network gave it."""

from __future__ import annotations

__all__ = ["FreeDistribution", "Unsuited"]

import inspect
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Tensor
from torch.distributions import Independent, TransformedDistribution, constraints, transform_to
from torch.distributions import transforms as stock

_INSTEAD = {"covariance_matrix": "scale_tril", "precision_matrix": "scale_tril", "probs": "logits"}


class Unsuited(Exception):
    """Why a distribution cannot be given parameters of its own."""


class FreeDistribution:
    r"""The family of a distribution, each of its batch entries free.

    A parameter :math:`\psi` moves from its start :math:`\psi_0` by an unconstrained :math:`u` that is zero there, in
    the distribution's own units, whatever those of the data:

    .. math:: \psi = \psi_0 + \sigma_0 u \ \text{(real)}, \quad \psi = L_0\, T(u) \ \text{(Cholesky factor)}, \quad
       \psi = T(T^{-1}(\psi_0) + u) \ \text{(otherwise)}

    with :math:`\sigma_0` the scale at the start and T the map from the reals to the parameter's constraint. What does
    not depend on any parameter of the guide (a scale fixed to one) belongs to the family, and stays.

    Args:
        fn: reparameterised, with parameters that its constructor takes; inside of `Independent`, an expansion, or fixed
            transforms of torch. Its parameters are read with their gradients: those that require none stay, unless none
            requires any.

    Attributes:
        start: the free parameters, ``(*batch shape, *parameter's event)`` each, detached.

    Raises:
        Unsuited: if it is none of those; the message completes "the guide's distribution of `z` …".
    """

    def __init__(self, fn: Any) -> None:
        leaf, self._wrap, batch_shape = _leaf(fn)
        if not leaf.has_rsample:
            raise Unsuited(f"is {_name(leaf)}, whose draws are not reparameterised")
        if any(isinstance(bound, Tensor) for bound in vars(leaf.support).values()):
            raise Unsuited(f"is {_name(leaf)}, whose support moves with its parameters")
        self._class = type(leaf)
        found, self._constraints = _parameters(leaf, batch_shape)
        moving = {name for name, value in found.items() if value.requires_grad} or set(found)
        found = {name: value.detach().clone() for name, value in found.items()}
        self.start = {name: value for name, value in found.items() if name in moving}
        self._fixed = {name: value for name, value in found.items() if name not in moving} | _others(leaf, found)
        _check_same(fn, self)

    def build(self, values: dict[str, Tensor]) -> Any:
        """The distribution with these parameters."""
        return self._wrap(self._class(**self._fixed, **values, validate_args=False))

    def zeros(self) -> dict[str, Tensor]:
        """The unconstrained moves of the start."""
        return {name: torch.zeros_like(self._to(name).inv(value)) for name, value in self.start.items()}

    def move(self, start: dict[str, Tensor], moves: dict[str, Tensor]) -> dict[str, Tensor]:
        """The parameters that unconstrained `moves` from `start` lead to."""
        held = self._fixed | start
        values = {}
        for name, u in moves.items():
            place, to = start[name], self._to(name)
            if _is_real(self._constraints[name]):
                values[name] = place + _in_units(u, held, self._constraints[name])
            elif _base(self._constraints[name]) is constraints.lower_cholesky:
                values[name] = place @ to(u)
            else:
                values[name] = to(to.inv(place) + u)
        return values

    def _to(self, name: str) -> Any:
        return transform_to(self._constraints[name])


def _in_units(u: Tensor, held: dict[str, Any], constraint: Any) -> Tensor:
    """A move of a real parameter, times the scale that the distribution has beside it."""
    scale = held.get("scale")
    if constraint.event_dim == 1 and "scale_tril" in held:
        return (held["scale_tril"].detach() @ u.unsqueeze(-1)).squeeze(-1)
    if constraint.event_dim == 0 and isinstance(scale, Tensor):
        return scale.detach() * u
    return u


def _leaf(fn: Any) -> tuple[Any, Callable[[Any], Any], torch.Size]:
    """The distribution that has the parameters, what leads from one of its kind to `fn`, and its batch shape."""
    wraps: list[Callable[[Any], Any]] = []
    shape = None
    while True:
        if isinstance(fn, Independent):
            count = fn.reinterpreted_batch_ndims
            wraps.append(lambda base, count=count: dist.Independent(base, count))  # type: ignore[misc]
            fn = fn.base_dist
        elif isinstance(fn, ExpandedDistribution):
            shape = fn.batch_shape if shape is None else shape
            fn = fn.base_dist
        elif isinstance(fn, TransformedDistribution) and not fn.arg_constraints:
            if shape is not None or not all(_is_fixed(part) for part in fn.transforms):
                raise Unsuited(f"is bent by {_name(fn.transforms[-1])}, which has parameters of its own")
            parts = list(fn.transforms)
            wraps.append(lambda base, parts=parts: dist.TransformedDistribution(base, parts))  # type: ignore[misc]
            fn = fn.base_dist
        else:
            break

    def wrap(base: Any) -> Any:
        for part in reversed(wraps):
            base = part(base)
        return base

    return fn, wrap, fn.batch_shape if shape is None else shape


def _is_fixed(transform: Any) -> bool:
    """Whether a transform is one of torch's, which hold no parameters (an affine one's numbers stay)."""
    if isinstance(transform, stock.ComposeTransform):
        return all(_is_fixed(part) for part in transform.parts)
    if isinstance(transform, stock.IndependentTransform):
        return _is_fixed(transform.base_transform)
    return type(transform).__module__ == stock.__name__ or type(transform.inv).__module__ == stock.__name__


def _parameters(leaf: Any, batch_shape: torch.Size) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Each parameter over the whole batch shape, and its constraint."""
    known = leaf.arg_constraints
    taken = inspect.signature(type(leaf).__init__).parameters
    found, kinds = {}, {}
    for name, constraint in known.items():
        if name not in taken or (_INSTEAD.get(name) in known and _INSTEAD[name] in taken):
            continue
        value = getattr(leaf, name, None)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            continue
        try:
            event_dim = constraint.event_dim
            transform_to(constraint)
        except NotImplementedError:
            raise Unsuited(f"is {_name(leaf)}, whose `{name}` is bounded by other parameters") from None
        event = value.shape[value.dim() - event_dim :]
        found[name], kinds[name] = value.expand(*batch_shape, *event), constraint
    if not found:
        raise Unsuited(f"is {_name(leaf)}, which has no parameters that could be set one by one")
    return found, kinds


def _others(leaf: Any, found: dict[str, Tensor]) -> dict[str, Any]:
    """What else the constructor needs."""
    needed = inspect.signature(type(leaf).__init__).parameters
    missing = {
        name: parameter
        for name, parameter in needed.items()
        if name not in (*found, "self", "validate_args", "probs", "logits")
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    held = {}
    for name, parameter in missing.items():
        if parameter.default is not parameter.empty:
            continue
        if not hasattr(leaf, name):
            raise Unsuited(f"is {_name(leaf)}, whose `{name}` cannot be read")
        value = getattr(leaf, name)
        held[name] = value.detach() if isinstance(value, Tensor) else value
    return held


def _check_same(fn: Any, free: FreeDistribution) -> None:
    """Refuse a distribution that its parameters do not make again."""
    try:
        again = free.build(free.start)
        value = fn.sample()
        alike = again.batch_shape == fn.batch_shape and torch.allclose(
            again.log_prob(value), fn.log_prob(value), rtol=1e-4, atol=1e-4, equal_nan=True
        )
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        alike = False
    if not alike:
        raise Unsuited(f"is {_name(fn)}, which its parameters alone do not make again")


def _base(constraint: Any) -> Any:
    return constraint.base_constraint if isinstance(constraint, constraints.independent) else constraint


def _is_real(constraint: Any) -> bool:
    return _base(constraint) is constraints.real


def _name(thing: Any) -> str:
    return f"of the type `{type(thing).__name__}`"
