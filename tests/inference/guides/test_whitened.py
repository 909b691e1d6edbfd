"""Guides in whitened coordinates: they start where they are told, and folding changes no draw."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference.guides import build_guide
from jensen.inference.guides.whitened import fold, is_whitenable, whiten
from jensen.inference.pair.program import Program

pytestmark = pytest.mark.usefixtures("float64")

NAMES = ("normal", "multivariate_normal", "lowrank", "flow", "iaf")
DIM = 5


def _model(x: torch.Tensor) -> None:
    w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    s = pyro.sample("s", dist.HalfNormal(torch.ones(2)).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(w.sum(), s.sum()), obs=x)


def _built(name: str) -> Any:
    torch.manual_seed(0)
    guide = build_guide(name, _model, {"x": torch.randn(4)})
    Program(_model, guide).structure({"x": torch.randn(4)})
    return guide


@pytest.fixture
def start() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(DIM, DIM, generator=generator).tril() * 0.2 + torch.eye(DIM)
    return torch.tensor([2_000.0, -3.0, 0.0, 0.5, -0.5]), torch.tensor([870.0, 0.1, 1.0, 0.3, 0.2])[:, None] * root


def test_the_mean_field_guide_starts_at_the_nearest_factorised_normal(start: Any) -> None:
    guide = _built("normal")
    whiten(guide, *start)
    loc, root = start
    precision = torch.cholesky_inverse(root)
    found = torch.cat([guide._loc_scale(site)[1].reshape(-1) for site in guide.sites])
    torch.testing.assert_close(found, precision.diagonal().rsqrt())
    torch.testing.assert_close(torch.cat([guide._loc_scale(site)[0].reshape(-1) for site in guide.sites]), loc)


def test_the_full_guide_starts_at_the_normal_itself(start: Any) -> None:
    guide = _built("multivariate_normal")
    whiten(guide, *start)
    posterior = guide.get_posterior()
    torch.testing.assert_close(posterior.loc, start[0])
    torch.testing.assert_close(posterior.covariance_matrix, start[1] @ start[1].mT)


def test_the_low_rank_guide_keeps_the_leading_correlations(start: Any) -> None:
    guide = _built("lowrank")
    whiten(guide, *start)
    posterior = guide.get_posterior()
    exact = start[1] @ start[1].mT
    torch.testing.assert_close(posterior.loc, start[0])
    ratio = posterior.variance.detach() / exact.diagonal()
    assert float(ratio.min()) > 0.5 and float(ratio.max()) < 2.0


@pytest.mark.parametrize("name", NAMES)
def test_folding_changes_no_density(name: str, start: Any) -> None:
    guide = _built(name)
    whiten(guide, *start)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    before = [_draw(guide, seed) for seed in range(3)]
    names = set(guide.state_dict())
    fold(guide)
    added = {"centre", "root"} if name in ("flow", "iaf") else set()
    assert set(guide.state_dict()) == names - ({"loc", "log_scale"} if name == "iaf" else set()) | added
    for seed, (values, log_density) in enumerate(before):
        again, density = _draw(guide, seed)
        for key in values:
            torch.testing.assert_close(again[key], values[key], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(density, log_density, rtol=1e-8, atol=1e-8)


def _draw(guide: Any, seed: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    torch.manual_seed(seed)
    with torch.no_grad(), pyro.settings.context(module_local_params=True):
        trace = pyro.poutine.trace(guide).get_trace(x=torch.zeros(4))
        density = trace.log_prob_sum()
    return {name: trace.nodes[name]["value"] for name in ("w", "s")}, density


def test_guides_of_ones_own_are_left_alone() -> None:
    assert not is_whitenable(torch.nn.Linear(1, 1))
    fold(torch.nn.Linear(1, 1))
    fold(None)
