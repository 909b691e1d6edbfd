"""Parts of one's own that are built for other sizes than the autoencoder they are given to: each is named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jensen.inference import SVI
from jensen.models import VAE, ConditionalVAE, FlowPosterior, FlowPrior, InpaintingVAE, SemiSupervisedVAE, VampPrior

L, D, N = 2, 6, 8
X = torch.ones(N, D).tril()


class Network(nn.Module):
    """Location, scale and perhaps a context of the first input, whatever the others are."""

    def __init__(self, latent_dim, context_dim=0):
        super().__init__()
        self.sizes = [latent_dim, latent_dim, *([context_dim] if context_dim else [])]
        self.linear = nn.Linear(D, sum(self.sizes))

    def forward(self, x, *others):
        loc, log_scale, *context = self.linear(x).split(self.sizes, -1)
        return loc, log_scale.exp(), *context


def fit(model, **data):
    return SVI(steps=2, progress=False, compile=False).fit(model, {"x": X, **data})


@pytest.mark.parametrize("size", [1, 3])
def test_an_encoder_of_another_latent(size):
    message = rf"`encoder` must put out a location and a scale of size `latent_dim` = 2, got sizes \[{size}, {size}\]"
    with pytest.raises(ValueError, match=message):
        fit(VAE(D, L, encoder=Network(size), hidden=(4,)))


@pytest.mark.parametrize("name", ["encoder", "prior_network"])
def test_networks_of_another_latent_in_the_conditional_models(name):
    message = rf"`{name}` must put out a location and a scale of size `latent_dim` = 2, got sizes \[3, 3\]"
    with pytest.raises(ValueError, match=message):
        fit(InpaintingVAE(D, L, **{name: Network(3)}, hidden=(4,)), mask=torch.ones(N, D))
    if name == "encoder":
        y = torch.arange(N) % 2
        with pytest.raises(ValueError, match=message):
            fit(ConditionalVAE(D, L, num_classes=2, encoder=Network(3), hidden=(4,)), y=y)
        with pytest.raises(ValueError, match=message):
            fit(SemiSupervisedVAE(D, 2, L, encoder=Network(3), hidden=(4,)), y=y)


def test_a_context_of_another_size_than_the_flows():
    message = r"`encoder` must give this flow a context of size `context_dim` = 4 .* got 5\. Use .*context_dim=5"
    with pytest.raises(ValueError, match=message):
        fit(VAE(D, L, encoder=Network(L, 5), posterior="spline"))
    with pytest.raises(ValueError, match=r"`context_dim` = 7 .* got 4"):
        fit(VAE(D, L, encoder=Network(L), posterior=FlowPosterior(L, 7, "planar")))
    right = VAE(D, L, encoder=Network(L, 5), posterior=FlowPosterior(L, context_dim=5), hidden=(4,))
    assert fit(right).status in ("converged", "not converged", "unknown")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"posterior": FlowPosterior(3, 4)}, "`posterior` must have latent_dim=2, got 3"),
        ({"prior": FlowPrior(3)}, "`prior` must have latent_dim=2, got 3"),
        ({"prior": VampPrior((2, 3), 3)}, r"`prior` must have feature_shape=\(6,\), .* got \(2, 3\)"),
        (
            {"prior": VampPrior((D,), 3), "likelihood": "categorical", "num_categories": 2},
            r"`prior` must have feature_shape=\(6, 2\), what the encoder sees of a datum, got \(6,\)",
        ),
    ],
)
def test_priors_and_posteriors_of_another_size(parts, message):
    with pytest.raises(ValueError, match=message):
        VAE(D, L, **parts)
