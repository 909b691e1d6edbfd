"""Networks with state and structure of their own: running statistics, dropout, tied and frozen parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import IWAE, SVI, ModelError, Trace_ELBO, TraceMeanField_ELBO
from jensen.models import VAE

OPTIONS: dict[str, Any] = {"steps": 21, "lr": 0.02, "log_every": 7, "batch_size": 16, "device": "cpu"}


def with_decoder(*layers: nn.Module) -> VAE:
    return VAE(6, 2, hidden=(8,), decoder=nn.Sequential(*layers))


def fits(model: Any, data: Any, objective: Any = None) -> list[Any]:
    chosen = objective or TraceMeanField_ELBO()
    return [SVI(chosen, compile=mode, **OPTIONS).fit(model, data) for mode in (False, "trace")]


def test_running_statistics_are_part_of_the_state(vae: Any, tmp_path: Path, same: Callable[..., None]) -> None:
    _, data = vae
    model = with_decoder(nn.Linear(2, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 6))
    eager, traced = fits(model, data)
    same(eager, traced, rtol=1e-8, atol=1e-10)
    for fit in (eager, traced):
        norm = fit.model.decoder[1]
        assert norm.running_mean.abs().sum() > 0
        assert norm.num_batches_tracked == 21
    torch.testing.assert_close(eager.model.decoder[1].running_var, traced.model.decoder[1].running_var)
    assert not model.decoder[1].running_mean.any()

    def interrupt(progress: Any) -> None:
        if progress.step == 14:
            raise KeyboardInterrupt

    svi = SVI(TraceMeanField_ELBO(), compile="trace", **OPTIONS)
    svi.fit(model, data, checkpoint=tmp_path, callbacks=[interrupt])
    resumed = svi.fit(model, data, checkpoint=tmp_path)
    same(resumed, traced)
    assert torch.equal(resumed.model.decoder[1].running_var, traced.model.decoder[1].running_var)


def test_dropout_draws_by_the_fit_s_seed_and_is_off_afterwards(vae: Any, same: Callable[..., None]) -> None:
    _, data = vae
    eager, traced = fits(with_decoder(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 6)), data)
    same(eager, traced, rtol=1e-8, atol=1e-10)
    assert not eager.model.training
    z = torch.randn(3, 2)
    assert torch.equal(eager.model.decoder(z), eager.model.decoder(z))


def test_tied_parameters_are_one_parameter(vae: Any, same: Callable[..., None]) -> None:
    _, data = vae
    shared = nn.Linear(4, 4)
    eager, traced = fits(with_decoder(nn.Linear(2, 4), shared, nn.Tanh(), shared, nn.Linear(4, 6)), data)
    same(eager, traced, rtol=1e-8, atol=1e-10)
    assert traced.model.decoder[1].weight is traced.model.decoder[3].weight
    assert len(list(traced.model.decoder.parameters())) == 6


def test_frozen_parameters_keep_their_values(vae: Any) -> None:
    model, data = vae
    model.encoder.requires_grad_(False)
    before = [value.clone() for value in model.encoder.parameters()]
    for fit in fits(model, data):
        assert all(torch.equal(a, b) for a, b in zip(before, fit.model.encoder.parameters(), strict=True))
        moved = zip(model.decoder.parameters(), fit.model.decoder.parameters(), strict=True)
        assert not any(torch.equal(a, b) for a, b in moved)


@pytest.mark.parametrize(
    "layer", [nn.LayerNorm(8), nn.GELU(), nn.Softplus(), nn.PReLU()], ids=lambda m: type(m).__name__
)
def test_common_layers_are_traced_under_particles(vae: Any, layer: nn.Module, same: Callable[..., None]) -> None:
    _, data = vae
    eager, traced = fits(with_decoder(nn.Linear(2, 8), layer, nn.Linear(8, 6)), data, objective=IWAE(3))
    assert traced.info["compile"] == "trace"
    same(eager, traced, rtol=1e-8, atol=1e-10)


def scores(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z[:, None].expand(-1, 4), 1.0).to_event(1), obs=x)


class Encoder(nn.Module):
    """A guide that is a module, and says so again in the way of older Pyro programs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> None:
        pyro.module("network", self.network)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.network(x).squeeze(-1), 0.4))


X = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)).double()


def test_a_module_statement_about_a_module_of_the_pair_is_harmless(same: Callable[..., None]) -> None:
    torch.manual_seed(0)
    network = nn.Linear(4, 1)
    options = {**OPTIONS, "batch_size": None, "guide": lambda model: Encoder(copy.deepcopy(network))}
    eager, traced = (SVI(Trace_ELBO(), compile=mode, **options).fit(scores, {"x": X}) for mode in (False, "trace"))
    same(eager, traced, rtol=1e-8, atol=1e-10)
    assert [name for name, _ in eager.program.named_parameters()] == [
        "guide_module.network.weight",
        "guide_module.network.bias",
    ]


def test_a_tensor_that_no_step_would_move_is_refused() -> None:
    """Only a closure knows the weights: they kept their start for ever, and the scale alone was fitted."""
    weights = [torch.ones(4, 1, requires_grad=True)]

    def guide(x: torch.Tensor) -> None:
        scale = pyro.param("scale", torch.tensor(0.4), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x @ weights[0]).squeeze(-1), scale))

    svi = SVI(Trace_ELBO(), guide=lambda model: guide, **{**OPTIONS, "batch_size": None})
    with pytest.raises(ModelError, match=r"A parameter of shape \(4, 1\) enters the bound.*no step would move it"):
        svi.fit(scores, {"x": X})
    weights[0].requires_grad_(False)
    fit = svi.fit(scores, {"x": X})
    assert [name for name, _ in fit.program.named_parameters()] == ["pyro_params.scale"]


class Recurrent(nn.Module):
    """An encoder with dropout inside of an LSTM: nobody can supply it with noise."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.last = nn.LSTM(1, 3, num_layers=2, dropout=0.5, batch_first=True), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last: torch.Tensor = self.last(self.lstm(x.unsqueeze(-1))[0][:, -1])
        return last


@pytest.mark.filterwarnings("ignore:The (trace cannot be run|step cannot be traced)")  # LSTMs run inside modules only
def test_draws_inside_of_a_layer_follow_the_fit_s_seed(tmp_path: Path, same: Callable[..., None]) -> None:
    torch.manual_seed(0)
    network = Recurrent()
    options = {**OPTIONS, "batch_size": None, "guide": lambda model: Encoder(copy.deepcopy(network))}
    eager, traced = (SVI(Trace_ELBO(), compile=mode, **options).fit(scores, {"x": X}) for mode in (False, "trace"))
    same(eager, traced, rtol=1e-8, atol=1e-10)

    def interrupt(progress: Any) -> None:
        if progress.step == 14:
            raise KeyboardInterrupt

    svi = SVI(Trace_ELBO(), compile=False, **options)
    svi.fit(scores, {"x": X}, checkpoint=tmp_path, callbacks=[interrupt])
    torch.rand(3)
    same(svi.fit(scores, {"x": X}, checkpoint=tmp_path), eager)
