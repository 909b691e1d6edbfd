"""A program that no tracer can follow runs eagerly, after one warning that names the place, with the same numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from jensen.inference import SVI, Trace_ELBO


class CountingAdam(torch.optim.Adam):
    """An optimiser with a state that is no tensor."""

    def step(self, closure: Any = None) -> Any:
        out = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["calls"] = self.state[parameter].get("calls", 0) + 1
        return out


@pytest.mark.parametrize("mode", ["auto", "trace"])
def test_a_branch_on_a_draw_falls_back_to_eager(branching: Any, mode: str, same: Callable[..., None]) -> None:
    model, data = branching
    options = {"objective": Trace_ELBO(), "steps": 30, "lr": 0.02, "log_every": 10, "device": "cpu"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = SVI(compile=mode, **options).fit(model, data)
    messages = [str(item.message) for item in caught]
    assert len(messages) == 1
    assert "after reaching the site `z`" in messages[0]
    assert "runs eagerly" in messages[0]
    assert fit.info["compile"] == "eager"
    same(fit, SVI(compile=False, **options).fit(model, data))


def test_a_branch_is_silent_when_eager_was_asked_for(branching: Any) -> None:
    model, data = branching
    SVI(Trace_ELBO(), steps=3, compile=False, device="cpu").fit(model, data)


def test_a_ragged_batch_does_not_warn_again(branching: Any) -> None:
    model, data = branching
    with pytest.warns(UserWarning, match="runs eagerly") as caught:
        SVI(Trace_ELBO(), steps=9, batch_size=2, compile="trace", device="cpu").fit(model, data)
    assert len(caught) == 1


def test_an_optimizer_whose_state_is_no_tensor_runs_eagerly(linear: Any, same: Callable[..., None]) -> None:
    model, data = linear
    options = {"objective": Trace_ELBO(), "steps": 8, "lr": 0.01, "log_every": 4, "device": "cpu"}
    odd = SVI(optimizer=CountingAdam, **options).fit(model, data)
    assert odd.info["compile"] == "eager"
    same(odd, SVI(optimizer=torch.optim.Adam, compile=False, **options).fit(model, data), rtol=1e-10, atol=1e-12)
