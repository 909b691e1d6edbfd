"""`python -m jensen.studies.cli` is the command `jensen`."""

from __future__ import annotations

__all__: list[str] = []

from .command import main

main()
