"""What two sets of draws, or draws and known moments, have in common."""

from __future__ import annotations

__all__ = ["FEWEST", "aligned_draws", "joined_moments", "shared_names", "varying_numbers"]

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from jensen.datasets.targets import Moments

from ...errors import DataError
from .rows import unwrapped
from .sample_moments import SampleMoments
from .samples import Samples

FEWEST = 100
"""Draws that a comparison needs."""


def shared_names(found: Samples, shapes: Mapping[str, Any], truth: Samples | None) -> tuple[list[str], dict[str, str]]:
    """What is compared, in the order of the fit; and what is not, and why."""
    left_out, names = {}, []
    for name, value in found.draws.items():
        if name not in shapes:
            left_out[name] = "not in the reference"
        elif name in found.discrete or not value.is_floating_point() or (truth and _discrete(truth, name)):
            left_out[name] = "discrete"
        elif value.shape[1:] != shapes[name]:
            raise DataError(
                f"`{name}` is {tuple(value.shape[1:])} in the fit and {tuple(shapes[name])} in the reference (without "
                "the draws' dimension). Compare fits of one model and data, or leave it out."
            )
        else:
            names.append(name)
    left_out |= {name: "not in the fit" for name in shapes if name not in found.draws}
    if not names:
        raise DataError(
            f"There is nothing to compare: the fit holds {_listed(found.draws)}, the reference {_listed(shapes)}, and "
            "no continuous latent of one name. Name latents alike; local ones are compared where `data` is given."
        )
    for what, samples in (("fit", found), ("reference", truth)):
        count = FEWEST if samples is None else len(next(iter(samples.draws.values())))
        if count < FEWEST:
            raise DataError(f"`{what}` holds {count} draws. A comparison needs {FEWEST} or more: take more steps.")
    return names, left_out


def _discrete(samples: Samples, name: str) -> bool:
    return name in samples.discrete or (name in samples.draws and not samples.draws[name].is_floating_point())


def _listed(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def aligned_draws(
    found: Samples, truth: Samples | None, names: list[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Both sides' draws, angles unwrapped about one direction."""
    one = {name: found.draws[name].double() for name in names}
    two = {name: truth.draws[name].double() for name in names if name in truth.draws} if truth else {}
    for name in names:
        if name in found.circular or (truth and name in truth.circular):
            about = two.get(name, one[name])
            one[name] = unwrapped(one[name], about)
            if name in two:
                two[name] = unwrapped(two[name], about)
    return one, two


def joined_moments(reference: Mapping[str, Moments], names: list[str]) -> SampleMoments:
    """Known moments, as those of draws are."""

    def joined(read: Callable[[Moments], Tensor], lead: int = 0) -> Tensor:
        parts = [read(reference[name]) for name in names]
        return torch.cat([part.reshape(*part.shape[:lead], -1) for part in parts], -1)

    mean = joined(lambda m: m.mean)
    return SampleMoments(
        mean,
        joined(lambda m: m.mean_stderr),
        joined(lambda m: m.sd),
        joined(lambda m: m.sd_stderr),
        joined(lambda m: m.quantiles, 1),
        joined(lambda m: m.quantiles_stderr, 1),
        torch.full_like(mean, float("inf")),
    )


def varying_numbers(numbers: list[str], sd: Tensor, right: Tensor) -> Tensor:
    """Which numbers vary in the reference; none may vary in the fit alone."""
    alone = (right == 0) & (sd > 0)
    if bool(alone.any()):
        number = numbers[int(alone.nonzero()[0])]
        raise DataError(
            f"`{number}` never varies in the reference, and does in the fit, so that its error has no unit. Look at "
            "the reference, or leave the latent out."
        )
    return right > 0
