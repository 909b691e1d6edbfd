"""Assignment through a boolean mask, in a form that vmap can run."""

from __future__ import annotations

__all__ = ["masked_assignment"]

from numbers import Number
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class masked_assignment(TorchFunctionMode):
    """Inside, ``x[mask] = number`` is ``x.copy_(torch.where(mask, number, x))``.

    vmap refuses the first for its shape depends on values. From release 2.14 on, torch's own `Multinomial.log_prob`
    holds one.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__setitem__:
            tensor, mask, value = args
            if isinstance(mask, torch.Tensor) and mask.dtype == torch.bool and mask.dim() and _is_scalar(value):
                wide = mask.reshape(mask.shape + (1,) * (tensor.dim() - mask.dim()))
                return tensor.copy_(torch.where(wide, value, tensor))
        return func(*args, **(kwargs or {}))


def _is_scalar(value: Any) -> bool:
    return isinstance(value, Number) or (isinstance(value, torch.Tensor) and value.dim() == 0)
