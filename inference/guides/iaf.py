"""The inverse autoregressive flow: Pyro's, made safe to copy and clear about what it needs."""

from __future__ import annotations

__all__ = ["AutoIAF"]

from typing import Any

from pyro.infer.autoguide import AutoIAFNormal
from torch.distributions import Transform

from jensen.inference.errors import ConfigurationError


class AutoIAF(AutoIAFNormal):
    r"""Pyro's `AutoIAFNormal`: :math:`u_i = \sigma_i(\epsilon_{<i}) \epsilon_i + \mu_i(\epsilon_{<i})`.

    Its density is cheap for its own draws only. The transforms keep their last draw to score it without inversion; a
    copy starts without one, since such a tensor belongs to a graph that cannot be copied.

    Raises:
        ConfigurationError: the model has a single latent number, on which the flow is only a shift and a scale.

    Reference: D. Kingma et al., *Improving Variational Inference with Inverse Autoregressive Flow*, 2016,
    https://arxiv.org/abs/1606.04934
    """

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        super()._setup_prototype(*args, **kwargs)
        if self.latent_dim < 2:
            raise ConfigurationError('`guide` "iaf" needs two or more latent numbers, got 1. Use "normal" or "flow".')

    def __getstate__(self) -> Any:
        for part in self.modules():
            if isinstance(part, Transform):
                part._cached_x_y = None, None
            if hasattr(part, "_cached_log_scale"):
                part._cached_log_scale = None  # type: ignore[assignment]
        return super().__getstate__()
