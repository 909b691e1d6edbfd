"""The history as TensorBoard event files, for those who ask."""

from __future__ import annotations

__all__ = ["tensorboard_writer"]

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError


@contextmanager
def tensorboard_writer(folder: str | Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that writes one row of the history; it does nothing without a folder.

    Raises:
        ConfigurationError: if TensorBoard is not installed.
    """
    if folder is None:
        yield lambda row: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigurationError(
            "`tensorboard` needs the TensorBoard package: install it with `pip install 'jensen[tensorboard]'`."
        ) from error
    writer = SummaryWriter(str(folder))

    def write(row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name != "step" and isinstance(value, (int, float)):
                writer.add_scalar(name, value, row["step"])

    try:
        yield write
    finally:
        writer.close()
