"""Steps until the fit has come to rest: where it stops, what it returns, and going on after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import EM, SVI, Progress, Trace_ELBO
from jensen.inference.methods.svi import auto
from jensen.inference.run.early_stopping import bound_on
from jensen.models import VAE, GaussianMixture

X = np.random.default_rng(0).normal(size=(60, 2))
Y = X @ [3.0, -1.0] + np.random.default_rng(1).normal(size=60)


def regression(x: torch.Tensor, y: torch.Tensor | None = None) -> None:
    w = pyro.sample("w", dist.Normal(torch.zeros(2), 10.0).to_event(1))
    s = pyro.sample("s", dist.HalfCauchy(5.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(x @ w, s), obs=y)


DATA = {"x": X, "y": Y}


def test_the_fit_stops_by_itself_and_says_so() -> None:
    fit = SVI(guide="multivariate_normal", progress=False).fit(regression, DATA)
    assert fit.status == "converged"
    assert 2_000 <= fit.info["steps"] < auto._MOST_STEPS
    assert "posterior sds" in fit.info["convergence"]["reason"]
    assert bool(fit.info["convergence"]["advice"]) != fit.info["reliability"]["reliable"]  # k-hat is 0.7 or so
    assert "converged after" in str(fit) and "posterior sds" in str(fit)


def test_what_is_returned_is_the_average_of_the_last_half() -> None:
    rows: list[torch.Tensor] = []

    def watch(progress: Progress) -> None:
        rows.append(torch.cat([p.detach().reshape(-1) for p in progress.program.guide_owner.parameters()]).clone())

    fit = SVI(guide="normal", steps=3_000, start="pathfinder", progress=False).fit(regression, DATA, callbacks=[watch])
    mean = torch.stack(rows)[len(rows) // 2 :].mean(0)
    start = SVI(guide="normal", steps=1, progress=False).fit(regression, DATA).guide
    scale = start.log_scale_w.detach().exp()
    found = (fit.guide.loc_w - start.loc_w).detach() / scale
    names = [name for name, _ in fit.guide.named_parameters()]
    assert names[0] == "loc_w"
    torch.testing.assert_close(found, mean[:2], atol=0.02, rtol=0.0)  # but for the first step's own movement


def test_a_number_of_steps_means_that_number() -> None:
    fit = SVI(steps=300, progress=False).fit(regression, DATA)
    assert fit.info["steps"] == 300
    assert fit.status == "unknown" and "3 rows" in fit.info["convergence"]["reason"]


def test_too_few_steps_for_a_start_far_away_are_not_called_converged() -> None:
    far = {"x": X, "y": 1_000.0 + 500.0 * Y}
    fit = SVI(guide="normal", start="prior", steps=3_000, lr=1e-3, progress=False).fit(regression, far)
    assert fit.status == "not converged"
    assert fit.info["convergence"]["advice"].startswith("Take more steps")


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.step >= 1_100:
            raise RuntimeError("killed")

    method = SVI(guide="normal", checkpoint_every=300, progress=False)
    whole = method.fit(regression, DATA)
    with pytest.raises(RuntimeError, match="killed"):
        method.fit(regression, DATA, checkpoint=tmp_path, callbacks=[stop])
    again = method.fit(regression, DATA, checkpoint=tmp_path)
    assert (again.info["steps"], again.status) == (whole.info["steps"], whole.status)
    for (name, one), other in zip(whole.guide.named_parameters(), again.guide.parameters(), strict=True):
        assert torch.equal(one, other), name
    third: Any = method.fit(regression, DATA, checkpoint=tmp_path)  # finished: returned at once
    assert all(map(torch.equal, third.guide.parameters(), whole.guide.parameters()))
    assert third.status == whole.status


def test_a_mixture_stops_at_its_plateau_and_a_killed_one_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """The models that start themselves have only their bound to watch."""

    def stop(progress: Progress) -> None:
        if progress.step >= 2_300:
            raise RuntimeError("killed")

    data = {"x": torch.cat([torch.randn(30, 1, generator=torch.Generator().manual_seed(k)) + 6.0 * k for k in (0, 1)])}
    method = SVI(checkpoint_every=700, progress=False)
    whole = method.fit(GaussianMixture(2, 1), data)
    assert whole.status == "converged" and whole.info["steps"] <= 3_000
    assert whole.history["lr"].iloc[0] == 1e-2 > whole.history["lr"].iloc[-1]
    best = EM(progress=False).fit(GaussianMixture(2, 1), data).history["bound"].iloc[-1]
    assert whole.history["bound"].iloc[-1] == pytest.approx(best, abs=0.5)
    with pytest.raises(RuntimeError, match="killed"):
        method.fit(GaussianMixture(2, 1), data, checkpoint=tmp_path, callbacks=[stop])
    again = method.fit(GaussianMixture(2, 1), data, checkpoint=tmp_path)
    assert (again.info["steps"], again.status) == (whole.info["steps"], whole.status)
    assert list(again.history["lr"]) == list(whole.history["lr"])
    assert all(map(torch.equal, again.model.parameters(), whole.model.parameters()))


def test_the_default_rate_is_smaller_for_networks_of_automatic_length_alone() -> None:
    x = {"x": torch.bernoulli(torch.full((20, 4), 0.4), generator=torch.Generator().manual_seed(0))}
    end = [lambda progress: True]
    rates = [
        method.fit(VAE(4, 1, hidden=(3,)), x, callbacks=end).history["lr"].iloc[0]
        for method in (SVI(progress=False), SVI(lr=1e-2, progress=False), SVI(steps=100, progress=False))
    ]
    assert rates == [1e-3, 1e-2, 1e-2]
    assert SVI(steps=100) == SVI(steps=100, lr=1e-2)  # one identity, as before


def test_validation_data_choose_the_parameters_that_are_returned() -> None:
    x = torch.bernoulli(torch.full((40, 6), 0.4), generator=torch.Generator().manual_seed(1))
    svi = SVI(lr=5e-2, validate_every=20, log_every=20, progress=False)  # so few data that it soon overfits
    fit = svi.fit(VAE(6, 2, hidden=(8,)), {"x": x[:10]}, validation={"x": x[10:]})
    assert fit.status == "converged" and "the validation bound was highest" in fit.info["convergence"]["reason"]
    best = fit.history["validation_bound"].iloc[24:].max()  # after the warm-up
    found = bound_on(fit.program, Trace_ELBO(), {"x": x[10:]}, seed=0)[0]
    assert found == pytest.approx(best, rel=1e-5)
