"""Guides of flows that are fitted in coordinates in which a known normal is the standard one."""

from __future__ import annotations

__all__ = ["InCoordinates", "deviations"]

from typing import Any

import torch
from torch import Tensor


class InCoordinates:
    r"""Part of a guide of :math:`u = c + L v` with L lower triangular, which learns the distribution of v. Abstract.

    Guides that were never whitened, and files of them, have neither c nor L.
    """

    latent_dim: int
    centre: Tensor
    root: Tensor
    register_buffer: Any  # the module's own

    def _set_coordinates(self, centre: Tensor, root: Tensor, persistent: bool = False) -> None:
        """From now on the guide is over v; c is ``(D,)`` and L ``(D, D)``. Files hold them if `persistent`."""
        self._drop_coordinates()
        self.register_buffer("centre", centre, persistent=persistent)
        self.register_buffer("root", root, persistent=persistent)

    def _coordinates(self) -> tuple[Tensor, Tensor] | None:
        return (self.centre, self.root) if hasattr(self, "root") else None

    def _drop_coordinates(self) -> None:
        if hasattr(self, "root"):
            del self.centre, self.root

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """What a file holds of the coordinates, there is a place for."""
        if f"{prefix}root" in state_dict:
            like: Tensor = state_dict[f"{prefix}root"]
            size = self.latent_dim
            self._set_coordinates(like.new_zeros(size), like.new_zeros(size, size), persistent=True)
        super()._load_from_state_dict(state_dict, prefix, *rest)  # type: ignore[misc]


def deviations(root: Tensor) -> Tensor:
    """Standard deviations ``(D,)`` of :math:`L v` for standard v."""
    return torch.linalg.vector_norm(root, dim=-1)
