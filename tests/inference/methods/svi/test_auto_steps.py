"""Steps until the fit has come to rest: where it stops, what it returns, and going on after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import SVI, Progress
from jensen.inference.methods.svi import auto

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
    assert "posterior sds" in fit.info["convergence"]["reason"] and fit.info["convergence"]["advice"] == ""
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
