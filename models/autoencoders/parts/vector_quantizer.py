"""Vector quantisation with a straight-through gradient: a codebook moved by averages or by its own loss."""

from __future__ import annotations

__all__ = ["VectorQuantizer", "perplexity"]

import torch
from torch import Tensor, nn

from ...common.validation import check_size


def perplexity(codes: Tensor, num_codes: int) -> Tensor:
    r""":math:`\exp\big(-\sum_k f_k \log f_k\big)` of the codes' frequencies: 1 if one code is used, K if all alike.

    Args:
        codes: int64 of any shape.
        num_codes: K.
    """
    frequency = torch.bincount(codes.flatten(), minlength=num_codes) / codes.numel()
    return torch.special.entr(frequency).sum().exp()


class VectorQuantizer(nn.Module):
    r"""Replaces each vector by the nearest of K codes, :math:`q(u) = e_{k(u)}, k(u) = \arg\min_k \|u - e_k\|`.

    The gradient of the output is handed to the input as it is (straight-through). With `decay` the codes are moving
    averages of the vectors that they replace, updated whenever the module runs in training mode,

    .. math::
        N_k \leftarrow \gamma N_k + (1 - \gamma)\, n_k, \quad
        M_k \leftarrow \gamma M_k + (1 - \gamma) \textstyle\sum_{k(u) = k} u, \quad e_k = M_k / N_k,

    and a code with :math:`N_k` below `restart_below` restarts at a vector of the batch, drawn at random; one whose
    :math:`N_k` has died away to nothing stays where it is. Without `decay` the codes are parameters, to be moved by
    the gradient of :math:`\|\mathrm{sg}[u] - e_{k(u)}\|^2`.

    Args:
        num_codes: K.
        code_dim: D, dimension of each code.
        decay: :math:`\gamma`; None for codes that are parameters.
        restart_below: average number of vectors per batch under which a code restarts; 0 for never. Only with `decay`.

    Raises:
        ValueError: a size is not positive, `decay` is not in [0, 1), or `restart_below` is negative.

    Reference: A. van den Oord, O. Vinyals and K. Kavukcuoglu, *Neural Discrete Representation Learning*, 2017,
    https://arxiv.org/abs/1711.00937 (averages: its appendix A.1)

    Example:
        >>> quantizer = VectorQuantizer(num_codes=4, code_dim=2)
        >>> codes, vectors = quantizer(torch.randn(5, 3, 2))
        >>> codes.shape, vectors.shape
        (torch.Size([5, 3]), torch.Size([5, 3, 2]))
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, num_codes: int, code_dim: int, decay: float | None = 0.99, restart_below: float = 0.01) -> None:
        super().__init__()
        check_size("num_codes", num_codes)
        check_size("code_dim", code_dim)
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"`decay` must be None or in [0, 1), got {decay!r}.")
        if restart_below < 0:
            raise ValueError(f"`restart_below` must not be negative, got {restart_below!r}.")
        self.num_codes, self.code_dim, self.decay, self.restart_below = num_codes, code_dim, decay, restart_below
        codebook = torch.randn(num_codes, code_dim) / code_dim**0.5
        if decay is None:
            self.codebook = nn.Parameter(codebook)
        else:
            self.register_buffer("codebook", codebook)
            self.register_buffer("counts", torch.ones(num_codes))
            self.register_buffer("sums", codebook.clone())

    def nearest(self, vectors: Tensor) -> Tensor:
        """The index of the nearest code of each vector, ``(..., D) -> (...)`` int64."""
        codebook = self.codebook.detach()
        distances = codebook.square().sum(-1) - 2 * vectors.detach() @ codebook.T
        return distances.argmin(-1)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Indices ``(...)`` and quantised vectors ``(..., D)``; the latter's gradient goes to `vectors` unchanged."""
        codes = self.nearest(vectors)
        quantised = self.codebook.detach()[codes]
        if self.training and self.decay is not None:
            self.follow(vectors.detach().flatten(0, -2), codes.flatten())
        return codes, vectors + (quantised - vectors).detach()

    @torch.no_grad()
    def follow(self, vectors: Tensor, codes: Tensor) -> None:
        """Move the averages towards `vectors` ``(M, D)`` with these `codes` ``(M,)``; restart unused codes."""
        assert self.decay is not None
        counts = vectors.new_zeros(self.num_codes).index_add(0, codes, vectors.new_ones(len(codes)))
        sums = torch.zeros_like(self.sums).index_add(0, codes, vectors)
        counts = torch.lerp(counts, self.counts, self.decay)
        sums = torch.lerp(sums, self.sums, self.decay)
        if self.restart_below > 0:
            dead = counts < self.restart_below
            drawn = vectors[torch.randint(len(vectors), (self.num_codes,), device=vectors.device)]
            counts = torch.where(dead, torch.ones_like(counts), counts)
            sums = torch.where(dead[:, None], drawn, sums)
        self.counts.copy_(counts)
        self.sums.copy_(sums)
        # the averages of an unused code die away together, down to where their ratio is rounding
        least = torch.finfo(counts.dtype).eps
        moved = sums / counts.clamp_min(least)[:, None]
        self.codebook.copy_(torch.where(counts[:, None] > least, moved, self.codebook))

    @torch.no_grad()
    def start(self, vectors: Tensor, seed: int) -> None:
        """Set the codes to vectors drawn from ``(M, D)``, without replacement where there are K."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(vectors), generator=generator, device="cpu")
        rows = order.repeat(-(-self.num_codes // len(vectors)))[: self.num_codes]
        self.codebook.copy_(vectors[rows.to(vectors.device)])
        if self.decay is not None:
            self.counts.fill_(1.0)
            self.sums.copy_(self.codebook)
