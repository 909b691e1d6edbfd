"""What lies between the evidence and a fit's bound, in its parts."""

from __future__ import annotations

__all__ = ["InferenceGap"]

from dataclasses import dataclass
from typing import Any

from .estimate import Estimate


@dataclass(frozen=True, repr=False, eq=False)
class InferenceGap:
    r"""The evidence less the bound, :math:`\log p(x) - \mathcal L[q]`, and the parts that it has.

    As a number (``float``, `stderr`, `n`, `details`) it is `total`, so that a study takes `inference_gap` as a metric.

    Attributes:
        total: the whole gap.
        approximation: what the guide's family costs, :math:`\log p(x) - \mathcal L[q^*]`; None where it cannot be told
            from the rest.
        amortization: what it costs that a network sets the guide, :math:`\mathcal L[q^*] - \mathcal L[q]`; None where
            there is none, or it cannot be told from the rest.
        bound: :math:`\mathcal L[q]`.
        log_evidence: the estimate of :math:`\log p(x)`.
        data_size: how many data there were to choose `n` from.
        converged: whether :math:`q^*` was found; None where none was looked for. Where it was not, `approximation` is
            too large, and `amortization` too small.
        reason: in words, why something is missing or was not found.
        test: the same of the test data, where they were given.
        generalization: the amortization gap of a test datum less that of a training datum, in nats per datum; its
            standard error counts that other data might have been drawn.
    """

    total: Estimate
    approximation: Estimate | None
    amortization: Estimate | None
    bound: Estimate
    log_evidence: Estimate
    data_size: int
    converged: bool | None = None
    reason: str = ""
    test: InferenceGap | None = None
    generalization: Estimate | None = None

    @property
    def stderr(self) -> float:
        """Of `total`."""
        return self.total.stderr

    @property
    def n(self) -> int:
        """How many data all totals are over."""
        return self.total.n

    @property
    def details(self) -> dict[str, Any]:
        """Of `total`."""
        return self.total.details

    @property
    def per_datum(self) -> Estimate:
        """`total` per datum."""
        return self.total.per_datum

    def __float__(self) -> float:
        return self.total.value

    def to_dict(self, details: bool = True) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts only, ready for JSON."""
        out: dict[str, Any] = {
            "data_size": self.data_size,
            "converged": self.converged,
            "reason": self.reason,
            "test": None if self.test is None else self.test.to_dict(details),
        }
        for name in ("total", "approximation", "amortization", "bound", "log_evidence", "generalization"):
            estimate = getattr(self, name)
            out[name] = None if estimate is None else estimate.to_dict(details)
        return out

    def __repr__(self) -> str:
        lines = [f"InferenceGap of {_count(self)}, nats per datum", *_lines(self)]
        if self.test is not None:
            lines += [f"test: {_count(self.test)}", *_lines(self.test)]
        if self.generalization is not None:
            lines.append(f"{'test less training amortization':<34}{self.generalization}")
        return "\n".join(lines)


def _count(gap: InferenceGap) -> str:
    return f"{gap.n:,} data" if gap.n == gap.data_size else f"{gap.n:,} of {gap.data_size:,} data"


def _lines(gap: InferenceGap) -> list[str]:
    parts = {
        "log evidence": gap.log_evidence,
        "bound": gap.bound,
        "gap": gap.total,
        "  approximation": gap.approximation,
        "  amortization": gap.amortization,
    }
    lines = [f"  {name:<18}{part.per_datum}" for name, part in parts.items() if part is not None]
    return lines + ([f"  {gap.reason}"] if gap.reason else [])
