"""Where chains begin: each at a draw from the normal of a path of its own."""

from __future__ import annotations

__all__ = ["Starts", "chain_generator", "find_starts"]

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...errors import NonFiniteError
from ...seeding import derive_seed
from ..pathfinder.path import PathResult
from ..pathfinder.target import Target

_FAR = 25.0  # nats of bound below the best path


@dataclass(frozen=True)
class Starts:
    """Positions, and how wide the posterior is there.

    Attributes:
        u: ``(C, D)``.
        scale_tril: Cholesky factor of the covariance of the best path's normal, ``(D, D)``.
    """

    u: np.ndarray
    scale_tril: np.ndarray


def chain_generator(seed: int, purpose: str, chain: int, step: int) -> np.random.Generator:
    """The random numbers of one chain at one step: a function of these alone."""
    key = derive_seed(seed, purpose, chain)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, step]))


def find_starts(target: Target, count: int, seed: int, paths: int | None = None) -> Starts:
    """Follow a path for each chain: the first from the centre of the prior, the others from draws of it.

    There are 17 begins; more chains share the paths, each at a draw of its own. A path that ends where there is next to
    nothing of the posterior (in the neck of a funnel, which chains do not come out of) gives way to the best one.

    Args:
        target: the density.
        count: chains.
        seed: of the fit.
        paths: the most paths; None for one a chain.

    Raises:
        NonFiniteError: if the density has no value at any of these.
    """
    ways = [target.follow(begin) for begin in target.starts[: count if paths is None else min(count, paths)]]
    found = [way for way in ways if way is not None]
    if not found:
        raise NonFiniteError(
            "The log density has no value at the prior's centre, nor at draws from it: no chain can begin. Look at the "
            "model with `jensen.inference.doctor`."
        )
    best = max(found, key=lambda way: way.bound)
    near = [way if way is not None and way.bound > best.bound - _FAR else best for way in ways]
    own = [near[chain % len(near)] for chain in range(count)]
    drawn = torch.stack([_draw(path, seed, chain) for chain, path in enumerate(own)])
    values, _ = target.log_density(drawn)
    locs = torch.stack([path.normal.loc for path in own])
    u = torch.where(torch.isfinite(values).unsqueeze(-1), drawn, locs)
    return Starts(u.cpu().numpy(), best.normal.scale_tril.cpu().numpy())


def _draw(path: PathResult, seed: int, chain: int) -> Tensor:
    loc, scale = path.normal.loc, path.normal.scale_tril
    noise = torch.from_numpy(chain_generator(seed, "start", chain, 0).standard_normal(len(loc)))
    return loc + scale @ noise.to(loc)
