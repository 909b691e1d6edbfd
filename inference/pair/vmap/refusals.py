"""Why a program cannot be vectorised over particles, and what to write instead."""

from __future__ import annotations

__all__ = ["said_of_loop"]

_VALUES = "Keep numbers in tensors (no `.item()`, `float(…)`, `.numpy()`), and choose by `torch.where`"
_SHAPES = "Select by `torch.where` or `poutine.mask`, which keep the shape"
_PLACES = "Build the tensor from its parts (`torch.stack`, `torch.cat`, `torch.where`)"
_DRAWS = "Draw in a sample site, or outside of the function"
_CURES = {  # words of an error: what to write instead
    "draws random numbers": _DRAWS,
    "item()": _VALUES,
    "control flow": _VALUES,
    "data pointer": _VALUES,
    "boolean mask": _SHAPES,
    "dynamic shape": _SHAPES,
    "written into a part": "",  # the error says it
    "in-place": _PLACES,
    "inplace": _PLACES,
    "output with shape": _PLACES,
}


def said_of_loop(error: Exception) -> str:
    """The warning that a program runs particle by particle: that it does, what to do, and for what `reason`."""
    text = str(error)
    cure = next((cure for words, cure in _CURES.items() if words in text), "")
    reason = (text.strip().splitlines() or [type(error).__name__])[0]
    return (
        f"The program cannot be vectorised over particles, so they are run one by one, which is slower but gives the "
        f"same numbers. {cure + '. ' if cure else ''}Reason: {reason}"
    )
