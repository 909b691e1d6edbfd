"""Cholesky factors of what data make, checked, and inverses of such factors."""

from __future__ import annotations

__all__ = ["checked_cholesky", "inverse_triangular"]

import torch
from torch import Tensor


def checked_cholesky(matrix: Tensor, problem: str, remedy: str, margin: float = 0.0) -> Tensor:
    r"""The lower Cholesky factors L of matrices A ``(…, D, D)``, checked.

    Args:
        matrix: A.
        problem: what an A that is not positive definite means, as a sentence up to its dtype.
        remedy: what else than another dtype or scale helps, "or …".
        margin: the least :math:`L_{ii}^2 / A_{ii}` (the share of a row that the rows before it leave open), in units
            of the dtype's rounding: below it the digits of L are noise.

    Raises:
        ValueError: a matrix is not positive definite by this margin.
    """
    factor, info = torch.linalg.cholesky_ex(matrix)
    share = factor.diagonal(dim1=-2, dim2=-1).square() / matrix.diagonal(dim1=-2, dim2=-1)
    # written so that NaN is not definite either
    if not bool(((info == 0) & (share > margin * torch.finfo(matrix.dtype).eps).all(-1)).all()):
        dtype = str(matrix.dtype).removeprefix("torch.")
        wider = "" if matrix.dtype == torch.float64 else " fit with dtype=torch.float64,"
        raise ValueError(f"{problem} in {dtype}. Standardise the columns of `x`,{wider} {remedy}.")
    return factor


def inverse_triangular(factor: Tensor, upper: bool = False) -> Tensor:
    """The inverses of triangular matrices ``(…, D, D)``."""
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device).expand_as(factor)
    return torch.linalg.solve_triangular(factor, eye, upper=upper)
