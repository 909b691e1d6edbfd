"""A fit that stops being finite stops, says which site or parameter and which step, and keeps the last good state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import SVI, NonFiniteError, Trace_ELBO
from jensen.models import LatentVariableModel


class Cliff(LatentVariableModel):
    """The first site's density breaks once the drifting parameter passes one (at ``lr = 0.1``, within 12 steps)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.drift = nn.Parameter(torch.tensor(0.0))
        self.loc = nn.Parameter(torch.tensor(0.1))

    def model(self, x: torch.Tensor | None = None) -> torch.Tensor:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("pull", self.drift)
        with pyro.plate("data", len(x) if x is not None else 1):
            if self.kind == "density":
                shift = torch.log(1.0 - self.drift.detach())
            elif self.kind == "gradient":
                left = (1.0 - self.drift.detach()).clamp(min=0.0)  # finite, but its root has no slope at zero
                shift = (left + 1e-6 * (self.drift - self.drift.detach())).sqrt()
            else:
                shift = self.drift * 0.0
            return pyro.sample("x", dist.Normal(z + shift, 1.0, validate_args=False), obs=x)

    def guide(self, x: torch.Tensor | None = None) -> torch.Tensor:
        return pyro.sample("z", dist.Normal(self.loc, 1.0))


DATA = {"x": torch.tensor([0.3, -0.3], dtype=torch.float64)}
OPTIONS: dict[str, Any] = {"steps": 60, "lr": 0.1, "log_every": 4, "checkpoint_every": 4, "device": "cpu"}


@pytest.mark.parametrize("mode", [False, "trace"])
def test_the_site_and_the_step_are_named(tmp_path: Path, mode: Any) -> None:
    found = []
    with pytest.raises(NonFiniteError, match=r"at step \d+: `log p` of the site `x` is the first") as caught:
        SVI(Trace_ELBO(), compile=mode, **OPTIONS).fit(
            Cliff("density"), DATA, checkpoint=tmp_path, callbacks=[lambda progress: found.append(progress.step)]
        )
    step = int(str(caught.value).split("at step ")[1].split(":")[0])
    assert 8 <= step <= 14
    good = max(found)
    assert good <= step < good + 4
    assert f"The state of step {good} is kept in {tmp_path}" in str(caught.value)
    newest = json.loads(sorted(tmp_path.glob("checkpoint-*.json"))[-1].read_text())["body"]
    assert newest["step"] == good
    assert [row["step"] for row in newest["history"]] == found
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + len(found)


def test_the_good_state_can_be_gone_on_from(tmp_path: Path) -> None:
    for _ in range(2):  # the second call starts at the good state and fails in the same way
        with pytest.raises(NonFiniteError, match="`log p` of the site `x`"):
            SVI(Trace_ELBO(), compile=False, **OPTIONS).fit(Cliff("density"), DATA, checkpoint=tmp_path)


def test_a_failure_before_the_first_row_is_explained(tmp_path: Path) -> None:
    options = {**OPTIONS, "log_every": 50, "checkpoint_every": 50}
    with pytest.raises(NonFiniteError, match=r"at step \d+: `log p` of the site `x`.*The state of step 0 is kept"):
        SVI(Trace_ELBO(), compile="trace", **options).fit(Cliff("density"), DATA, checkpoint=tmp_path)


def test_a_gradient_that_overflows_is_named() -> None:
    with pytest.raises(
        NonFiniteError,
        match=r"at step \d+: every site's terms are finite, but the gradient of the parameter `\S*drift`",
    ):
        SVI(Trace_ELBO(), compile=False, **OPTIONS).fit(Cliff("gradient"), DATA)


def test_a_learning_rate_that_overflows_is_explained() -> None:
    options = {**OPTIONS, "lr": 1e308, "optimizer": torch.optim.SGD}
    with pytest.raises(NonFiniteError, match=r"at step [0-3]: .*(site|update)"):
        SVI(Trace_ELBO(), compile=False, **options).fit(Cliff("none"), DATA)


def test_the_first_step_is_checked() -> None:
    class Broken(Cliff):
        def model(self, x: torch.Tensor | None = None) -> torch.Tensor:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("data", len(x) if x is not None else 1):
                return pyro.sample("x", dist.Normal(z + torch.log(self.drift - 1.0), 1.0, validate_args=False), obs=x)

    with pytest.raises(NonFiniteError, match="not finite at the first step: `log p` of the site `x`"):
        SVI(Trace_ELBO(), **OPTIONS).fit(Broken("density"), DATA)


def test_a_gradient_that_is_not_finite_at_the_first_step_names_its_parameter() -> None:
    class Root(Cliff):
        def model(self, x: torch.Tensor | None = None) -> torch.Tensor:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("data", len(x) if x is not None else 1):
                return pyro.sample("x", dist.Normal(z + self.drift.sqrt(), 1.0), obs=x)

    with pytest.raises(NonFiniteError, match=r"gradient of the parameter `\S*drift` is not finite at the first step"):
        SVI(Trace_ELBO(), **OPTIONS).fit(Root("density"), DATA)


def test_one_start_of_several_may_fail() -> None:
    class Lottery(Cliff):
        """Only the starts with an even seed come near the cliff."""

        def initialize(self, batch: Any, seed: int) -> None:
            with torch.no_grad():
                self.drift.fill_(-50.0 if seed % 2 else 0.0)

    svi = SVI(Trace_ELBO(), restarts=5, compile=False, **OPTIONS)
    with pytest.warns(UserWarning, match=r"Start \d of 5 is left out. The fit stopped being finite") as caught:
        fit = svi.fit(Lottery("density"), DATA)
    assert 0 < len(caught) < 5
    assert len(fit.info["restart_bounds"]) == 5 - len(caught)
    assert fit.status in ("converged", "not converged", "unknown")
