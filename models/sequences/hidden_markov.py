"""The hidden Markov model with Gaussian or categorical emissions; its states are summed out."""

from __future__ import annotations

__all__ = ["HiddenMarkovModel"]

import contextlib
from collections.abc import Mapping
from typing import Any

import pyro
import torch
from pyro.nn import PyroParam
from torch import Tensor, nn
from torch.distributions import constraints

from ..base import LatentVariableModel
from ..common.column_spread import column_spread
from ..common.constraints import FlooredCholesky
from ..common.covariances import from_scale, precision_from_scale
from ..common.floors import AboveFloor, Floored, follow
from ..common.information_criteria import InformationCriteria
from ..common.inputs import as_tensor, to_tensors
from ..common.precision import wide
from ..common.row_weights import check_weight, counted, weights_in
from ..common.takes_data import takes_data
from ..common.validation import check_choice, check_positive
from ..mixtures.gaussian_em import floored, maximise, total_variance
from .hmm import CategoricalEmission, Emission, GaussianEmission, HiddenMarkov, best_path, expectations, needs_logs
from .hmm.checks import check_enough, check_sequences
from .hmm.expected_counts import HiddenMarkovStatistics, normalize_counts
from .hmm.initialization import categorical_start, gaussian_start, segment_start
from .hmm.padding import mask_padding, sequence_mask
from .hmm.stochastic_matrix import SparseSimplex, is_deterministic, is_left_to_right, keep_zeros


class HiddenMarkovModel(Floored, InformationCriteria, LatentVariableModel):
    r"""Sequences driven by a state that cannot be seen. One datum is a sequence.

    .. math::
        s_1 \sim \mathrm{Categorical}(\pi), \quad s_t \mid s_{t-1} \sim \mathrm{Categorical}(A_{s_{t-1}}), \quad
        x_t \mid s_t = k \sim \mathcal N(\mu_k, \Sigma_k) \text{ or } \mathrm{Categorical}(\theta_k), \qquad
        p(x) = \sum_{s_1 \dots s_T} \pi_{s_1} p(x_1 \mid s_1) \prod_{t > 1} A_{s_{t-1} s_t} \, p(x_t \mid s_t).

    ================  ==============================  =========================================================
    symbol            meaning                         argument, site or attribute
    ================  ==============================  =========================================================
    :math:`x`         sequences, padded to T          ``x`` (drawn if None): ``(N, T, D)``, or codes ``(N, T)``
    :math:`T_n`       their lengths, ``(N,)``         ``lengths`` (all T if None)
    :math:`w`         how often each counts           ``weight``, ``(N,)`` (once if None)
    :math:`s`         states, ``(N, T)``, local       summed out in the density of ``x``
    :math:`\pi`       first state, ``(C,)``           ``initial``
    :math:`A`         transitions, ``(C, C)``         ``transition``; row: from, column: to
    :math:`\mu`       means, ``(C, D)``               ``means``
    :math:`\Sigma`    covariances, ``(C, D, D)``      ``covariance``; parameters ``scale``: ``(C, D)`` diagonal;
                                                      ``scale_tril``: ``(C, D, D)`` full
    :math:`\theta`    chances of codes, ``(C, V)``    ``probs``
    ================  ==============================  =========================================================

    The guide is empty and the density of the site ``x`` is the forward algorithm, so the bound of every objective is
    the likelihood, and `EM` is Baum-Welch. States have no order: a permutation of them is the same model, and fits from
    other seeds may number them otherwise. Padding may hold any number or NaN. A sequence of length 0 says nothing: its
    evidence is :math:`\log p = 0`, and no step of a fit moves for it. A zero in `initial` or `transition` stays zero in
    every fit.

    Args:
        num_states: C.
        num_features: D, for Gaussian emissions. Give this or `num_categories`.
        num_categories: V, for codes 0, ..., V - 1.
        covariance: ``"diagonal"`` or ``"full"``; kept as `covariance_type`.
        min_scale: floor under every standard deviation, as in `GaussianMixture`.
        num_steps: T of the sequences that are drawn without `lengths`.

    Raises:
        ValueError: a size is not positive, none or both kinds of emission are given, `covariance` is unknown;
            `check_data` finds another shape, a length outside 0, ..., T, NaN in a sequence or an unknown code;
            `initialize` finds fewer steps than states.

    Reference: L. Rabiner, *A Tutorial on Hidden Markov Models and Selected Applications in Speech Recognition*, 1989,
    https://doi.org/10.1109/5.18626

    Example:
        >>> model = HiddenMarkovModel(num_states=3, num_features=2)
        >>> x = model.generate(4, seed=0, lengths=torch.tensor([5, 8, 2, 8]))["x"]
        >>> model.predict({"x": x, "lengths": torch.tensor([5, 8, 2, 8])}).shape
        torch.Size([4, 8])
    """

    row_weight = "weight"
    nan_allowed = ("x",)  # a NaN may stand in the padding; check_data refuses it elsewhere
    initial: Any  # PyroParams, which read as their constrained values
    transition: Any
    scale: Any
    scale_tril: Any
    probs: Any
    floor: Tensor  # under the standard deviations, in the units of the data, (D,)
    _known: frozenset[str] = frozenset()

    def __init__(
        self,
        num_states: int,
        num_features: int | None = None,
        num_categories: int | None = None,
        covariance: str = "diagonal",
        min_scale: float = 1e-6,
        num_steps: int = 100,
    ) -> None:
        super().__init__()
        if (num_features is None) == (num_categories is None):
            raise ValueError(
                "Give one of `num_features` (Gaussian emissions) and `num_categories` (codes), got "
                f"{num_features} and {num_categories}."
            )
        sizes = {"num_states": num_states, "num_features": num_features, "num_categories": num_categories}
        for name, size in {**sizes, "min_scale": min_scale, "num_steps": num_steps}.items():
            if size is not None:
                check_positive(name, size)
        check_choice("covariance", covariance, ("diagonal", "full"))
        self.num_states, self.num_features, self.num_categories = num_states, num_features, num_categories
        self.covariance_type, self.min_scale, self.num_steps = covariance, min_scale, num_steps
        self.initial = PyroParam(torch.full((num_states,), 1.0 / num_states), SparseSimplex())
        change = torch.full((num_states, num_states), 0.2 / num_states) + 0.8 * torch.eye(num_states)
        self.transition = PyroParam(change, SparseSimplex())
        if num_categories is not None:
            rough = 0.5 + torch.rand(num_states, num_categories)
            self.probs = PyroParam(rough / rough.sum(-1, keepdim=True), constraints.simplex)
            return
        self.means = nn.Parameter(torch.randn(num_states, num_features))  # type: ignore[arg-type]
        self.register_buffer("floor", torch.full((num_features,), min_scale))  # type: ignore[arg-type]
        start = 1.0 + min_scale
        if covariance == "full":
            eye = start * torch.eye(num_features)  # type: ignore[arg-type]
            self.scale_tril = PyroParam(eye.repeat(num_states, 1, 1), FlooredCholesky(self))
        else:
            each = torch.full((num_states, num_features), start)  # type: ignore[arg-type]
            self.scale = PyroParam(each, AboveFloor(self))

    @property
    def observed(self) -> tuple[str, ...]:
        """``x``: the lengths are given, never drawn."""
        return ("x",)

    def model(  # type: ignore[override]
        self, x: Tensor | None = None, lengths: torch.LongTensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        given = x if x is not None else lengths
        with pyro.plate("data", 1 if given is None else len(given)):
            # p(x), summed over the states
            marginal = self.marginal(x, lengths, self._in_logs)
            if x is not None and lengths is not None:  # what fills the padding is no observation
                x = mask_padding(x, sequence_mask(lengths, x.shape[1]))
            return pyro.sample("x", marginal, obs=x)  # type: ignore[no-any-return]

    def guide(
        self, x: Tensor | None = None, lengths: torch.LongTensor | None = None, weight: Tensor | None = None
    ) -> None:
        """Nothing to sample: the states are summed out."""

    @property
    def emission(self) -> Emission:
        """The states' emissions at the present parameters."""
        if self.num_categories is not None:
            return CategoricalEmission(self.probs)
        return GaussianEmission(self.means, self._scales())

    def _scales(self) -> Tensor:
        """Cholesky factors ``(C, D, D)``, or standard deviations ``(C, D)``."""
        return self.scale_tril if self.covariance_type == "full" else self.scale  # type: ignore[no-any-return]

    @property
    def covariance(self) -> Tensor:
        r""":math:`\Sigma_k`, ``(C, D, D)`` whatever the `covariance_type`; states that emit codes have none."""
        return from_scale(self._scales())

    @property
    def precision(self) -> Tensor:
        r""":math:`\Sigma_k^{-1}`, ``(C, D, D)`` whatever the `covariance_type`; states that emit codes have none."""
        return precision_from_scale(self._scales())

    @takes_data
    def marginal(
        self, x: Tensor | None = None, lengths: torch.LongTensor | None = None, in_logs: bool | None = None
    ) -> HiddenMarkov:
        """The density of sequences of the steps of `x`, else of the longest of `lengths`, else of `num_steps`.

        Its recursion goes in logarithms if `in_logs`; if None, where `transition` has zeros or all but zeros.
        """
        if x is not None:
            steps = x.shape[1]
        else:
            check_sequences(None, lengths, None, None)
            steps = self.num_steps if lengths is None else max(1, int(lengths.max()))
        return HiddenMarkov(self.initial, self.transition, self.emission, steps, lengths, in_logs)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "transition":
            self._in_logs = needs_logs(self.transition)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._in_logs = needs_logs(self.transition)

    def prepare(self, batch: Mapping[str, Tensor]) -> None:
        """See whether the recursions must go in logarithms: a fit's steps cannot branch on a tensor's value.

        Probabilities that zeros leave no freedom, such as a first state that is known, are constants of the fit. The
        features' spreads, of which `min_scale` is a fraction, come from the data.
        """
        if self.num_features is not None and batch.get("x") is not None:
            rows = counted(batch)
            x, lengths = rows["x"], rows.get("lengths")
            frames = x.flatten(0, 1) if lengths is None else x[sequence_mask(lengths, x.shape[1])]
            follow(self, frames, column_spread(frames))
        self._in_logs = needs_logs(self.transition)
        known = {name for name in ("initial", "transition") if is_deterministic(getattr(self, name))}
        for name in known ^ self._known:
            getattr(self, f"{name}_unconstrained").requires_grad_(name not in known)
        self._known = frozenset(known)

    def check_data(  # type: ignore[override]
        self, x: Tensor | None = None, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> None:
        check_sequences(x, lengths, self.num_features, self.num_categories)
        check_weight(weight, "sequence")

    def _given(self, data: Mapping[str, Any]) -> tuple[HiddenMarkov, Tensor]:
        """The density in float64, and the sequences, of any kind of data."""
        batch = to_tensors(data, wide(self.initial), self.check_data, whole=("lengths",))
        return self.marginal(batch["x"], batch.get("lengths")).wide(), batch["x"]

    def _frames(self, marginal: HiddenMarkov, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The frames and which of them are data, time first."""
        inside = marginal.inside(x.shape[:1])
        return mask_padding(x.transpose(0, 1).contiguous(), inside), inside

    def log_evidence(self, data: Mapping[str, Tensor]) -> Tensor:
        r"""Exact :math:`\log p(x_n)` in nats, ``(N,)``, in float64."""
        marginal, x = self._given(data)
        return marginal.log_prob(x)

    @torch.no_grad()
    def smooth(self, data: Mapping[str, Tensor]) -> Tensor:
        r""":math:`p(s_t = k \mid x_n)` given the whole sequence, ``(N, T, C)``; zero in the padding."""
        marginal, x = self._given(data)
        frames, inside = self._frames(marginal, x)
        log_density = marginal.emission.log_prob(frames)
        return expectations(marginal.initial, marginal.transition, log_density, inside).states.transpose(0, 1)

    @torch.no_grad()
    def viterbi(self, data: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        r"""The most probable path, ``(N, T)``, -1 in the padding, and :math:`\max_s \log p(s, x_n)`, ``(N,)``."""
        marginal, x = self._given(data)
        frames, inside = self._frames(marginal, x)
        log_density = marginal.emission.log_prob(frames)
        path, log_p = best_path(marginal.initial, marginal.transition, log_density, inside)
        return path.mT, log_p

    def predict(self, data: Mapping[str, Tensor]) -> Tensor:
        """The most probable path, ``(N, T)``, -1 in the padding. :meth:`smooth` has each step's probabilities."""
        return self.viterbi(data)[0]

    @torch.no_grad()
    def simulate(self, num: int, *, seed: int | None = None, lengths: Any = None) -> dict[str, Tensor]:
        """As `generate`, with the ``states`` that drove the sequences, ``(num, T)``, -1 in the padding.

        Raises:
            ValueError: `num` is not positive, or `lengths` are not `num` whole numbers of 0 or more.
        """
        if lengths is not None:
            lengths = as_tensor("lengths", lengths, self.initial, integer=True)
        self._check_num(num, {} if lengths is None else {"lengths": lengths})
        fork = contextlib.nullcontext() if seed is None else torch.random.fork_rng()
        with fork:
            if seed is not None:
                torch.manual_seed(seed)
            states, x = self.marginal(lengths=lengths).draw((num,) if lengths is None else ())
        return {"x": x, "states": states}

    @property
    def num_free_parameters(self) -> int:
        """Chances that are not zero, less one for each row of them, means and covariances."""
        chances = [self.initial, self.transition] + ([] if self.num_categories is None else [self.probs])
        free = sum(int((each > 0).sum()) - each[..., 0].numel() for each in chances)
        if self.num_categories is not None:
            return free
        features = self.means.shape[1]
        shape = features * (features + 1) // 2 if self.covariance_type == "full" else features
        return free + self.num_states * (features + shape)

    @takes_data
    def _num_rows(self, data: Mapping[str, Tensor]) -> float:
        """Steps of all sequences, as often as they count."""
        each = data.get("lengths", torch.full(data["x"].shape[:1], data["x"].shape[1], device=data["x"].device))
        return float((each if data.get("weight") is None else each * data["weight"]).sum())

    # Baum-Welch.

    @torch.no_grad()
    def e_step(self, data: Mapping[str, Tensor]) -> tuple[HiddenMarkovStatistics, Tensor]:
        """Expected counts and moments, and the log likelihood of all sequences, ``()``, with their weights."""
        # unchecked, as every step of a fit is
        batch = to_tensors(data, self.initial, lambda **_: None, whole=("lengths",))
        marginal = self.marginal(batch["x"], batch.get("lengths"))
        frames, inside = self._frames(marginal, batch["x"])
        emission = marginal.emission
        times = weights_in(data, self.initial)
        found = expectations(marginal.initial, marginal.transition, emission.log_prob(frames), inside, times)
        x, share = frames.flatten(0, 1), found.states.flatten(0, 1)
        if inside is not None:
            x, share = frames[inside], found.states[inside]
        counts = HiddenMarkovStatistics(found.states[0].sum(0), found.transitions, emission.statistics(x, share))
        return counts, (found.log_evidence if times is None else found.log_evidence * times).sum()

    @torch.no_grad()
    def m_step(self, statistics: HiddenMarkovStatistics) -> None:
        """Set all parameters to the maximiser. What belongs to a state that is never visited stays where it is."""
        self.initial = normalize_counts(statistics.initial, self.initial)
        self.transition = normalize_counts(statistics.transitions, self.transition)
        if self.num_categories is not None:
            self.probs = normalize_counts(statistics.emission, self.probs)
            return
        full = self.covariance_type == "full"
        scale = self.scale_tril if full else self.scale
        weights, means, covariance = maximise(statistics.emission, self.means, scale)
        self.means.copy_(means)
        if full:
            floor = 1.01 * self.floor
            self.scale_tril = floored(covariance, floor, total_variance(weights, means, covariance, floor))
        else:
            self.scale = covariance.clamp_min((1.01 * self.floor) ** 2).sqrt()

    @torch.no_grad()
    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Start at clusters of the frames: by k-means, for codes on the composition of short windows.

        Zeros of `initial` and `transition` stay. Where these make the model go from left to right, the clusters are
        numbered by when they come, and codes start at the compositions of equal parts of the sequences.
        """
        self.prepare(batch)
        rows = counted(batch)
        x, given = rows["x"], rows.get("lengths")
        lengths = torch.full(x.shape[:1], x.shape[1], device=x.device) if given is None else given
        check_enough(lengths, self.num_states)
        in_time = is_left_to_right(self.transition)
        if self.num_categories is not None:
            start_of = segment_start if in_time else categorical_start
            self.probs = start_of(x, lengths, self.num_states, self.num_categories, seed).to(self.probs)
            stay = torch.eye(self.num_states, dtype=self.probs.dtype, device=x.device)
            self._start_chain(stay.mean(0), 0.8 * stay + 0.2 / self.num_states)
            return
        full = self.covariance_type == "full"
        start = gaussian_start(x, lengths, self.num_states, seed, full, 1.01 * self.floor, in_time)
        self.means.copy_(start.means)
        self._start_chain(start.initial, start.transition)
        if full:
            self.scale_tril = start.scale.to(self.means.dtype)
        else:
            self.scale = start.scale.to(self.means.dtype)

    def _start_chain(self, initial: Tensor, transition: Tensor) -> None:
        self.initial, self.transition = keep_zeros(initial, self.initial), keep_zeros(transition, self.transition)
