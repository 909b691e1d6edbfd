"""The command `jensen`: words on the command line become objects, and errors one line."""

from __future__ import annotations

__all__ = ["app", "main"]

from .command import app, main
