"""Rotations of factor loadings, which the likelihood leaves free."""

from __future__ import annotations

__all__ = ["principal", "rotation_matrix", "signs", "varimax"]

import itertools
from typing import Any

import torch
from torch import Tensor

from ..common.inputs import as_tensor
from ..common.validation import check_choice


def rotation_matrix(rotation: Any, weight: Tensor, noise: Tensor) -> Tensor:
    r"""The orthogonal matrix ``(L, L)`` by which to multiply loadings ``(D, L)``.

    Args:
        rotation: ``"varimax"``, ``"principal"``, or the matrix.
        weight: the loadings; noise: the diagonal of :math:`\Psi`, ``(D,)``.

    Raises:
        ValueError: another name, or a matrix that is not orthogonal.
    """
    if isinstance(rotation, str):
        check_choice("rotation", rotation, ("varimax", "principal"))
        return varimax(weight) if rotation == "varimax" else principal(weight, noise)
    turn, size = as_tensor("rotation", rotation, weight), weight.shape[1]
    eye = torch.eye(size, dtype=turn.dtype, device=turn.device)
    if turn.shape != eye.shape or not torch.allclose(turn.mT @ turn, eye, atol=1e-4):
        raise ValueError(
            f"`rotation` must be an orthogonal matrix ({size}, {size}), got a matrix of shape {tuple(turn.shape)} that "
            "is not."
        )
    return turn


@torch.no_grad()
def varimax(weight: Tensor, sweeps: int = 100, tolerance: float = 1e-6) -> Tensor:
    r"""The rotation that makes loadings simple: each feature on few factors.

    .. math:: \max_{R^\top R = I} \sum_l \operatorname{Var}_d [(\tilde W R)_{dl}^2], \qquad
        \tilde W_d = W_d / \lVert W_d \rVert \quad \text{(Kaiser's normalisation)}.

    Args:
        weight: loadings, ``(D, L)``.
        sweeps: the most passes over all pairs of factors; each turn of a pair raises the criterion.
        tolerance: angle, in radians, below which no turn of a pass counts.

    Returns:
        R, ``(L, L)``, orthogonal: the rotated loadings are ``weight @ R``, by falling sum of squares, with the largest
        loading of each factor positive.

    Reference: H. Kaiser, *The Varimax Criterion for Analytic Rotation in Factor Analysis*, 1958,
    https://doi.org/10.1007/BF02289233

    Example:
        >>> simple = torch.tensor([[2.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
        >>> bool(torch.allclose(simple @ turn @ varimax(simple @ turn), simple, atol=1e-5))
        True
    """
    if weight.ndim != 2:
        raise ValueError(f"`weight` must be loadings of shape (D, L), got {tuple(weight.shape)}.")
    turned = torch.nn.functional.normalize(weight, dim=1)
    rotation = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
    for _ in range(sweeps):
        largest = 0.0
        for i, j in itertools.combinations(range(weight.shape[1]), 2):
            # The best angle in the plane of factors i and j, in closed form.
            u, v = turned[:, i].square() - turned[:, j].square(), 2 * turned[:, i] * turned[:, j]
            sine = 2 * ((u * v).mean() - u.mean() * v.mean())
            cosine = (u.square() - v.square()).mean() - (u.mean().square() - v.mean().square())
            angle = torch.atan2(sine, cosine) / 4
            turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
            for loadings in (turned, rotation):
                loadings[:, [i, j]] = loadings[:, [i, j]] @ turn
            largest = max(largest, abs(float(angle)))
        if largest < tolerance:
            break
    return _ordered(weight, rotation)


@torch.no_grad()
def principal(weight: Tensor, noise: Tensor) -> Tensor:
    r"""The rotation to principal axes: :math:`W^\top \Psi^{-1} W` becomes diagonal, falling, so that factors are
    independent given the data. ``weight`` ``(D, L)``, ``noise`` the diagonal of :math:`\Psi` ``(D,)``; ``(L, L)``."""
    right = torch.linalg.svd(weight / noise.sqrt().unsqueeze(-1), full_matrices=False)[2]
    return right.mT * signs(weight @ right.mT)


def _ordered(weight: Tensor, rotation: Tensor) -> Tensor:
    turned = weight @ rotation
    order = turned.square().sum(0).argsort(descending=True)
    return (rotation * signs(turned))[:, order]


def signs(weight: Tensor) -> Tensor:
    """-1 for a column whose largest entry is negative, else 1, ``(1, L)``."""
    largest = weight.gather(0, weight.abs().argmax(0, keepdim=True))
    return torch.where(largest < 0, -1.0, 1.0).to(weight)
