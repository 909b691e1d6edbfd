"""The log density of a model's latents, its gradient and its Hessian: what optimisers and samplers evaluate."""

from __future__ import annotations

__all__ = ["DensityGraph"]

from collections.abc import Callable

import torch
from torch import Tensor

from ..devices import run_on, threads
from ..pair.density import LatentDensity
from .compile.c.library import CSteps
from .compile.choice import is_tiny
from .compile.cost import estimate_cost
from .recorded_function import compile_graph, record_function

Evaluation = Callable[[Tensor], tuple[Tensor, Tensor]]

_COLUMNS_AT_ONCE = 64  # of a Hessian


class DensityGraph:
    r"""``(log p~(u), its gradient)`` of rows ``u (K, D)``, traced.

    A program that cannot be traced runs eagerly.

    Args:
        density: of the model's latents.
        rows: how many rows are evaluated at once, more in several lots and fewer padded, so that one trace serves all;
            None traces each number of rows for itself.

    Attributes:
        traced: whether the numbers of rows so far are evaluated by traces.
    """

    def __init__(self, density: LatentDensity, rows: int | None = None) -> None:
        self.density, self.dim, self.rows = density, density.dim, rows
        self.traced = True
        self._graphs: dict[int, Evaluation] = {}
        self._tiny = False  # whether a second thread would cost more than it gives

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values ``(K,)`` and gradients ``(K, D)``; not finite where the density has no value."""
        if self.rows is None or len(u) == self.rows:
            return self._at_once(u)
        values, gradients = [], []
        for part in u.split(self.rows):
            value, gradient = self._at_once(torch.cat([part, part[:1].expand(self.rows - len(part), -1)]))
            values.append(value[: len(part)])
            gradients.append(gradient[: len(part)])
        return torch.cat(values), torch.cat(gradients)

    def hessian(self, u: Tensor) -> Tensor:
        r"""The Hessian of :math:`-\log \tilde p` at ``u (D,)``, ``(D, D)``, by differentiating twice.

        Raises:
            RuntimeError: a part of the program has no second derivative.
        """
        with torch.enable_grad(), run_on(u.device, u.dtype), self.density.program.environment():
            leaf = u.detach().unsqueeze(0).requires_grad_()
            prior, likelihood = self.density(leaf)
            (gradient,) = torch.autograd.grad((prior + likelihood).sum(), leaf, create_graph=True)
            rows = []
            if not gradient.requires_grad:  # of a density that is linear
                return u.new_zeros(self.dim, self.dim)
            for part in torch.eye(self.dim, dtype=u.dtype, device=u.device).split(_COLUMNS_AT_ONCE):
                (found,) = torch.autograd.grad(
                    gradient, leaf, part.unsqueeze(1), retain_graph=True, is_grads_batched=True
                )
                rows.append(found.squeeze(1).detach())
        hessian = torch.cat(rows)
        return -0.5 * (hessian + hessian.mT)

    def _at_once(self, u: Tensor) -> tuple[Tensor, Tensor]:
        graph = self._graphs.get(len(u))
        if graph is None:
            graph = self._graphs[len(u)] = self._traced(u)
        with torch.no_grad(), threads(1 if self._tiny else None):
            value, gradient = graph(u)
        return value, gradient

    def eagerly(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values and gradients by the program itself; what a trace records."""
        with torch.enable_grad(), run_on(u.device, u.dtype), self.density.program.environment():
            leaf = u.detach().requires_grad_()
            prior, likelihood = self.density(leaf)
            total = prior + likelihood
            (gradient,) = torch.autograd.grad(total.sum(), leaf)
        return total.detach(), gradient

    def _traced(self, u: Tensor) -> Evaluation:
        module = record_function(self.eagerly, [u])
        if module is None:
            self.traced = False
            return self.eagerly
        self._tiny = u.device.type == "cpu" and is_tiny(estimate_cost(module))
        return module.forward

    def compile(self, u: Tensor, calls: int | None = None) -> bool:
        """Compile the evaluation of as many rows as `u` has; whether that was done.

        The rule is of the graph and of `calls` only, so that a run that goes on chooses as it did before.

        Args:
            u: ``(K, D)``.
            calls: how many evaluations there will be, which must repay it; None compiles in any case.
        """
        module = record_function(lambda rows: (_together(*self.eagerly(rows)),), [u])
        if module is None:
            return False
        cost = estimate_cost(module)
        found = compile_graph(module, [u], 0, 1, cost=cost, calls=calls or 0, wanted=calls is None)
        if isinstance(found, CSteps):
            self._graphs[len(u)] = lambda rows: _apart(found([rows.unsqueeze(0)], 1)[0])
        elif found is not None:
            self._graphs[len(u)] = lambda rows: _apart(found(rows)[0].clone())
        return found is not None


def _together(value: Tensor, gradient: Tensor) -> Tensor:
    return torch.cat([value.unsqueeze(-1), gradient], -1)


def _apart(found: Tensor) -> tuple[Tensor, Tensor]:
    return found[:, 0], found[:, 1:]
