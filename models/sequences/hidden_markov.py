"""The hidden Markov model with Gaussian or categorical emissions; its states are summed out."""

from __future__ import annotations

__all__ = ["HiddenMarkovModel"]

from collections.abc import Mapping
from typing import Any

import pyro
import torch
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import constraints

from ..base import LatentVariableModel
from ..common.information_criteria import InformationCriteria
from ..common.inputs import as_tensor, to_tensors
from ..common.precision import wide
from ..common.row_weights import check_weight, counted, weights_in
from ..common.sampling import seeded
from ..common.takes_data import takes_data
from ..common.validation import check_choice, check_positive
from ..mixtures.gaussian_components import GaussianComponents
from .hmm import CategoricalEmission, Emission, GaussianEmission, HiddenMarkov, MarkovChain
from .hmm.checks import check_enough, check_sequences, check_sizes
from .hmm.expected_counts import HiddenMarkovStatistics, normalize_counts
from .hmm.initialization import chain_start, code_start, frame_clusters
from .hmm.padding import frames_in, lengths_in
from .hmm.stochastic_matrix import is_left_to_right


class HiddenMarkovModel(MarkovChain, GaussianComponents, InformationCriteria, LatentVariableModel):
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
    probs: Any  # a PyroParam, which reads as its constrained value

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
        check_sizes(num_states, num_features, num_categories, num_steps)
        check_positive("min_scale", min_scale)
        check_choice("covariance", covariance, ("diagonal", "full"))
        self.num_states, self.num_features, self.num_categories = num_states, num_features, num_categories
        self.covariance_type, self.min_scale, self.num_steps = covariance, min_scale, num_steps
        self._add_chain(num_states)
        if num_features is not None:
            self._add_components(num_states, num_features)
        else:
            rough = 0.5 + torch.rand(num_states, num_categories)  # type: ignore[arg-type]
            self.probs = PyroParam(rough / rough.sum(-1, keepdim=True), constraints.simplex)

    @property
    def observed(self) -> tuple[str, ...]:
        """``x``: the lengths are given, never drawn."""
        return ("x",)

    def model(  # type: ignore[override]
        self, x: Tensor | None = None, lengths: torch.LongTensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        given = x if x is not None else lengths
        with pyro.plate("data", 1 if given is None else len(given)):
            # p(x) = sum_s pi(s_1) p(x_1 | s_1) prod_t A(s_t | s_{t-1}) p(x_t | s_t)
            return pyro.sample("x", self.marginal(x, lengths), obs=x)  # type: ignore[no-any-return]

    def guide(
        self, x: Tensor | None = None, lengths: torch.LongTensor | None = None, weight: Tensor | None = None
    ) -> None:
        """Nothing to sample: the states are summed out."""

    @property
    def emission(self) -> Emission:
        """The states' emissions at the present parameters."""
        if self.num_categories is not None:
            return CategoricalEmission(self.probs)
        return GaussianEmission(self.means, self._scales)

    @takes_data
    def marginal(self, x: Tensor | None = None, lengths: torch.LongTensor | None = None) -> HiddenMarkov:
        """The density of sequences of the steps of `x`, else of the longest of `lengths`, else of `num_steps`.

        Its recursion goes in logarithms where `transition` has zeros or all but zeros.
        """
        if x is not None:
            steps = x.shape[1]
        else:
            check_sequences(None, lengths, None, None)
            steps = self.num_steps if lengths is None else max(1, int(lengths.max()))
        # a program's steps cannot branch on a tensor's value: it was looked at when it was set, and before the fit
        in_logs = self._in_logs if self._pyro_context.active else None  # type: ignore[union-attr]
        return HiddenMarkov(self.initial, self.transition, self.emission, steps, lengths, in_logs)

    def prepare(self, batch: Mapping[str, Tensor]) -> None:
        """See which chances are zero, and take the floor under the standard deviations from the data."""
        if self.num_features is not None and batch.get("x") is not None:
            self._follow_data(frames_in(counted(batch)))
        self._look_at_zeros()

    def check_data(  # type: ignore[override]
        self, x: Tensor | None = None, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> None:
        check_sequences(x, lengths, self.num_features, self.num_categories)
        check_weight(weight, "sequence")

    def _given(self, data: Mapping[str, Any]) -> tuple[HiddenMarkov, Tensor]:
        """The density in float64, and the sequences, of any kind of data."""
        batch = to_tensors(data, wide(self.initial), self.check_data, whole=("lengths",))
        return self.marginal(batch["x"], batch.get("lengths")).wide(), batch["x"]

    def log_evidence(self, data: Mapping[str, Tensor]) -> Tensor:
        r"""Exact :math:`\log p(x_n)` in nats, ``(N,)``, in float64."""
        marginal, x = self._given(data)
        return marginal.log_prob(x)

    @torch.no_grad()
    def smooth(self, data: Mapping[str, Tensor]) -> Tensor:
        r""":math:`p(s_t = k \mid x_n)` given the whole sequence, ``(N, T, C)``; zero in the padding."""
        marginal, x = self._given(data)
        return marginal.smooth(x)

    @torch.no_grad()
    def viterbi(self, data: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        r"""The most probable path, ``(N, T)``, -1 in the padding, and :math:`\max_s \log p(s, x_n)`, ``(N,)``."""
        marginal, x = self._given(data)
        return marginal.best_path(x)

    def predict(self, data: Mapping[str, Tensor]) -> Tensor:
        """The most probable path, ``(N, T)``, -1 in the padding. :meth:`smooth` has each step's probabilities."""
        return self.viterbi(data)[0]

    @torch.no_grad()
    def simulate(self, num: int, *, seed: int | None = None, lengths: Any = None) -> dict[str, Tensor]:
        """As `generate`, with the ``states`` that drove the sequences, ``(num, T)``, -1 in the padding.

        Raises:
            ValueError: `num` is not positive, or `lengths` are not `num` whole numbers of 0 or more.
        """
        given = {} if lengths is None else {"lengths": as_tensor("lengths", lengths, self.initial, integer=True)}
        self._check_num(num, given)
        with seeded(seed):
            states, x = self.marginal(**given).draw(() if given else (num,))
        return {"x": x, "states": states}

    @property
    def num_free_parameters(self) -> int:
        """Chances that are not zero, less one for each row of them, means and covariances."""
        chances = [self.initial, self.transition] + ([] if self.num_categories is None else [self.probs])
        free = sum(int((each > 0).sum()) - each[..., 0].numel() for each in chances)
        return free if self.num_categories is not None else free + self._num_free_in_components

    @takes_data
    def _num_rows(self, data: Mapping[str, Tensor]) -> float:
        """Steps of all sequences, as often as they count."""
        lengths, times = lengths_in(data), data.get("weight")
        return float((lengths if times is None else lengths * times).sum())

    @torch.no_grad()
    def e_step(self, data: Mapping[str, Tensor]) -> tuple[HiddenMarkovStatistics, Tensor]:
        """Expected counts and moments, and the log likelihood of all sequences, ``()``, with their weights."""
        # unchecked, as every step of a fit is
        batch = to_tensors(data, self.initial, lambda **_: None, whole=("lengths",))
        marginal = self.marginal(batch["x"], batch.get("lengths"))
        return marginal.expected_statistics(batch["x"], weights_in(data, self.initial))

    @torch.no_grad()
    def m_step(self, statistics: HiddenMarkovStatistics) -> None:
        """Baum-Welch: all parameters to the maximiser. What belongs to a state that is never visited stays."""
        self._maximise_chain(statistics)
        if self.num_categories is not None:
            self.probs = normalize_counts(statistics.emission, self.probs)
        else:
            self._maximise_components(statistics.emission)

    @torch.no_grad()
    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Start at clusters of the frames: by k-means, for codes on the composition of short windows.

        Zeros of `initial` and `transition` stay. Where these make the model go from left to right, the clusters are
        numbered by when they come, and codes start at the compositions of equal parts of the sequences.
        """
        self.prepare(batch)
        rows = counted(batch)
        x, lengths, in_time = rows["x"], lengths_in(rows), is_left_to_right(self.transition)
        check_enough(lengths, self.num_states)
        if self.num_categories is not None:
            probs, initial, transition = code_start(x, lengths, self.num_states, self.num_categories, seed, in_time)
            self.probs = probs.to(self.probs)
        else:
            clusters = frame_clusters(x, lengths, self.num_states, seed, in_time)
            self._start_components(*clusters)
            initial, transition = chain_start(x, lengths, clusters)
        self._start_chain(initial, transition)
