"""Draws of a fitted autoencoder's posterior in place of its data: what a second model is trained on."""

from __future__ import annotations

__all__ = ["LatentFeatures"]

import copy
import hashlib
from collections.abc import Mapping

import pyro
import torch
from pyro.distributions import Independent, Normal
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from ..distributions.flow import FlowDistribution
from .vae import VAE


class LatentFeatures:
    r"""A transform of batches, :math:`x \to z \sim q_\phi(z \mid x)`, drawn afresh each time a batch is presented.

    The law is the guide's own, with its flow if it has one. Dimensions of `z` that a fitted `VAE` does not use are left
    out. This is the first half of M1+M2: fit a `VAE` (M1),
    then ``SVI(…, transform=LatentFeatures(m1, x)).fit(m2, data)``, where M2 has `num_features` Gaussian features.

    Args:
        vae: the fitted autoencoder; a copy is kept, and not trained further.
        x: data ``(N, *data_shape)`` on which to see which dimensions are used.
        min_std: keep the dimensions of `vae.embed` that vary by more than this over the data, in prior sds.
        key: which tensor of the batch; the others pass through.

    Attributes:
        keep: numbers of the dimensions kept, ``(num_features,)``.
        num_features: how many.

    Raises:
        ValueError: no dimension varies that much; a batch without the key.

    Reference: D. Kingma, D. Rezende, S. Mohamed and M. Welling, *Semi-supervised Learning with Deep Generative Models*,
    2014, section 2.1, https://arxiv.org/abs/1406.5298

    Example:
        >>> x = torch.rand(20, 6, generator=torch.Generator().manual_seed(0)).round()
        >>> features = LatentFeatures(VAE(6, 3, hidden=(8,)), x, min_std=0.0)
        >>> features({"x": x, "y": torch.arange(20)})["x"].shape, features.mean(x).shape
        (torch.Size([20, 3]), torch.Size([20, 3]))
    """

    @torch.no_grad()
    def __init__(self, vae: VAE, x: Tensor, min_std: float = 0.1, key: str = "x") -> None:
        self.vae = copy.deepcopy(vae).eval().requires_grad_(False)
        self.min_std, self.key = min_std, key
        spread = torch.cat([self.vae.embed(self._shown(rows)) for rows in x.split(4096)]).std(0)
        self.keep = (spread > min_std).nonzero().squeeze(-1)
        if not len(self.keep):
            raise ValueError(
                f"`min_std` must leave at least one latent dimension: the posterior means vary by {spread.max():.3g} "
                f"at most, got {min_std}. Lower it, or fit `vae` longer: its posterior has collapsed."
            )

    @property
    def num_features(self) -> int:
        """How many dimensions are kept."""
        return len(self.keep)

    @torch.no_grad()
    def __call__(
        self, batch: Mapping[str, Tensor], generator: torch.Generator | int | None = None
    ) -> dict[str, Tensor]:
        """The batch with its data replaced by draws ``(B, num_features)``, which a generator or a seed repeats.

        The autoencoder computes in its own precision; the draws have that of the data, if these are floating.
        """
        if self.key not in batch:
            raise ValueError(f"`key`: expected one of {sorted(batch)}, got `{self.key}`")
        x = batch[self.key]
        if isinstance(generator, int):
            generator = torch.Generator(x.device).manual_seed(generator)
        with pyro.validation_enabled(False):  # it looks at values, and a traced step may not
            z = self._draw(self.vae.infer(self._shown(x)), generator)
        return {**batch, self.key: z.to(x.dtype) if x.is_floating_point() else z}

    @torch.no_grad()
    def mean(self, x: Tensor) -> Tensor:
        """The points of `vae.embed` in the dimensions kept, ``(N, num_features)``: what to classify."""
        z = self._kept(self.vae.embed(self._shown(x)))
        return z.to(x.dtype) if x.is_floating_point() else z

    def _draw(self, q: TorchDistributionMixin, generator: torch.Generator | None) -> Tensor:
        """A draw of `q` in the dimensions kept, ``(B, num_features)``, whose noise is the generator's."""
        if isinstance(q, Independent) and isinstance(q.base_dist, Normal):
            loc, scale = self._kept(q.base_dist.loc), self._kept(q.base_dist.scale)
            return loc + scale * torch.randn(loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        if isinstance(q, FlowDistribution):  # the flow reads every dimension, so that all are drawn
            loc = q.loc
            noise = torch.randn(loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
            return self._kept(q.carry(noise))
        with torch.random.fork_rng(enabled=generator is not None):  # a distribution of one's own takes no generator
            if generator is not None:
                torch.manual_seed(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
            return self._kept(q.sample())

    def _kept(self, z: Tensor) -> Tensor:
        return z.index_select(-1, self.keep.to(z.device))

    def _shown(self, x: Tensor) -> Tensor:
        """`x` in the autoencoder's precision; the autoencoder goes to the device of `x`."""
        return x.to(next(self.vae.to(x.device).parameters()).dtype)

    def __repr__(self) -> str:
        digest = hashlib.sha256()
        for value in self.vae.state_dict().values():
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        kept = f"{self.num_features} of {self.vae.latent_dim}"
        return f"LatentFeatures({type(self.vae).__name__} {digest.hexdigest()[:12]}, keep={kept}, key={self.key!r})"
