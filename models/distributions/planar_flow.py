"""Planar flows whose parameters are functions of a context."""

from __future__ import annotations

__all__ = ["PlanarFlow"]

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..common.validation import check_sizes


class PlanarFlow(nn.Module):
    r"""A chain of T planar maps, each with its own parameters for every datum.

    .. math::
        f_t(z) = z + \hat u_t \tanh(w_t^\top z + b_t), \qquad
        \log |\det f_t'(z)| = \log\big(1 + \tanh'(w_t^\top z + b_t)\, w_t^\top \hat u_t\big),

    where :math:`u_t, w_t, b_t` are linear in the context and :math:`\hat u_t` is :math:`u_t` moved along :math:`w_t`
    until :math:`w_t^\top \hat u_t = \log(1 + (e - 1) e^{w_t^\top u_t}) - 1 > -1`, which makes the map invertible
    (and leaves :math:`u_t = 0` the identity). The maps start near the identity.

    Args:
        latent_dim: L.
        context_dim: size of the context.
        transforms: T.

    Raises:
        ValueError: a size is not positive. Its inverse has no closed form, so that asking for one is a
            `NotImplementedError`.

    Reference: D. Rezende and S. Mohamed, *Variational Inference with Normalizing Flows*, 2015,
    https://arxiv.org/abs/1505.05770

    Example:
        >>> flow = PlanarFlow(latent_dim=2, context_dim=3, transforms=4)
        >>> z, log_det = flow(torch.zeros(5, 3)).call_and_ladj(torch.zeros(5, 2))
        >>> z.shape, log_det.shape
        (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(self, latent_dim: int, context_dim: int, transforms: int = 10) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim, context_dim=context_dim, transforms=transforms)
        self.latent_dim, self.transforms = latent_dim, transforms
        self.parameters_of = nn.Linear(context_dim, transforms * (2 * latent_dim + 1))
        nn.init.normal_(self.parameters_of.weight, std=0.01)
        start = torch.randn(transforms, 2 * latent_dim + 1)
        start[:, :latent_dim] *= 0.01  # u
        start[:, latent_dim:-1] /= math.sqrt(latent_dim)  # w, of about unit length
        self.parameters_of.bias.data.copy_(start.flatten())

    def forward(self, context: Tensor) -> _PlanarMaps:
        """The maps of each context, ``(..., context_dim)``."""
        u, w, b = (
            self.parameters_of(context).unflatten(-1, (self.transforms, -1)).split([self.latent_dim] * 2 + [1], -1)
        )
        product = (w * u).sum(-1, keepdim=True)
        moved = softplus(product + math.log(math.e - 1.0)) - 1.0
        u = u + (moved - product) * w / (w * w).sum(-1, keepdim=True)
        return _PlanarMaps(u, w, b.squeeze(-1), moved.squeeze(-1))


class _PlanarMaps:
    """The maps of fixed parameters: u, w ``(..., T, L)``; b and the product of w and u ``(..., T)``."""

    def __init__(self, u: Tensor, w: Tensor, b: Tensor, product: Tensor) -> None:
        self.u, self.w, self.b, self.product = u, w, b, product

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(..., L)``; the log determinant is ``(...)``."""
        # All maps' inner products at once: w_t z_t = w_t z_0 + sum_{s < t} (w_t u_s) h_s leaves a recursion of (T,).
        inner = (self.w @ z.unsqueeze(-1)).squeeze(-1) + self.b
        product = self.w @ self.u.mT
        h: list[Tensor] = []
        for t in range(self.b.shape[-1]):
            h.append(torch.tanh(inner[..., t]))
            inner = inner + product[..., t] * h[-1].unsqueeze(-1)
        bends = torch.stack(h, -1)
        log_det = torch.log1p((1.0 - bends * bends) * self.product).sum(-1)
        return z + (bends.unsqueeze(-2) @ self.u).squeeze(-2), log_det

    def inv(self, z: Tensor) -> Tensor:
        raise NotImplementedError(
            "A planar flow has no inverse in closed form, so it scores only its own draws. Objectives that score the "
            'guide at fixed parameters (STL, DReG) need `posterior="spline"` or `"iaf"`; Trace_ELBO and IWAE do not.'
        )
