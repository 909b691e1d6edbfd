"""`Comparison`: the errors of a fit's moments and quantiles, number by number, and its distance from the reference."""

from __future__ import annotations

__all__ = ["Comparison", "Worst"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..plain_text import printable
from .estimate import Estimate

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Worst:
    """The number whose mean or standard deviation is farthest off.

    Attributes:
        number: such as ``"w[3]"``.
        quantity: ``"mean"`` or ``"sd"``.
        value: of a mean its error in the reference's sds (the fit's less the reference's); of an sd its ratio to the
            reference's.
        stderr: standard error of `value`.
    """

    number: str
    quantity: str
    value: float
    stderr: float

    def __str__(self) -> str:
        size = Estimate(abs(self.value), self.stderr)
        if self.quantity == "mean":
            side = "above" if self.value > 0 else "below"
            return f"the mean of `{printable(self.number)}` is {size} sds {side} the reference's"
        return f"the sd of `{printable(self.number)}` is {size} times the reference's"


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """What :func:`jensen.inference.compare` found; ``(D,)`` each, over the numbers that vary, float64.

    Attributes:
        numbers: their names, such as ``"w[3]"``.
        mean_error: the fit's mean minus the reference's, in the reference's standard deviations.
        mean_error_stderr: its Monte Carlo standard error, of the fit's draws and the reference's.
        sd_ratio: the fit's standard deviation over the reference's.
        sd_ratio_stderr: its standard error.
        quantile_error: of the quantiles at `probabilities`, ``(5, D)``, in the reference's standard deviations.
        quantile_error_stderr: its standard error.
        probabilities: of the quantiles.
        sliced_wasserstein: the distance of all numbers together, in units of the reference's standard deviations;
            ``details["floor"]`` is the distance that so many draws of the reference have among themselves. None where
            the reference has no draws.
        mmd_squared: the squared maximum mean discrepancy, from 0 to 2; its estimate of no distance is 0 give or take
            its error. None likewise.
        fit, reference: what was compared, in words.
        left_out: what was not compared, and why, by name.
    """

    numbers: tuple[str, ...]
    mean_error: Tensor
    mean_error_stderr: Tensor
    sd_ratio: Tensor
    sd_ratio_stderr: Tensor
    quantile_error: Tensor
    quantile_error_stderr: Tensor
    probabilities: tuple[float, ...]
    sliced_wasserstein: Estimate | None = None
    mmd_squared: Estimate | None = None
    fit: str = ""
    reference: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def worst(self) -> Worst:
        """The mean or sd that is farthest off: by sds, or by the log of the ratio where that is larger."""
        shift, bend = self.mean_error.abs(), self.sd_ratio.log().abs()
        i, j = int(shift.argmax()), int(bend.argmax())
        if float(shift[i]) >= float(bend[j]):
            return Worst(self.numbers[i], "mean", float(self.mean_error[i]), float(self.mean_error_stderr[i]))
        return Worst(self.numbers[j], "sd", float(self.sd_ratio[j]), float(self.sd_ratio_stderr[j]))

    @property
    def frame(self) -> pandas.DataFrame:
        """A pandas table, a number a row: its `number`, the errors of its mean, sd and quantiles, and their errors."""
        import pandas

        columns: dict[str, Any] = {"number": list(self.numbers)}
        for name in ("mean_error", "mean_error_stderr", "sd_ratio", "sd_ratio_stderr"):
            columns[name] = getattr(self, name).numpy()
        for k, p in enumerate(self.probabilities):
            columns[f"q{100 * p:g}_error"] = self.quantile_error[k].numpy()
            columns[f"q{100 * p:g}_error_stderr"] = self.quantile_error_stderr[k].numpy()
        return pandas.DataFrame(columns)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts only, ready for JSON."""
        out: dict[str, Any] = {"fit": self.fit, "reference": self.reference, "left_out": dict(self.left_out)}
        out |= {"numbers": list(self.numbers), "probabilities": list(self.probabilities)}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                out[name] = value.tolist()
            elif isinstance(value, Estimate):
                out[name] = value.to_dict()
        return out

    def __repr__(self) -> str:
        count = f"{len(self)} number{'s' if len(self) != 1 else ''}"
        k, i = divmod(int(self.quantile_error.abs().argmax()), len(self))
        at = f"{100 * self.probabilities[k]:g}% of `{printable(self.numbers[i])}`"
        low, high = float(self.sd_ratio.min()), float(self.sd_ratio.max())
        lines = [
            f"Comparison of {printable(self.fit)} with {printable(self.reference)}: {count}",
            f"  means      within {_short(float(self.mean_error.abs().max()))} sds",
            f"  sds        {_short(low)} to {_short(high)} times the reference's",
            f"  quantiles  within {_short(float(self.quantile_error.abs().max()))} sds ({at})",
        ]
        if self.sliced_wasserstein is not None:
            floor = _short(self.sliced_wasserstein.details["floor"])
            lines.append(f"  sliced W2  {self.sliced_wasserstein} sds ({floor} among draws of the reference)")
        if self.mmd_squared is not None:
            lines.append(f"  MMD^2      {self.mmd_squared}")
        lines.append(f"  worst      {self.worst}")
        if self.left_out:
            shown = [f"`{printable(name)}` ({why})" for name, why in list(self.left_out.items())[:4]]
            more = f" and {len(self.left_out) - 4} more" if len(self.left_out) > 4 else ""
            lines.append(f"  left out   {', '.join(shown)}{more}")
        return "\n".join(lines)


def _short(value: float) -> str:
    """Two digits, or three from 1 on."""
    return f"{value:.3g}" if abs(value) >= 1.0 else f"{value:.2g}"
