"""Networks that are given data on their raw scale are told of, with the argument; others are not."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import SVI
from jensen.models import VAE, BayesianLinearRegression, ConditionalVAE, LatentVariableModel

RNG = torch.Generator().manual_seed(0)
Z = torch.randn(60, 2, generator=RNG)
UNIT = torch.sigmoid(Z @ torch.randn(2, 6, generator=RNG) + 0.3 * torch.randn(60, 6, generator=RNG))
BYTES = (255.0 * UNIT).round()


def said(model: Any, data: Any, steps: int = 2, **options: Any) -> tuple[list[str], float]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = SVI(steps=steps, lr=5e-3, compile=False, progress=False, **options).fit(model, data)
    return [str(w.message) for w in caught if "raw scale" in str(w.message)], float(fit.history["bound"].iloc[-1])


def vae() -> VAE:
    torch.manual_seed(0)
    return VAE(6, 2, likelihood="gaussian", hidden=(16,))


def test_images_of_bytes_are_told_of_and_would_end_lower() -> None:
    (message,), raw = said(vae(), {"x": BYTES}, steps=150)
    assert "`x` on its raw scale, from " in message and "divide by 255" in message
    quiet, scaled = said(vae(), {"x": BYTES / 255.0}, steps=150)
    assert quiet == []
    assert raw + BYTES.numel() * math.log(255.0) < scaled - 20.0


@pytest.mark.parametrize("labelled", [False, True])
def test_covariates_are_named_and_labels_are_not(labelled: bool) -> None:
    sizes: Any = {"num_classes": 40} if labelled else {"num_covariates": 2}
    y = torch.arange(60.0) % 40 if labelled else 50.0 + 20.0 * Z
    found, _ = said(ConditionalVAE(6, 2, likelihood="gaussian", hidden=(8,), **sizes), {"x": UNIT, "y": y})
    assert [message[:29] for message in found] == ([] if labelled else ["A network is given `y` on its"])


class Net(LatentVariableModel):
    """A regression by a network, whose inputs a layer normalises or not."""

    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(first, nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))

    def model(self, x: torch.Tensor, y: torch.Tensor | None = None) -> Any:
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(self.net(x).squeeze(-1) + b, 1.0), obs=y)


@pytest.mark.parametrize(("first", "count"), [(nn.Identity, 1), (lambda: nn.BatchNorm1d(2), 0)])
def test_a_normalising_layer_is_seen(first: Any, count: int) -> None:
    found, _ = said(Net(first()), {"x": 30.0 + 20.0 * Z, "y": Z[:, 0]})
    assert len(found) == count and all("`x` on its raw scale" in message for message in found)


def test_models_without_networks_and_outcomes_that_none_sees_pass() -> None:
    assert said(BayesianLinearRegression(2), {"x": 100.0 * Z, "y": Z[:, 0]}, start="prior")[0] == []
    assert said(Net(nn.Identity()), {"x": Z, "y": 1e4 + Z[:, 0]})[0] == []
