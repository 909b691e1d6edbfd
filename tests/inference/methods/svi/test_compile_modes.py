"""Eager, traced and compiled steps give the same numbers from the same seed."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from jensen.inference import (
    IWAE,
    STL,
    SVI,
    BetaELBO,
    CapacityELBO,
    Cyclical,
    DReG,
    Linear,
    Renyi,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceMeanField_ELBO,
    iwae_schedule,
)

STEPS = 24


def fit(problem: Any, compile: str | bool, **options: Any) -> Any:
    model, data = problem
    options = {"objective": Trace_ELBO(), "steps": STEPS, "lr": 0.03, "log_every": 6, "device": "cpu", **options}
    return SVI(compile=compile, **options).fit(model, data, seed=3)


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "full batch": ("logistic", {}),
    "several particles": ("logistic", {"objective": Trace_ELBO(5)}),
    "closed-form KL": ("logistic", {"objective": TraceMeanField_ELBO(2)}),
    "importance weights over globals": ("logistic", {"objective": IWAE(4), "guide": "multivariate_normal"}),
    "mini-batches, last one ragged": ("vae", {"objective": TraceMeanField_ELBO(), "batch_size": 16}),
    "mini-batches, ragged one dropped": (
        "vae",
        {"objective": TraceMeanField_ELBO(), "batch_size": 16, "drop_last": True},
    ),
    "IWAE in mini-batches": ("vae", {"objective": IWAE(5), "batch_size": 16}),
    "Renyi": ("vae", {"objective": Renyi(0.5, 3), "batch_size": 25}),
    "STL": ("vae", {"objective": STL(2), "batch_size": 16}),
    "DReG": ("vae", {"objective": DReG(4), "batch_size": 16}),
    "annealed KL": ("vae", {"objective": BetaELBO(Linear(0.0, 1.0, until=0.5)), "batch_size": 16}),
    "cyclical KL": ("vae", {"objective": BetaELBO(Cyclical(cycles=2)), "batch_size": 16}),
    "capacity": ("vae", {"objective": CapacityELBO(Linear(0.0, 2.0), gamma=3.0), "batch_size": 16}),
    "enumerated mixture": ("mixture", {"objective": TraceEnum_ELBO()}),
    "enumerated mixture in mini-batches": ("mixture", {"objective": TraceEnum_ELBO(), "batch_size": 25}),
    "full covariance": ("linear", {"objective": TraceMeanField_ELBO()}),
    "opaque draws": ("gamma", {"objective": Trace_ELBO(3)}),
    "factor schedule": ("logistic", {"lr_schedule": iwae_schedule}),
    "torch scheduler": (
        "logistic",
        {"lr_schedule": functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.9)},
    ),
    "clipping": ("logistic", {"clip_norm": 0.5}),
    "averaging": ("logistic", {"average": 0.9}),
    "everything at once": (
        "vae",
        {
            "objective": BetaELBO(Linear(0.0, 1.0)),
            "batch_size": 16,
            "lr_schedule": iwae_schedule,
            "clip_norm": 1.0,
            "average": 0.9,
            "optimizer": torch.optim.AdamW,
        },
    ),
}

OPTIMIZERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Adam": (torch.optim.Adam, {"betas": (0.8, 0.99), "weight_decay": 0.01}),
    "Adam amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "AdamW": (torch.optim.AdamW, {"weight_decay": 0.1}),
    "NAdam": (torch.optim.NAdam, {}),
    "RAdam": (torch.optim.RAdam, {}),
    "Adamax": (torch.optim.Adamax, {}),
    "SGD": (torch.optim.SGD, {}),
    "SGD with Nesterov momentum": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "RMSprop": (torch.optim.RMSprop, {"momentum": 0.5, "centered": True}),
    "Adagrad": (torch.optim.Adagrad, {"lr_decay": 0.1}),
    "Adadelta": (torch.optim.Adadelta, {}),
    "ASGD": (torch.optim.ASGD, {}),
    "Rprop": (torch.optim.Rprop, {}),
}


@pytest.mark.parametrize(("problem", "options"), CASES.values(), ids=CASES, indirect=["problem"])
def test_traced_steps_equal_eager_ones(problem: Any, options: dict[str, Any], same: Callable[..., None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        eager, traced = fit(problem, False, **options), fit(problem, "trace", **options)
    assert (eager.info["compile"], traced.info["compile"]) == ("eager", "trace")
    same(eager, traced, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("scheduled", [False, True], ids=["constant lr", "scheduled lr"])
@pytest.mark.parametrize(("optimizer", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_optimizer_is_traced(
    linear: Any, optimizer: Any, options: dict[str, Any], scheduled: bool, same: Callable[..., None]
) -> None:
    more = {"optimizer": optimizer, "optimizer_options": options, "lr": 1e-3, "steps": 12}
    if scheduled:
        more["lr_schedule"] = lambda fraction: 1.0 - 0.5 * fraction
    eager, traced = fit(linear, False, **more), fit(linear, "trace", **more)
    assert traced.info["compile"] == "trace"
    same(eager, traced, rtol=1e-8, atol=1e-10)
