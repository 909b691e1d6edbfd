"""The Bernoulli log density in the form that costs least under vmap."""

from __future__ import annotations

__all__ = ["bernoulli_terms"]

from typing import Any

from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from torch.overrides import TorchFunctionMode


class bernoulli_terms(TorchFunctionMode):
    r"""Inside, :math:`\log p(x) = x \ell + \log \sigma(-\ell)` for logits :math:`\ell`.

    That is one exponential and one logarithm an element. torch's own rule for vmap,
    :math:`(1 - x) \ell + m + \log(e^{-m} + e^{-\ell - m})` with :math:`m = \max(-\ell, 0)`, takes two exponentials and
    keeps both for the gradient.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is binary_cross_entropy_with_logits and len(args) == 2:
            logits, target = args
            given = {name for name, value in kwargs.items() if value is not None}
            if logits.shape == target.shape and given == {"reduction"} and kwargs["reduction"] == "none":
                return -(target * logits + logsigmoid(-logits))
        return func(*args, **kwargs)
