"""A number together with its Monte Carlo standard error."""

from __future__ import annotations

__all__ = ["Estimate"]

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from ..storage.json_values import to_plain


@dataclass(frozen=True, repr=False, eq=False)
class Estimate:
    r"""An estimate :math:`\hat v \pm s`, what every metric returns.

    Args:
        value: the estimate. Natural-log quantities are totals over the data, in nats.
        stderr: the Monte Carlo standard error of `value`; 0 where the value is exact.
        n: how many data `value` is a total over; 1 for what is not a total (a k-hat, a count).
        details: what the value was made of: tensors per datum, per site, settings. Each metric documents its keys.
            What ``"unreliable"`` says, if anything, is printed with the value, else a ``"k_hat"``.

    Example:
        >>> e = Estimate(-8676.0, 3.0, n=100)
        >>> e
        Estimate(-8676.0 +- 3.0, n=100)
        >>> print(e.per_datum)
        -86.76 +- 0.03
        >>> float(e)
        -8676.0
    """

    value: float
    stderr: float
    n: int = 1
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", float(self.value))
        object.__setattr__(self, "stderr", float(self.stderr))
        object.__setattr__(self, "n", int(self.n))
        if self.n < 1:
            raise ValueError(f"`n` must be a positive number of data, got {self.n}.")

    @property
    def k_hat(self) -> float | None:
        """The Pareto k-hat of the weights that the value was estimated from (the largest of several), or None."""
        found = self.details.get("k_hat")
        return None if found is None else float(found)

    @property
    def per_datum(self) -> Estimate:
        """``value / n +- stderr / n``, with ``n = 1`` (so that ``e.per_datum.per_datum`` is ``e.per_datum``)."""
        return Estimate(self.value / self.n, self.stderr / self.n, 1, self.details)

    def to_dict(self, details: bool = True) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts only, ready for JSON (tensors become nested lists)."""
        out: dict[str, Any] = {"value": self.value, "stderr": self.stderr, "n": self.n}
        if details:
            out["details"] = to_plain(self.details, _stand_in)
        return out

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Estimate:
        """The estimate that :meth:`to_dict` wrote; tensors of the details come back as lists."""
        return cls(values["value"], values["stderr"], values.get("n", 1), dict(values.get("details", {})))

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return _plus_minus(self.value, self.stderr) + self._note

    @property
    def _note(self) -> str:
        """In brackets: why neither value nor error can be relied on, or the k-hat; empty if neither is known."""
        if reason := self.details.get("unreliable"):
            return f" (unreliable: {reason})"
        k_hat = self.k_hat
        return f" (k-hat {k_hat:.2g})" if k_hat is not None and math.isfinite(k_hat) else ""

    def __repr__(self) -> str:
        return f"Estimate({self}{f', n={self.n}' if self.n > 1 else ''})"

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} +- {self.stderr:{spec}}{self._note}" if spec else str(self)


def _plus_minus(value: float, stderr: float) -> str:
    """Decimals by the size of the error (one digit, two where the first is 1); at most seven digits of the value."""
    if not math.isfinite(value) or not math.isfinite(stderr) or stderr <= 0.0:
        return f"{value:.6g} +- {stderr:.1g}" if stderr else f"{value:.6g} +- 0"
    exponent = math.floor(math.log10(stderr))
    if round(stderr / 10.0**exponent, 1) < 2.0:
        exponent -= 1
    decimals = max(-exponent, 1)
    most = 6 - math.floor(math.log10(abs(value))) if value else 6  # seven digits of the value
    if decimals > most:
        return f"{value:.{max(most, 1)}f} +- {stderr:.1g}"
    return f"{value:.{decimals}f} +- {stderr:.{decimals}f}"


def _stand_in(detail: Any) -> Any:
    if isinstance(detail, torch.Tensor):
        return detail.detach().cpu().tolist()
    return detail.to_dict() if isinstance(detail, Estimate) else str(detail)
