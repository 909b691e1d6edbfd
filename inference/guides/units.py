"""Guides whose locations and scales are in units of their own while they are fitted."""

from __future__ import annotations

__all__ = ["InUnits"]

from typing import Any

from torch import Tensor


class InUnits:
    r"""Part of a guide of :math:`u = c + s \odot v`, which learns location and scale of v. Abstract."""

    centre: Tensor
    unit: Tensor
    register_buffer: Any  # the module's own

    def _set_units(self, centre: Tensor, unit: Tensor) -> None:
        """From now on parameters are those of v; c and s are ``(D,)``."""
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("unit", unit, persistent=False)

    def _mapped(self, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of u, of those of v; themselves where no units are set."""
        return (self.centre + self.unit * loc, self.unit * scale) if hasattr(self, "unit") else (loc, scale)

    def _drop_units(self) -> None:
        """From now on parameters are those of u."""
        if hasattr(self, "unit"):
            del self.centre, self.unit
