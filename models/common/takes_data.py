"""Methods that take the same inputs as a fit: arrays, lists, DataFrames and tensors of any number type."""

from __future__ import annotations

__all__ = ["read_inputs", "takes_data"]

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .index_arguments import index_arguments
from .inputs import as_tensor, read_numbers


def takes_data(method: Any = None, *, cast: bool = True) -> Any:
    """Make a model's method take what a fit takes; its body sees tensors.

    What an argument is, its annotation says: ``Tensor`` is made floating, ``torch.LongTensor`` int64, and a
    ``Mapping`` is the data by argument name, for which the first argument alone may stand. An argument that the model's
    program annotates ``torch.LongTensor`` is int64 everywhere. Inside the model's own programs nothing is changed: what
    a fit passes is right already.

    Args:
        method: a method of a `LatentVariableModel`; left out, as in ``@takes_data(cast=False)``, a decorator of one.
        cast: whether tensors get the dtype of the model's parameters, as networks need it; otherwise floating ones keep
            their own, which closed forms may compute in.

    Raises:
        ValueError, TypeError: as :func:`jensen.models.common.inputs.as_tensor`.
    """
    if method is None:
        return functools.partial(takes_data, cast=cast)
    parameters = [p for p in inspect.signature(method).parameters.values() if p.name != "self"]
    names = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    kinds = {p.name: str(p.annotation) for p in parameters}
    others = next((str(p.annotation) for p in parameters if p.kind is p.VAR_KEYWORD), "")

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._pyro_context.active:
            return method(self, *args, **kwargs)
        like, whole = _like(self) if cast else None, _whole_arguments(type(self))

        def read(name: str, value: Any, kind: str) -> Any:
            if value is None:
                return None
            if "Mapping" in kind:
                data = value if isinstance(value, Mapping) else {self.arguments[0]: value}
                return {key: read(key, item, "Tensor") for key, item in data.items()}
            if "Tensor" not in kind:
                return value
            integer = "LongTensor" in kind or name in whole
            return as_tensor(name, value, like, integer, missing=name in getattr(self, "nan_allowed", ()))

        args = (*map(read, names, args, (kinds[name] for name in names)), *args[len(names) :])
        kwargs = {name: read(name, value, kinds.get(name, others)) for name, value in kwargs.items()}
        return method(self, *args, **kwargs)

    return call


def read_inputs(model: Any, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Arguments of a model's program, of any kind, as tensors of its dtype; those that it indexes with are int64."""
    like, whole = _like(model), _whole_arguments(type(model))
    given = {name: read_numbers(name, value, name in model.nan_allowed) for name, value in inputs.items()}
    batch = {name: as_tensor(name, value, like, name in whole) for name, value in given.items()}
    kinds = {name: value.dtype for name, value in given.items() if not value.is_floating_point()}
    integers = [name for name, kind in kinds.items() if kind != torch.bool and name not in whole]
    indices = index_arguments(model.model, batch, integers)
    return {name: value.long() if name in indices else value for name, value in batch.items()}


def _whole_arguments(model: Any) -> frozenset[str]:
    """The arguments of the model's program that are annotated ``torch.LongTensor``: indices, which stay int64."""
    parameters = inspect.signature(model.model).parameters.values()  # type: ignore[attr-defined]
    return frozenset(p.name for p in parameters if "LongTensor" in str(p.annotation))


def _like(model: nn.Module) -> Tensor | None:
    """The first floating parameter or buffer, if the model has one."""
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            if tensor.is_floating_point():
                return tensor
    return None
