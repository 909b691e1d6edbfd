"""Likelihoods p(x | decoder output): the last layer of every autoencoder here."""

from __future__ import annotations

__all__ = ["Bernoulli", "Categorical", "Gaussian", "Likelihood", "make_likelihood"]

import abc
import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from ...common.column_spread import or_one
from ...common.validation import check_choice, check_positive, check_shape, check_size


class Likelihood(nn.Module, abc.ABC):
    r""":math:`p(x \mid h)` for a decoder's output :math:`h` of shape ``(..., *output_shape)``.

    Args:
        data_shape: event shape of one datum.

    Attributes:
        data_shape: event shape of one datum.
        output_shape: event shape that the decoder must put out.
        feature_shape: event shape of what `features` gives to an encoder.
    """

    def __init__(self, data_shape: Sequence[int]) -> None:
        super().__init__()
        self.data_shape = tuple(data_shape)
        self.output_shape = self.data_shape
        self.feature_shape = self.data_shape

    @abc.abstractmethod
    def forward(self, output: Tensor) -> TorchDistributionMixin:
        """The distribution of `x`, batch shape ``(...)`` and event shape `data_shape`."""

    @abc.abstractmethod
    def mean(self, output: Tensor) -> Tensor:
        r""":math:`E[x \mid h]`; of a categorical the class probabilities, ``(..., *data_shape, C)``."""

    def features(self, x: Tensor) -> Tensor:
        """What an encoder sees of `x`: floating, ``(..., *feature_shape)``."""
        return x

    def output_bias(self, x: Tensor) -> Tensor:
        """The decoder output, ``(*output_shape)``, under which all data look alike: a start for the decoder's bias."""
        return x.mean(0)

    def initialize(self, x: Tensor) -> None:
        """Set this likelihood's own parameters from data. Default: it has none."""

    def check(self, name: str, x: Tensor) -> None:
        """Raise a `ValueError` if `x` has the wrong shape or range."""
        check_shape(name, x, self.data_shape)

    def start(self, x: Tensor, decoder: nn.Module) -> None:
        """`initialize`, and the output bias of a decoder that has `set_output_bias`, at the data's marginal law."""
        self.initialize(x)
        if callable(set_output_bias := getattr(decoder, "set_output_bias", None)):
            set_output_bias(self.output_bias(x))


class Bernoulli(Likelihood):
    r""":math:`x_d \sim \mathrm{Bernoulli}(\operatorname{sigmoid}(h_d))`; `h` are log-odds.

    Args:
        data_shape: event shape of one datum.
        grey: allow values between 0 and 1; the bound is then that of a random binarisation's cross-entropy, not of a
            density of the grey values.
    """

    def __init__(self, data_shape: Sequence[int], grey: bool = False) -> None:
        super().__init__(data_shape)
        self.grey = grey

    def forward(self, output: Tensor) -> TorchDistributionMixin:
        # Grey values are outside Bernoulli's support, so its own check cannot serve.
        checks = False if self.grey else None
        return dist.Bernoulli(logits=output, validate_args=checks).to_event(len(self.data_shape))

    def mean(self, output: Tensor) -> Tensor:
        return output.sigmoid()

    def output_bias(self, x: Tensor) -> Tensor:
        # One pseudo-datum of value 1/2: pixels that never change get finite log-odds.
        return torch.logit((x.sum(0) + 0.5) / (len(x) + 1))

    def check(self, name: str, x: Tensor) -> None:
        super().check(name, x)
        bad = x[~((x >= 0) & (x <= 1))]
        if len(bad):
            raise ValueError(
                f"`{name}` must lie in [0, 1] for a Bernoulli likelihood, got {bad[0].item():g}. Rescale it."
            )
        if not self.grey and len(bad := x[(x > 0) & (x < 1)]):
            raise ValueError(
                f"`{name}` must be 0 or 1 for a Bernoulli likelihood, got {bad[0].item():g}. Binarise it, or allow "
                'grey values with likelihood="bernoulli_grey".'
            )


class Gaussian(Likelihood):
    r""":math:`x_d \sim \mathcal N(h_d, \sigma_d^2)`.

    Args:
        data_shape: event shape of one datum.
        scale: :math:`\sigma`, in the units of `x`; the start of a learned one.
        learn: whether each feature's scale is a parameter, or all are fixed at `scale`.
        min_scale: floor under a learned scale, as a fraction of the entry's own standard deviation in the data.

    Raises:
        ValueError: `scale` is not positive; `initialize` finds entries that are the same in all rows, where the density
            under a learned scale has no bound.
    """

    def __init__(
        self, data_shape: Sequence[int], scale: float = 1.0, learn: bool = True, min_scale: float = 1e-3
    ) -> None:
        super().__init__(data_shape)
        check_positive("scale", scale)
        self.min_scale = min_scale
        self.fixed_scale = None if learn else float(scale)
        if learn:
            self.log_scale = nn.Parameter(torch.full(self.data_shape, math.log(scale)))
            self.register_buffer("spread", torch.ones(self.data_shape))

    spread: Tensor

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        if self.fixed_scale is None:  # a file from before had its floor in the units of `x`
            state.setdefault(f"{prefix}spread", torch.ones_like(self.spread))
        super()._load_from_state_dict(state, prefix, *rest)

    @property
    def scale(self) -> Tensor | float:
        r""":math:`\sigma`: ``(*data_shape)`` if learned, else a number."""
        if self.fixed_scale is not None:
            return self.fixed_scale
        return self.log_scale.exp() + self.min_scale * self.spread

    def forward(self, output: Tensor) -> TorchDistributionMixin:
        scale = self.scale if self.fixed_scale is None else output.new_full((), self.fixed_scale)
        return dist.Normal(output, scale).to_event(len(self.data_shape))

    def mean(self, output: Tensor) -> Tensor:
        return output

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        if self.fixed_scale is None:
            if len(x) > 1:
                _refuse_constant(x)
            self.spread.copy_(or_one(x.std(0, correction=0)))
            above = max(1.0 - self.min_scale, self.min_scale)  # what is left for it above the floor
            self.log_scale.copy_((above * self.spread).log())


def _refuse_constant(x: Tensor) -> None:
    """Raise a `ValueError` that names the entries that are the same in all rows."""
    constant = (x.amax(0) == x.amin(0)).nonzero().tolist()
    if constant:
        named = [str(index[0] if len(index) == 1 else tuple(index)) for index in constant[:3]]
        more = ", ..." if len(constant) > 3 else ""
        raise ValueError(
            f"`x` is constant in {len(constant)} of its {x[0].numel()} entries ({', '.join(named)}{more}), which sets "
            "no scale for them: under a learned scale their density has no bound. Drop them, or fix the scale: "
            'likelihood="gaussian_fixed" with a `scale` in the units of `x`.'
        )


class Categorical(Likelihood):
    r""":math:`x_d \sim \mathrm{Categorical}(\operatorname{softmax}(h_d))`, `x` integer codes, `h` log-odds.

    Args:
        data_shape: event shape of one datum.
        num_categories: C, the number of codes.
    """

    one_hot: Tensor

    def __init__(self, data_shape: Sequence[int], num_categories: int) -> None:
        super().__init__(data_shape)
        check_size("num_categories", num_categories)
        self.num_categories = num_categories
        self.output_shape = self.feature_shape = (*self.data_shape, num_categories)
        self.register_buffer("one_hot", torch.eye(num_categories), persistent=False)

    def forward(self, output: Tensor) -> TorchDistributionMixin:
        return dist.Categorical(logits=output).to_event(len(self.data_shape))

    def mean(self, output: Tensor) -> Tensor:
        return output.softmax(-1)

    def features(self, x: Tensor) -> Tensor:
        return self.one_hot[x.long()]

    def output_bias(self, x: Tensor) -> Tensor:
        counts = self.features(x).sum(0)
        return torch.log((counts + 1 / self.num_categories) / (len(x) + 1))

    def check(self, name: str, x: Tensor) -> None:
        super().check(name, x)
        bad = x[~((x >= 0) & (x < self.num_categories) & (x == x.round()))]
        if len(bad):
            raise ValueError(
                f"`{name}` must hold integer codes 0, ..., {self.num_categories - 1} for a categorical likelihood, got "
                f"{bad[0].item():g}. Recode them from 0, or build the model for more codes (`num_categories`; of an "
                "`AlignmentVAE`, its `letters`)."
            )


_NAMES = ("bernoulli", "bernoulli_grey", "gaussian", "gaussian_fixed", "categorical")


def make_likelihood(
    likelihood: str | Likelihood, data_shape: Sequence[int], *, scale: float = 1.0, num_categories: int | None = None
) -> Likelihood:
    """The likelihood of this name for data of this shape; a `Likelihood` is returned as it is.

    Args:
        likelihood: ``"bernoulli"``, ``"bernoulli_grey"`` (values between 0 and 1 allowed), ``"gaussian"`` (a learned
            scale per feature), ``"gaussian_fixed"``, ``"categorical"``, or a `Likelihood`.
        data_shape: event shape of one datum.
        scale: of a Gaussian: its fixed scale or the start of its learned one.
        num_categories: of a categorical: the number of codes.

    Raises:
        ValueError: unknown name, `num_categories` missing, or a `Likelihood` of another shape.
    """
    if isinstance(likelihood, Likelihood):
        if likelihood.data_shape != tuple(data_shape):
            raise ValueError(f"`likelihood` must have data_shape {tuple(data_shape)}, got {likelihood.data_shape}.")
        return likelihood
    check_choice("likelihood", likelihood, _NAMES)
    if likelihood == "categorical":
        if num_categories is None:
            raise ValueError("`num_categories` must be given for a categorical likelihood: the number of codes in `x`.")
        return Categorical(data_shape, num_categories)
    if likelihood in ("gaussian", "gaussian_fixed"):
        return Gaussian(data_shape, scale, learn=likelihood == "gaussian")
    return Bernoulli(data_shape, grey=likelihood == "bernoulli_grey")
