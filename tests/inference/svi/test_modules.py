"""Networks with state and structure of their own: running statistics, dropout, tied and frozen parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from jensen.inference import IWAE, SVI, TraceMeanField_ELBO
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
