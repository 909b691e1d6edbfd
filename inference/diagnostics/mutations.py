"""Effects of mutations on the log evidence of a sequence, by importance sampling with common random numbers."""

from __future__ import annotations

__all__ = ["MutationEffects", "mutation_effects", "mutation_scan"]

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import DataError, ModelError
from ..options import check_count
from ..pair.randomness.noise import Noise, NoiseLayout
from ..pair.site_terms import Terms
from ..pair.terms import evaluate
from .estimate import Estimate
from .mutants import codes_of, letters_of, mutate
from .weights.chunking import chunk_seed
from .weights.pareto import psis_k
from .weights.scoring import Scored, random_sites, refuse_point_masses, scored

_NUMBERS = 2**23  # of the densities of one piece, at most


@dataclass(frozen=True, eq=False)
class MutationEffects:
    r"""Scores :math:`\log p(\text{mutant}) - \log p(\text{wild type})`, in nats; below 0 the mutant is less likely.

    Attributes:
        names: of the mutants, such as ``"A23G"`` or ``"A23G:L30V"``.
        value: the scores, ``(M,)`` float64 on the CPU.
        stderr: their Monte Carlo standard errors, ``(M,)``.
        wild_type: the log evidence of the wild type.
        pareto_k: k-hat of each mutant's weights, ``(M,)``; above 0.7 neither score nor error can be relied on.
        columns, letters: of a scan: how its matrix is laid out.
    """

    names: tuple[str, ...]
    value: Tensor
    stderr: Tensor
    wild_type: Estimate
    pareto_k: Tensor
    columns: int = 0
    letters: str = ""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Estimate:
        """The score of one mutant."""
        if name not in self.names:
            raise KeyError(f"no mutant {name!r}; there are {', '.join(self.names[:5])}, ...")
        k = self.names.index(name)
        return Estimate(float(self.value[k]), float(self.stderr[k]))

    @property
    def matrix(self) -> Tensor:
        """Of a scan: the scores ``(columns, letters)``."""
        if not self.columns:
            raise DataError("Only a scan has a matrix: use `mutation_scan`, or read `value`.")
        return self.value.reshape(self.columns, len(self.letters))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}: {self[name]}" for name in self.names[:3])
        return f"MutationEffects({shown}{', ...' if len(self) > 3 else ''})"


def mutation_effects(
    fit: Any,
    wild_type: str | Tensor,
    mutations: Sequence[str],
    *,
    positions: Sequence[int] | None = None,
    num_particles: int = 2_000,
    seed: int = 0,
) -> MutationEffects:
    r"""Score mutants by the log ratio of their evidence to the wild type's.

    .. math:: \Delta = \log \frac1K \sum_k \frac{p(x', z'_k)}{r(z'_k \mid x')}
       - \log \frac1K \sum_k \frac{p(x, z_k)}{r(z_k \mid x)}, \qquad
       r(z \mid x) = \tfrac12 q(z \mid x) + \tfrac12 p(z),

    with half the draws from the guide and half from the prior. A mutant is often a sequence that the guide never saw;
    with the prior mixed in, no weight exceeds ``2 p(x | z)``, however wrong the guide is. Mutant and wild type get the
    same base noise, so that much of the Monte Carlo error cancels; the standard error is the delta method's, of the
    paired weights. Like every log of an average, each term is biased down by about half its variance.

    Args:
        fit: of a model with `letters` and one site ``x`` of codes, such as `AlignmentVAE`.
        wild_type: its aligned sequence, a string or codes ``(D,)``.
        mutations: such as ``"A23G"`` (wild-type letter, position, new letter); ``"A23G:L30V"`` has both. A gap is
            ``-``, before the position (an insertion) or after it (a deletion).
        positions: the number that each column goes by, ``(D,)``; by default 1, ..., D.
        num_particles: K, draws of the latent for each mutant (rounded up to an even number).
        seed: of the draws.

    Returns:
        The scores with their standard errors, in the order of `mutations`.

    Raises:
        ModelError: if the model has no `letters`, or the guide is a point mass.
        DataError: a mutation that cannot be read, a position that is no column or is there twice, a wild-type letter
            that is not there.

    Reference: A. Riesselman, J. Ingraham and D. Marks, *Deep generative models of genetic variation capture the effects
    of mutations*, 2018, https://doi.org/10.1038/s41592-018-0138-4.

    Example:
        >>> mutation_effects(fit, wild_type, ["C5A"])["C5A"]  # doctest: +SKIP
        Estimate(-6.41 +- 0.02)
    """
    letters = letters_of(fit)
    row = codes_of(fit, wild_type, letters)
    places = list(range(1, len(row) + 1)) if positions is None else [int(position) for position in positions]
    if len(places) != len(row) or len(set(places)) < len(places):
        raise DataError(f"`positions` must be {len(row)} different numbers, one a column, got {len(places)}.")
    if isinstance(mutations, str) or not mutations:
        raise DataError(f'`mutations` must be a list such as ["A23G"], got {mutations!r}.')
    column = {place: k for k, place in enumerate(places)}
    mutants = torch.stack([mutate(row, text, letters, column) for text in mutations])
    return _score(fit, row, mutants, tuple(mutations), num_particles, seed)


def mutation_scan(
    fit: Any, wild_type: str | Tensor, *, num_particles: int = 500, seed: int = 0, gaps: bool = False
) -> MutationEffects:
    """Score every single mutant; `matrix` is ``(columns, 20)``, 0 where the letter is the wild type's.

    Args:
        fit, wild_type, num_particles, seed: as for `mutation_effects`.
        gaps: score deletions too, the alphabet's last letter: the matrix is then ``(columns, 21)``.

    Raises:
        ModelError, DataError: as `mutation_effects`.
    """
    letters = letters_of(fit)
    row = codes_of(fit, wild_type, letters)
    shown = letters if gaps else letters[:-1]
    mutants = row.repeat(len(row), len(shown), 1)
    each = torch.arange(len(row))
    mutants[each, :, each] = torch.arange(len(shown))
    names = tuple(f"{letters[code]}{k + 1}{letter}" for k, code in enumerate(row.tolist()) for letter in shown)
    found = _score(fit, row, mutants.flatten(0, 1), names, num_particles, seed)
    return replace(found, columns=len(row), letters=shown)


def _score(
    fit: Any, row: Tensor, mutants: Tensor, names: tuple[str, ...], num_particles: int, seed: int
) -> MutationEffects:
    half = (check_count("num_particles", num_particles, least=4) + 1) // 2
    values = torch.zeros(len(mutants), dtype=torch.float64)
    errors, tails = torch.zeros_like(values), torch.full_like(values, -math.inf)
    with scored(fit, {"x": row.unsqueeze(0)}, draw_discrete=True) as pair:
        refuse_point_masses(pair.structure, "mutation_effects")
        latents = [pair.structure.sites[name] for name in random_sites(pair.structure)]
        if any(site.kind != "latent" or not site.local for site in latents):
            raise ModelError(
                "`mutation_effects` compares sequences by latents of their own, in the plate `data`, and the pair also "
                "draws others. Use `log_evidence` of each sequence."
            )
        drawn = fit.model.generate(half, seed=chunk_seed(seed, 1))
        prior = {site.name: drawn[site.name].unsqueeze(1).to(pair.device) for site in latents}
        noise = _SharedNoise(pair, half, seed)
        weights, evidence = _normalized(_log_weights(pair, row.unsqueeze(0), prior, noise)[:, 0])
        changed = (mutants != row).any(1).nonzero().flatten()
        size = max(1, min(64, _NUMBERS // (half * len(row) * len(letters_of(fit))))) if noise.shared else 1
        for part in changed.split(size):
            log_weights = _log_weights(pair, mutants[part], prior, noise)
            tails[part] = psis_k(log_weights)
            for k, column in zip(part.tolist(), log_weights.unbind(1), strict=True):
                other, found = _normalized(column)
                values[k], errors[k] = found - evidence, _error(other - weights)
    return MutationEffects(names, values, errors, Estimate(float(evidence), _error(weights)), tails)


def _error(weights: Tensor) -> float:
    """Standard error of the mean of weights whose two halves are draws from two laws."""
    return float(torch.stack([half.var() for half in weights.chunk(2)]).sum().sqrt() / math.sqrt(2 * len(weights)))


def _normalized(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """The weights over their mean, and the log of that mean."""
    log_mean = log_weights.logsumexp(0) - math.log(len(log_weights))
    return (log_weights - log_mean).exp(), log_mean


class _SharedNoise:
    """The same base noise for every row of a batch, whatever its size.

    Attributes:
        shared: whether rows of one batch can share it. Otherwise sequences go one by one, from one seed.
    """

    def __init__(self, pair: Scored, num_particles: int, seed: int) -> None:
        self.pair, self.num_particles, self.seed = pair, num_particles, seed
        self.one, two = self._layout(1), self._layout(2)
        alike = len(self.one.draws) == len(two.draws) and not self.one.opaque
        self.shared = alike and all(
            first.kind == second.kind and first.shape[:1] == (1,) and second.shape == (2, *first.shape[1:])
            for first, second in zip(self.one.draws, two.draws, strict=True)
        )

    def _layout(self, rows: int) -> NoiseLayout:
        layout = NoiseLayout()
        batch = {"x": self.pair.data["x"].to(self.pair.device).expand(rows, -1)}
        evaluate(self.pair.program, batch, noise=layout, seed=self.seed)
        return layout

    def __call__(self, rows: int) -> Noise | None:
        if not self.shared:
            return None
        generator = torch.Generator().manual_seed(chunk_seed(self.seed, 0))
        made = {kind: [torch.empty(self.num_particles, 0, device="cpu")] for kind in ("normal", "uniform")}
        for draw in self.one.draws:
            source = torch.randn if draw.kind == "normal" else torch.rand
            block = source(self.num_particles, *draw.shape, generator=generator, device="cpu")
            made[draw.kind].append(block.expand(-1, rows, *draw.shape[1:]).reshape(self.num_particles, -1))
        return Noise(**{kind: torch.cat(blocks, 1).to(self.pair.device) for kind, blocks in made.items()})


def _log_weights(pair: Scored, rows: Tensor, prior: dict[str, Tensor], noise: _SharedNoise) -> Tensor:
    """``(2 half, B)``: log p(x, z) over the equal mixture of q(z | x) and p(z), at draws of each in turn."""
    batch, half = {"x": rows.to(pair.device)}, noise.num_particles
    parts = [evaluate(pair.program, batch, num_particles=half, seed=noise.seed, noise=noise(len(rows)))]
    if prior:
        values = {name: value.expand(-1, len(rows), *value.shape[2:]) for name, value in prior.items()}
        parts.append(evaluate(pair.program, batch, num_particles=half, seed=noise.seed, values=values))
    else:
        parts *= 2
    return torch.cat([_log_weight(terms) for terms in parts])


def _log_weight(terms: Terms) -> Tensor:
    log_joint = terms.log_likelihood
    assert log_joint is not None
    log_joint = log_joint.double()
    sites = [site for site in terms.sites.values() if site.log_q is not None and site.log_p is not None]
    if sites:
        log_p = torch.stack([site.log_p.double() for site in sites if site.log_p is not None]).sum(0)
        log_q = torch.stack([site.log_q.double() for site in sites if site.log_q is not None]).sum(0)
        log_joint = log_joint + log_p - torch.logaddexp(log_p, log_q) + math.log(2.0)
    return log_joint.cpu()
