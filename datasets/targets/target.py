"""`Target`: a posterior whose moments are known, as a Pyro program, its data and the moments."""

from __future__ import annotations

__all__ = ["Target"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..dataset import Batch
from .moments import Moments


@dataclass(frozen=True, repr=False, eq=False)
class Target:
    """A posterior with known answers: ``NUTS().fit(target.model, target.data)`` should find `target.reference`.

    Args:
        name: as :func:`jensen.datasets.targets.load` knows it.
        model: a Pyro program of the data, ``model(**data)``.
        data: tensors ``(N, …)`` by argument name.
        reference: the posterior's moments by latent (and by value that the model computes).
        log_evidence: exact natural log of the probability of the data, in all; None where it is not known.
        source: where the moments come from, and who has used the target.
        sampler: independent draws ``(num, …)`` of the posterior by latent, of a number and a generator; None where
            there is no way to make them.

    Example:
        >>> from jensen.datasets import targets
        >>> targets.load("funnel")
        Target `funnel`
          data        y (1,)
          latents     v (), x (9,)
          evidence    -0.918939
          moments     exact
    """

    name: str
    model: Callable[..., None]
    data: Batch
    reference: Mapping[str, Moments]
    log_evidence: float | None = None
    source: str = ""
    sampler: Callable[[int, torch.Generator], dict[str, Tensor]] | None = None

    @property
    def exact(self) -> bool:
        """Whether the moments are exact, so that nothing but rounding is wrong with them."""
        return all(moments.exact for moments in self.reference.values())

    def draws(self, num: int = 1_000, *, seed: int = 0) -> dict[str, Tensor]:
        """Independent draws of the posterior, ``(num, …)`` by latent, float64.

        Raises:
            ValueError: `num` is not positive, or none can be made.
        """
        if self.sampler is None:
            raise ValueError(
                f"`{self.name}` has no exact draws, its moments alone are known. Fit `target.model` by NUTS for draws."
            )
        if num < 1:
            raise ValueError(f"`num`: expected a positive number, got {num}")
        return self.sampler(num, torch.Generator().manual_seed(seed))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Target:
        """The target with its data on `device`, those with a floating point as `dtype`; moments keep float64."""
        moved = {
            key: value.to(device=device, dtype=dtype if value.is_floating_point() else None)
            for key, value in self.data.items()
        }
        return replace(self, data=moved)

    def __repr__(self) -> str:
        data = ", ".join(f"{key} {tuple(value.shape)}" for key, value in self.data.items())
        known = [f"{key} {tuple(moments.mean.shape)}" for key, moments in self.reference.items()]
        latents = ", ".join(known) if len(known) < 7 else f"{', '.join(known[:4])} and {len(known) - 4} more"
        evidence = "unknown" if self.log_evidence is None else f"{self.log_evidence:.6g}"
        error = max(float((m.mean_stderr / m.sd).max()) for m in self.reference.values())
        lines = [
            f"Target `{self.name}`",
            f"  data        {data}",
            f"  latents     {latents}",
            f"  evidence    {evidence}",
            f"  moments     {'exact' if self.exact else f'means known to {error:.1g} sds'}",
        ]
        return "\n".join(lines)
