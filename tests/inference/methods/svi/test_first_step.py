"""The first step shows whether every parameter can be learned (DESIGN 4.3): a silent one is an error that names it."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import (
    IWAE,
    SVI,
    AuxiliaryELBO,
    BetaELBO,
    Linear,
    ModelError,
    Renyi,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceMeanField_ELBO,
)
from jensen.models import VAE, GaussianMixture, InpaintingVAE, LatentVariableModel, SemiSupervisedVAE

pytestmark = pytest.mark.usefixtures("doctor_agrees")

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


def test_whether_a_short_fit_starts_does_not_depend_on_its_first_batches() -> None:
    mark, x = torch.zeros(200), torch.randn(200)
    mark[7] = 1.0  # one row of 200 teaches `extra`: a batch of 4 holds it once in fifty steps
    for seed in range(6):
        fit = SVI(Trace_ELBO(), **{**OPTIONS, "batch_size": 4, "steps": 2}).fit(
            Labelled(), {"mark": mark, "x": x}, seed=seed
        )
        assert fit.status in ("converged", "not converged", "unknown")
    with pytest.raises(ModelError, match=r"`extra` receives no gradient .* on 50 batches of the data.*no datum shows"):
        SVI(Trace_ELBO(), **{**OPTIONS, "batch_size": 4}).fit(Labelled(), {"mark": torch.zeros(200), "x": x})


@pytest.mark.parametrize("steps", [2, 40])
def test_an_unused_parameter_of_a_mini_batch_fit_is_named_after_a_few_batches(steps: int) -> None:
    data = {"x": torch.randn(200)}
    with pytest.raises(ModelError, match=r"`forgotten` receives no gradient .* on 16 batches of the data"):
        SVI(Trace_ELBO(), **{**OPTIONS, "batch_size": 4, "steps": steps}).fit(Pair(unused=True), data)


@pytest.mark.parametrize("labelled", [10, 180])
def test_a_batch_without_a_labelled_or_an_unlabelled_row_starts_a_fit(labelled: int) -> None:
    x = (torch.rand(200, 16) < 0.3).float()
    y = torch.where(torch.arange(200) < labelled, torch.arange(200) % 3, -1)
    objective = AuxiliaryELBO(IWAE(3)) if labelled == 10 else TraceEnum_ELBO()
    for seed in range(12):
        model = SemiSupervisedVAE(16, 3, 2, hidden=(8,))
        svi = SVI(objective, **{**OPTIONS, "batch_size": 10, "steps": 2, "progress": False})
        assert svi.fit(model, {"x": x, "y": y}, seed=seed).status in ("converged", "not converged", "unknown")


@pytest.mark.parametrize("batch_size", [None, 10])
def test_a_layer_into_which_only_zeros_go_is_accepted(batch_size: int | None) -> None:
    model = InpaintingVAE(16, 2, hidden=(8,))
    data = {"x": (torch.rand(40, 16) < 0.3).float(), "mask": torch.zeros(40, 16)}
    fit = SVI(TraceMeanField_ELBO(), **{**OPTIONS, "batch_size": batch_size}).fit(model, data)
    before, after = model.prior_network.network.state_dict(), fit.model.prior_network.network.state_dict()
    assert sum(not torch.equal(before[name], after[name]) for name in before) == len(before) - 1


class Layer(nn.Module):
    """A layer that forgets one of its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.forgotten = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x


class WithLayer(LatentVariableModel):
    """The location goes through a layer, rounded or not."""

    def __init__(self, layer: nn.Module, rounded: bool) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(0.4))
        self.layer, self.rounded = layer, rounded

    def model(self, x: torch.Tensor | None = None) -> torch.Tensor:
        loc = self.layer(self.loc.expand(1))
        loc = loc.round() + self.loc if self.rounded else loc
        with pyro.plate("data", len(x) if x is not None else 1):
            return pyro.sample("x", dist.Normal(loc.squeeze(), 1.0), obs=x)


@pytest.mark.parametrize("model", [WithLayer(Layer(), False), WithLayer(nn.Linear(1, 1), True)], ids=["unused", "flat"])
def test_a_fault_inside_a_layer_is_still_found(model: Any) -> None:
    with pytest.raises(ModelError, match=r"`layer\.(forgotten|weight)` receives no gradient"):
        SVI(Trace_ELBO(), **OPTIONS).fit(model, DATA)


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


def test_frozen_proportions_are_left_alone() -> None:
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    model = GaussianMixture(2, 2)
    model.fitted = True
    model.weights = torch.tensor([0.2, 0.8])
    model.weights_unconstrained.requires_grad_(False)
    fit = SVI(steps=20, progress=False).fit(model, {"x": x})
    torch.testing.assert_close(fit.model.weights, torch.tensor([0.2, 0.8]))
    assert not torch.equal(fit.model.means, model.means)


def test_a_parameter_alone_that_nothing_uses_is_named() -> None:
    class Idle(LatentVariableModel):
        def __init__(self) -> None:
            super().__init__()
            self.forgotten = nn.Parameter(torch.zeros(()))

        def model(self, x: torch.Tensor) -> None:
            a = pyro.sample("a", dist.Normal(torch.zeros(()), 1.0))
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(a, 1.0), obs=x)

        def guide(self, x: torch.Tensor) -> None:
            pyro.sample("a", dist.Normal(torch.zeros(()), 1.0))

    with pytest.raises(ModelError, match="`forgotten` receives no gradient"):
        SVI(steps=3, progress=False).fit(Idle(), torch.zeros(4))
