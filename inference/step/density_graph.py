"""The log density of a model's latents and its gradient, traced: what optimisers and samplers evaluate many times."""

from __future__ import annotations

__all__ = ["DensityGraph"]

from collections.abc import Callable

import torch
from torch import Tensor

from ..devices import run_on
from ..pair.density import LatentDensity
from .compile.graph import trace

Evaluation = Callable[[Tensor], tuple[Tensor, Tensor]]


class DensityGraph:
    r"""``(log p~(u), its gradient)`` of rows ``u (K, D)``; each number of rows is traced once.

    A program that cannot be traced runs eagerly.

    Args:
        density: of the model's latents.
    """

    def __init__(self, density: LatentDensity) -> None:
        self.density, self.dim = density, density.dim
        self._graphs: dict[int, Evaluation] = {}

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values ``(K,)`` and gradients ``(K, D)``; not finite where the density has no value."""
        graph = self._graphs.get(len(u))
        if graph is None:
            graph = self._graphs[len(u)] = self._traced(u)
        with torch.no_grad():
            value, gradient = graph(u)
        return value, gradient

    def _evaluate(self, u: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad(), run_on(u.device, u.dtype), self.density.program.environment():
            leaf = u.detach().requires_grad_()
            prior, likelihood = self.density(leaf)
            total = prior + likelihood
            (gradient,) = torch.autograd.grad(total.sum(), leaf)
        return total.detach(), gradient

    def _traced(self, u: Tensor) -> Evaluation:
        self._evaluate(u)  # once eagerly: what a program makes in its first run is no part of a trace
        try:
            module = trace(self._evaluate, [u])
        except Exception:  # whatever a user's program raises under tracing
            return self._evaluate
        forward = module.forward
        found = forward(u)
        same = all(
            torch.allclose(a, b, rtol=1e-8, atol=1e-8, equal_nan=True)
            for a, b in zip(found, self._evaluate(u), strict=True)
        )
        return forward if same else self._evaluate
