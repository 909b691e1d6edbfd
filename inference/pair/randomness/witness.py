"""Which operations of a run advance a random generator, whatever library code they come from."""

from __future__ import annotations

__all__ = ["Witness"]

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Witness(TorchDispatchMode):
    """Tell `opaque` each ATen operation that draws from torch's generator, `private` each that has one of its own.

    Operations are judged by what they do to the generator's state, so none has to be known beforehand.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled in here

    def __init__(self, opaque: Callable[[str], None], private: Callable[[str], None]) -> None:
        super().__init__()
        self.opaque, self.private = opaque, private
        self._off = False

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Inside, draws are accounted for elsewhere."""
        before, self._off = self._off, True
        try:
            yield
        finally:
            self._off = before

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._off:
            return func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        if kwargs.get("generator") is not None:
            self.private(name)
            return func(*args, **kwargs)
        before = _states()
        out = func(*args, **kwargs)
        if any(not torch.equal(old, new) for old, new in zip(before, _states(), strict=True)):
            self.opaque(name)
        return out


def _states() -> list[torch.Tensor]:
    states = [torch.default_generator.get_state()]
    if torch.cuda.is_initialized():
        states.append(torch.cuda.get_rng_state())
    return states
