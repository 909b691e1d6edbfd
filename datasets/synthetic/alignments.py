"""A protein family drawn along a tree, with the profile that every column prefers."""

from __future__ import annotations

__all__ = ["simulated_alignment"]

from typing import cast

import torch
from torch import Tensor

from ..alignments import Alignment
from ..alphabets import letters_of
from ..sequence_weights import henikoff_weights, identity_weights
from .draw import Draw, check_positive


def simulated_alignment(
    num_sequences: int = 500,
    num_columns: int = 40,
    num_clades: int = 4,
    *,
    concentration: float = 0.3,
    between: float = 1.0,
    within: float = 0.2,
    gaps: float = 0.02,
    weights: str = "identity",
    letters: str = "protein",
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Alignment:
    r"""Sequences of clades that descend from one root, every column with its own rate and profile.

    .. math:: x_{\text{child}, d} = \begin{cases} x_{\text{parent}, d} & \text{with probability } e^{-r_d t} \\
        a \sim \mathrm{Categorical}(p_d) & \text{else} \end{cases}, \qquad
        p_d \sim \mathrm{Dirichlet}(\alpha), \quad r_d \sim \mathrm{Gamma}(2, 1/2),

    root :math:`\to` ancestors of the clades (:math:`t` = `between`) :math:`\to` sequences (:math:`t` = `within`). The
    root is drawn from the profiles, so that each sequence by itself has the law :math:`\prod_d p_d`: the log ratio of
    two letters there is what a column's mutation costs.

    Args:
        num_sequences: N.
        num_columns: D.
        num_clades: clades, of uneven size.
        concentration: alpha; small for columns that are conserved.
        between, within: lengths of the branches, in substitutions of an average column.
        gaps: share of letters that are replaced by gaps.
        weights: ``"identity"``, ``"henikoff"`` or ``"equal"``, as for `read_alignment`.
        letters: the alphabet, as for `read_alignment`.
        seed: the same seed gives the same data.
        dtype: of the weights; default `torch.get_default_dtype()`.

    Returns:
        `x` codes `(N, D)` int64 and `weight` `(N,)`; truth: `profiles` `(D, 20)` (of RNA and DNA `(D, 4)`), `rates`
        `(D,)`, `root` `(D,)`, `ancestors` `(clades, D)`, `clade` `(N,)`.

    Example:
        >>> data = simulated_alignment(num_sequences=50, num_columns=10)
        >>> data.train["x"].shape
        torch.Size([50, 10])
    """
    check_positive(num_sequences=num_sequences, num_columns=num_columns, num_clades=num_clades)
    check_positive(concentration=concentration, between=between, within=within)
    if not 0 <= gaps < 1:
        raise ValueError(f"`gaps`: expected a share from 0 to below 1, got {gaps}")
    if weights not in ("identity", "henikoff", "equal"):
        raise ValueError(f"`weights`: expected one of ['identity', 'henikoff', 'equal'], got {weights!r}")
    draw = Draw(seed)
    alphabet = letters_of(letters)
    gap = len(alphabet) - 1
    profiles = draw.simplex(num_columns, gap, concentration)
    rates = torch._standard_gamma(torch.full((num_columns,), 2.0, dtype=torch.float64), generator=draw.generator) / 2

    def letters_of_columns(num: int) -> Tensor:
        return torch.multinomial(profiles, num, replacement=True, generator=draw.generator).T

    def descend(parent: Tensor, time: float) -> Tensor:
        changed = draw.bernoulli(-torch.expm1(-rates * time).expand(len(parent), -1)) > 0
        return torch.where(changed, letters_of_columns(len(parent)), parent)

    root = letters_of_columns(1)
    ancestors = descend(root.expand(num_clades, -1), between)
    clade = draw.categorical(draw.simplex(1, num_clades, 3.0)[0], num_sequences)
    x = descend(ancestors[clade], within)
    x = torch.where(draw.bernoulli(torch.full(x.shape, gaps, dtype=torch.float64)) > 0, gap, x)
    weight = torch.ones(num_sequences, dtype=torch.float64)
    if weights != "equal":
        sizes = {"num_letters": len(alphabet)}
        weight = identity_weights(x, **sizes) if weights == "identity" else henikoff_weights(x, **sizes)
    found = Alignment(
        "simulated_alignment",
        {"x": x, "weight": weight},
        truth={"profiles": profiles, "rates": rates, "root": root[0], "ancestors": ancestors, "clade": clade},
        names=tuple(f"sequence_{k + 1}" for k in range(num_sequences)),
        columns=tuple(range(num_columns)),
        letters=alphabet,
    )
    return cast(Alignment, found.to(dtype=dtype or torch.get_default_dtype()))
