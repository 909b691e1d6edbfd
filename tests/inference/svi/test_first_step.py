"""The first step shows whether every parameter can be learned (DESIGN 4.3): a silent one is an error that names it."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import IWAE, SVI, BetaELBO, Linear, ModelError, Renyi, Trace_ELBO, TraceMeanField_ELBO
from jensen.models import VAE, LatentVariableModel

OPTIONS: dict[str, Any] = {"steps": 4, "lr": 0.01, "device": "cpu", "compile": False}


class Pair(LatentVariableModel):
    """A location with a learned prior, and parameters that some of the tests leave out."""

    def __init__(self, unused: bool = False, discrete: bool = False) -> None:
        super().__init__()
        self.prior_loc = nn.Parameter(torch.tensor(0.5))
        self.loc = nn.Parameter(torch.tensor(0.1))
        if unused:
            self.forgotten = nn.Parameter(torch.zeros(3))

    def model(self, x: torch.Tensor | None = None) -> torch.Tensor:
        z = pyro.sample("z", dist.Normal(self.prior_loc, 1.0))
        with pyro.plate("data", len(x) if x is not None else 1):
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x: torch.Tensor | None = None) -> torch.Tensor:
        return pyro.sample("z", dist.Normal(self.loc, 1.0))


DATA = {"x": torch.tensor([0.3, -0.3, 1.0], dtype=torch.float64)}


def test_an_unused_parameter_is_named() -> None:
    with pytest.raises(
        ModelError, match=r"The parameter `\S*forgotten` receives no gradient from `Trace_ELBO\(.*remove it"
    ):
        SVI(Trace_ELBO(), **OPTIONS).fit(Pair(unused=True), DATA)


def test_a_frozen_parameter_is_left_alone() -> None:
    model = Pair(unused=True)
    model.forgotten.requires_grad_(False)
    fit = SVI(Trace_ELBO(), **OPTIONS).fit(model, DATA)
    assert not fit.model.forgotten.any()


def test_nothing_to_fit_is_an_error() -> None:
    from jensen.inference import ConfigurationError

    model = Pair()
    model.requires_grad_(False)
    with pytest.raises(ConfigurationError, match="There is nothing to fit"):
        SVI(Trace_ELBO(), **OPTIONS).fit(model, DATA)


def test_a_zero_initialised_decoder_head_is_accepted(vae: Any) -> None:
    _, data = vae
    decoder = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 6))
    nn.init.zeros_(decoder[-1].weight)
    nn.init.zeros_(decoder[-1].bias)
    fit = SVI(Trace_ELBO(), **OPTIONS).fit(VAE(6, 2, hidden=(4,), decoder=decoder), data)
    assert fit.model.decoder[-1].weight.abs().sum() > 0


def test_an_annealed_objective_whose_weight_starts_at_zero_is_accepted() -> None:
    fit = SVI(BetaELBO(Linear(0.0, 1.0)), **OPTIONS).fit(Pair(), DATA)
    assert list(fit.history["weight"])[-1] == 1.0


class Labelled(LatentVariableModel):
    """A parameter that only data marked with one can teach."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(0.0))
        self.extra = nn.Parameter(torch.tensor(0.0))

    def model(self, mark: torch.Tensor, x: torch.Tensor | None = None) -> torch.Tensor:
        with pyro.plate("data", len(mark)):
            return pyro.sample("x", dist.Normal(self.loc + mark * self.extra, 1.0), obs=x)


def test_a_parameter_that_the_first_batch_cannot_teach_is_accepted() -> None:
    mark = torch.zeros(64)
    mark[::8] = 1.0
    x = torch.randn(64)
    for seed in range(4):  # some first batches of four have no marked datum
        fit = SVI(Trace_ELBO(), **{**OPTIONS, "batch_size": 4, "steps": 32}).fit(
            Labelled(), {"mark": mark, "x": x}, seed=seed
        )
        assert fit.model.extra.item() != 0.0


class Choice(LatentVariableModel):
    """A discrete global latent that the guide samples."""

    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(0.3))

    def model(self, x: torch.Tensor | None = None) -> torch.Tensor:
        c = pyro.sample("c", dist.Bernoulli(0.5))
        with pyro.plate("data", len(x) if x is not None else 1):
            return pyro.sample("x", dist.Normal(c, 1.0), obs=x)

    def guide(self, x: torch.Tensor | None = None) -> torch.Tensor:
        return pyro.sample("c", dist.Bernoulli(logits=self.logit))


@pytest.mark.parametrize("objective", [Trace_ELBO(20), Renyi(0.0, 20), IWAE(20)], ids=repr)
def test_no_objective_is_silent_about_a_guide_without_pathwise_gradients(objective: Any) -> None:
    fit = SVI(objective, **{**OPTIONS, "steps": 60, "lr": 0.05}).fit(Choice(), {"x": torch.full((20,), 1.0)})
    assert fit.guide.__self__.logit.item() > 0.5


def test_a_mean_field_objective_refuses_it_by_name() -> None:
    with pytest.raises(ModelError, match="`TraceMeanField_ELBO` needs pathwise gradients, and the guide's site `c`"):
        SVI(TraceMeanField_ELBO(), **OPTIONS).fit(Choice(), {"x": torch.ones(5)})
