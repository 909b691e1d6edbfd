"""What a pair and its data must agree on before the first step."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import SVI, DataError
from jensen.models import BayesianLogisticRegression, GaussianMixture, LatentVariableModel

pytestmark = pytest.mark.usefixtures("doctor_agrees")


class BayesianMixture(LatentVariableModel):
    """Two latents in one plate, a simplex, and assignments that are summed out."""

    def model(self, x: torch.Tensor | None = None) -> torch.Tensor:  # type: ignore[override]
        weights = pyro.sample("weights", dist.Dirichlet(torch.ones(2)))
        with pyro.plate("components", 2):
            loc = pyro.sample("loc", dist.Normal(0.0, 5.0))
            scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with pyro.plate("data", 1 if x is None else len(x)):
            c = pyro.sample("c", dist.Categorical(weights))
            return pyro.sample("x", dist.Normal(loc[c], scale[c]), obs=x)


def test_a_fit_without_anything_observed_names_what_to_pass() -> None:
    with pytest.raises(DataError, match=r"Nothing is observed: .* Pass `y` in the data"):
        SVI(steps=1).fit(BayesianLogisticRegression(2), torch.randn(5, 2))


@pytest.mark.parametrize("objective", ["Trace_ELBO", "IWAE"])
def test_several_latents_may_share_a_plate(objective: str) -> None:
    torch.manual_seed(0)
    x = torch.cat([torch.randn(40) * 0.3 + 3, torch.randn(40) * 0.3 - 3])
    fit = SVI(objective, steps=600, lr=0.05).fit(BayesianMixture(), x)
    loc = fit.posterior(200)["loc"].mean(0)
    assert torch.allclose(loc.sort().values, torch.tensor([-3.0, 3.0]), atol=0.3)


def test_a_mixture_of_one_component_may_have_a_constant_parameter() -> None:
    fit = SVI("TraceEnum_ELBO", steps=5).fit(GaussianMixture(1, 2), torch.randn(20, 2))
    assert fit.status in ("converged", "not converged", "unknown")
