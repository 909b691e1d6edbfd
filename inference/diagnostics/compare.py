"""How far a fit is from a reference: moments, quantiles and distances, number by number and in all."""

from __future__ import annotations

__all__ = ["compare"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jensen.datasets.targets import PROBABILITIES, Target

from ..errors import DataError
from ..options import check_count
from ..seeding import derive_seed
from ..tensors import number_names
from .comparison import Comparison
from .distances.mmd import squared_mmd
from .distances.pairing import FEWEST, aligned_draws, joined_moments, shared_names, varying_numbers
from .distances.rows import Rows, rows_of
from .distances.sample_moments import SampleMoments, sample_moments
from .distances.samples import Samples, reference_samples, samples_of
from .distances.sliced_wasserstein import sliced_wasserstein
from .estimate import Estimate

_BLOCKS = 20  # of a jackknife
_PAIRED = 2_000  # draws of each side whose pairs are looked at


def compare(
    fit: Any,
    reference: Any,
    *,
    data: Any = None,
    num_samples: int = 4_000,
    num_directions: int = 100,
    require_converged: bool = True,
    seed: int = 0,
) -> Comparison:
    r"""Compare a fit's draws with those of a reference, or with moments that are known.

    Of each number h of the continuous latents, with mean m, standard deviation s and quantiles :math:`q_p` of the fit
    and :math:`m^*, s^*, q_p^*` of the reference,

    .. math:: \frac{m - m^*}{s^*}, \qquad \frac{s}{s^*}, \qquad \frac{q_p - q_p^*}{s^*} \quad
        (p = 0.05, 0.25, 0.5, 0.75, 0.95),

    and of all of them together, where the reference has draws, in units of :math:`s^*`: the sliced Wasserstein
    distance :math:`\mathrm{SW}_2`, and the squared maximum mean discrepancy with a Gaussian kernel whose bandwidth is
    the median distance between draws of the reference, without bias.

    What both sides know by name is compared, `pyro.deterministic` values included: a hierarchy in other coordinates is
    compared by its effects. Discrete latents and what never varies are left out, and named. Angles are taken within
    half a turn of the reference's mean direction.

    Args:
        fit: a fit by any method, or draws ``(S, …)`` by latent.
        reference: a fit by `NUTS` or another method with chains; draws ``(S, …)`` by latent, of one chain or
            independent; or a :class:`jensen.datasets.targets.Target`.
        data: rows whose local latents are compared too; None compares the global ones.
        num_samples: draws of a guide or target. Of chains and dicts all are used for moments, and at most so many for
            distances (2,000 for the squared discrepancy).
        num_directions: of the sliced distance.
        require_converged: whether to refuse a fit as reference that does not say that it has converged.
        seed: of the draws and directions.

    Returns:
        A :class:`Comparison`, which prints, names the `worst` number, and has all of them in its `frame`.

    Raises:
        ConfigurationError: an argument is of the wrong kind, or the reference has not converged.
        DataError: nothing is shared; a latent has another shape in the reference; draws are not finite or too few; a
            number varies in the fit and never in the reference.

    References: Bonneel et al. (2015), Sliced and Radon Wasserstein barycenters of measures,
    https://doi.org/10.1007/s10851-014-0506-3; Gretton et al. (2012), A kernel two-sample test,
    https://jmlr.org/papers/v13/gretton12a.html

    Example:
        >>> from jensen.datasets import targets
        >>> target = targets.load("linear_gaussian")
        >>> far = {"w": target.draws(4_000, seed=1)["w"] + target.reference["w"].sd}
        >>> found = compare(far, target)
        >>> found.worst.quantity, bool(abs(found.worst.value - 1) < 0.1)
        ('mean', True)
    """
    num = check_count("num_samples", num_samples, FEWEST)
    directions = check_count("num_directions", num_directions, 2)
    truth = reference_samples(reference, data, num, derive_seed(seed, "reference"), require_converged)
    found = samples_of("fit", fit, data, num, derive_seed(seed, "fit"))
    known = reference.reference if isinstance(reference, Target) else None
    shapes = {name: moments.mean.shape for name, moments in known.items()} if known else {}
    if truth is not None:
        shapes = shapes or {name: value.shape[1:] for name, value in truth.draws.items()}
    names, left_out = shared_names(found, shapes, truth)
    draws, own = aligned_draws(found, truth, names)
    rows = rows_of(draws, names, found.chains, found.independent)
    numbers = [number for name in names for number in number_names(name, shapes[name])]
    other = None
    if truth is not None:
        other = rows_of(own, [n for n in names if n in own], truth.chains, truth.independent)
    moments = sample_moments(rows, PROBABILITIES)
    exact = joined_moments(known, names) if known else sample_moments(_given(other), PROBABILITIES)
    kept = varying_numbers(numbers, moments.sd, exact.sd)
    left_out |= {number: "never varies" for number, keep in zip(numbers, kept.tolist(), strict=True) if not keep}
    if not bool(kept.any()):
        raise DataError("Nothing that both sides hold varies, so that there is nothing to compare.")
    sd = exact.sd[kept]
    distances = {}
    if other is not None and other.values.shape[-1] == len(kept):
        centre = exact.mean[kept]
        distances = _distances(rows.select(kept), other.select(kept), centre, sd, num, directions, seed)

    def gap(read: Callable[[SampleMoments], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        (value, error), (right, right_error) = read(moments), read(exact)
        return (value - right)[..., kept] / sd, torch.hypot(error, right_error)[..., kept] / sd

    mean, mean_error = gap(lambda m: (m.mean, m.mean_stderr))
    quantile, quantile_error = gap(lambda m: (m.quantiles, m.quantiles_stderr))
    ratio = moments.sd[kept] / sd
    ratio_error = torch.hypot(moments.sd_stderr[kept], ratio * exact.sd_stderr[kept]) / sd
    return Comparison(
        tuple(number for number, keep in zip(numbers, kept.tolist(), strict=True) if keep),
        mean,
        mean_error,
        ratio,
        ratio_error,
        quantile,
        quantile_error,
        PROBABILITIES,
        fit=found.what,
        reference=_describe(reference, truth),
        left_out=left_out,
        **distances,
    )


def _given(rows: Rows | None) -> Rows:
    assert rows is not None
    return rows


def _describe(reference: Any, truth: Samples | None) -> str:
    if isinstance(reference, Target):
        return f"`{reference.name}`, {'exact' if reference.exact else 'known'} moments"
    assert truth is not None
    total = len(next(iter(truth.draws.values())))
    status = getattr(reference, "status", "")
    return f"{truth.what}, {total:,} draws{f', {status}' if status else ''}"


def _distances(
    rows: Rows, other: Rows, centre: Tensor, sd: Tensor, num: int, directions: int, seed: int
) -> dict[str, Estimate]:
    """Between draws in units of the reference's standard deviations."""

    def pick(of: Rows, most: int) -> Tensor:
        return (of.spaced(most) - centre) / sd

    def axes() -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(seed, "directions"))

    least = min(rows.values.shape[:2].numel(), other.values.shape[:2].numel(), num)
    count = least - least % (2 * _BLOCKS)
    one, two = pick(rows, count), pick(other, count)
    value, error = sliced_wasserstein(one, two, directions, axes())
    among, _ = sliced_wasserstein(two[: count // 2], two[count // 2 :], directions, axes())
    floor = among / 2**0.5  # of twice as many draws
    few = min(count, _PAIRED)
    squared, squared_error, width = squared_mmd(pick(rows, few), pick(other, few))
    return {
        "sliced_wasserstein": Estimate(value, error, details={"floor": floor, "num_draws": count}),
        "mmd_squared": Estimate(squared, squared_error, details={"bandwidth": width, "num_draws": few}),
    }
