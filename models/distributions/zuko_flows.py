"""The autoregressive and coupling flows of zuko, started near the identity."""

from __future__ import annotations

__all__ = ["zuko_flow"]

from collections.abc import Sequence

import torch
from torch import nn


def zuko_flow(kind: str, features: int, context_dim: int, transforms: int, hidden: Sequence[int]) -> nn.Module:
    """A module: context ``(..., context_dim)`` (or None for size 0) -> a bijection of ``(..., features)``.

    Args:
        kind: ``"affine"`` (masked autoregressive) or ``"spline"`` (coupling, rational quadratic on [-5, 5]).
        features: size of the vectors.
        context_dim: size of the context, or 0.
        transforms: number of maps; the order of the features alternates.
        hidden: widths of the hidden layers of each map's network.
    """
    import zuko

    options = {"transforms": transforms, "hidden_features": tuple(hidden)}
    if kind == "affine":
        flow = zuko.flows.MAF(features, context_dim, **options)
    else:
        flow = zuko.flows.NSF(features, context_dim, passes=2 if features > 1 else None, **options)
    with torch.no_grad():
        for map_ in flow.transform.transforms:
            # A map of one feature is conditioned on the context alone, by zuko's own Linear; without one it is free.
            *_, last = (part for part in map_.modules() if next(part.parameters(recurse=False), None) is not None)
            for parameter in last.parameters():
                parameter.mul_(0.01)
    return flow.transform
