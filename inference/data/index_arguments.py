"""Which integers stay integers: those that the model indexes with."""

from __future__ import annotations

__all__ = ["with_indices"]

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from jensen.models.common.index_arguments import index_arguments
from jensen.models.common.sampling import default_device_and_dtype

from ..errors import JensenError
from ..pair.bound_pair import empty_guide
from ..pair.function_program import own_copy
from ..pair.program import Program
from ..pair.signature import Signature
from .parts import holds_integers, is_empty
from .tensors import to_tensor

_ROWS = 16


def with_indices(
    model: Any, signature: Signature, parts: Mapping[str, Any], dtype: torch.dtype, device: torch.device
) -> Signature:
    """The signature with `integers` widened by the arguments that the model refuses as floating numbers.

    Looked at are arguments without a default that are given as integers. Where there are any, a copy of the model is
    run on the first rows, with Pyro's store and the random state left alone.
    """
    asked = [
        name
        for name, value in parts.items()
        if name in signature.required and name not in signature.integers and holds_integers(value)
    ]
    if not asked:
        return signature
    try:
        held = {name: value for name, value in parts.items() if value is not None and not is_empty(value)}
        few = {name: value.iloc[:_ROWS] if hasattr(value, "iloc") else value[:_ROWS] for name, value in held.items()}
        batch = {
            name: to_tensor(name, value, dtype=dtype, device=device, integer=name in signature.integers, missing=True)
            for name, value in few.items()
        }
        program = Program(own_copy(model, device, dtype), empty_guide)
    except (JensenError, TypeError, IndexError):  # data that cannot be read, which are refused with their fault
        return signature
    with program.environment(), default_device_and_dtype(batch):
        found = index_arguments(program.model, batch, asked)
    return replace(signature, integers=signature.integers | found)
