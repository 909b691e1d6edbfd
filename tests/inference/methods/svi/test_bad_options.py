"""Options that cannot work are refused with the argument, what was expected, what was received, and what to do."""

from __future__ import annotations

import functools
import math
from typing import Any

import pyro
import pytest
import torch

from jensen.inference import IWAE, SVI, ConfigurationError, DataError, Renyi, Trace_ELBO

BAD: list[tuple[dict[str, Any], str]] = [
    *(({"steps": value}, rf"`steps` must be a positive whole number, got {value}") for value in (0, -3, 2.5, True)),
    ({"steps": "soon"}, "`steps` must be a positive whole number or \"auto\", got 'soon'"),
    *(({"batch_size": value}, rf"`batch_size` must be a positive whole number, got {value}") for value in (0, -1)),
    *(
        ({"lr": value}, "`lr` must be a positive, finite number, got")
        for value in (0.0, -0.1, math.inf, math.nan, "fast")
    ),
    ({"clip_norm": 0.0}, "`clip_norm` must be a positive, finite number, got 0.0"),
    ({"average": 1.0}, r"`average` must be a decay in \[0, 1\), such as 0.999, got 1.0"),
    ({"average": "ema"}, r"`average` must be a decay in \[0, 1\), such as 0.999, got 'ema'"),
    ({"warm_up": 1.0}, r"`warm_up` must be a fraction of training in \[0, 1\), got 1.0"),
    ({"warm_up": None}, r"`warm_up` must be a fraction of training in \[0, 1\), got None"),
    ({"restarts": 0}, "`restarts` must be a positive whole number, got 0"),
    ({"log_every": 0}, "`log_every` must be a positive whole number, got 0"),
    ({"patience": 0}, "`patience` must be a positive whole number, got 0"),
    ({"threads": -1}, "`threads` must be a positive whole number, got -1"),
    ({"checkpoint_every": 0}, "`checkpoint_every` must be a positive whole number, got 0"),
    ({"validate_every": 1.5}, "`validate_every` must be a positive whole number, got 1.5"),
    (
        {"objective": "TraceELBO"},
        r"`objective` must be one of Trace_ELBO, .*, got 'TraceELBO'. Did you mean `Trace_ELBO`\?",
    ),
    ({"objective": "IWEA"}, r"got 'IWEA'. Did you mean `IWAE`\?"),
    ({"objective": "Renyi"}, "`objective` Renyi needs arguments: .*alpha.* Pass an instance"),
    ({"objective": pyro.infer.Trace_ELBO()}, "`objective` must be a jensen objective .*Pyro's own losses synchronise"),
    ({"guide": "norml"}, r"`guide` must be one of normal, .*got 'norml'. Did you mean `normal`\?"),
    ({"guide": 3}, "`guide` must be a name, a Pyro autoguide class or a callable"),
    ({"compile": "inducter"}, r"`compile` must be one of auto, .*got 'inducter'. Did you mean `inductor`\?"),
    ({"compile": True}, "`compile` must be one of .*got True"),
    ({"device": "cdua"}, r"`device` must be one of auto, cpu, cuda.*got 'cdua'. Did you mean `cuda`\?"),
    ({"device": None}, "`device` must be one of auto, cpu, cuda.*got None"),
    ({"dtype": torch.int64}, "`dtype` must be a floating-point torch.dtype, got torch.int64"),
    ({"dtype": "float32"}, "`dtype` must be a floating-point torch.dtype, got 'float32'"),
    ({"precision": "fp8"}, "`precision` must be None or \"bf16\", got 'fp8'"),
    ({"optimizer": "Adam"}, "`optimizer` must be a torch.optim class, or a callable .*got 'Adam'"),
    ({"optimizer_options": [0.9]}, r"`optimizer_options` must be a dict of keyword arguments, got \[0.9\]"),
    ({"lr_schedule": 0.5}, "`lr_schedule` must be a function of the fraction of training, or of an optimiser, got 0.5"),
    ({"transform": "binarize"}, "`transform` must be a function of a batch, got 'binarize'"),
]


def numbered(cases: list[tuple[dict[str, Any], str]]) -> list[str]:
    """Names that are the same in every process (a `repr` may hold an address)."""
    return [f"{'-'.join(options)}-{i}" for i, (options, _) in enumerate(cases)]


@pytest.mark.parametrize(("options", "message"), BAD, ids=numbered(BAD))
def test_refused_at_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SVI(**options)


@pytest.mark.parametrize("value", [0, -2, 1.5, True])
def test_particles_are_a_positive_number(value: Any) -> None:
    for objective in (Trace_ELBO, IWAE, functools.partial(Renyi, 0.5)):
        with pytest.raises(ConfigurationError, match="`num_particles` must be a positive whole number, got"):
            objective(value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_that_is_absent() -> None:
    with pytest.raises(ConfigurationError, match=r"`device` is 'cuda', but torch sees no CUDA device here.*nvidia-smi"):
        SVI(device="cuda")
    with pytest.raises(ConfigurationError, match="`device` is 'cuda:1', but torch sees no CUDA device"):
        SVI(device=torch.device("cuda:1"))


def test_another_accelerator_that_is_absent() -> None:
    if torch.backends.mps.is_available():
        pytest.skip("there is an MPS device")
    with pytest.raises(ConfigurationError, match="`device` is 'mps', which torch cannot use here"):
        SVI(device="mps")


FIT: list[tuple[dict[str, Any], str]] = [
    ({"optimizer_options": {"momentun": 0.9}}, "`optimizer` Adam refused `optimizer_options` or `lr`: .*momentun"),
    ({"optimizer_options": {"betas": (1.5, 0.9)}}, "`optimizer` Adam refused `optimizer_options` or `lr`: .*beta"),
    ({"optimizer": torch.optim.LBFGS}, "`optimizer` LBFGS needs a closure"),
    ({"compile": "cudagraph"}, '`compile="cudagraph"` needs a CUDA device'),
    (
        {"lr_schedule": lambda fraction: -1.0},
        "`lr_schedule` must return a factor that is finite and not negative, got -1.0",
    ),
    (
        {"lr_schedule": lambda f: math.nan if f > 0.5 else 1.0},
        "`lr_schedule` must return a factor that is finite .*got nan",
    ),
    (
        {"lr_schedule": lambda optimizer: "slow"},
        "`lr_schedule` must return a factor, or a torch LRScheduler .*got 'slow'",
    ),
    (
        {"lr_schedule": torch.optim.lr_scheduler.ReduceLROnPlateau},
        "`lr_schedule` must return a factor, or a torch LRScheduler that depends on the step alone",
    ),
    ({"precision": "bf16"}, '`precision="bf16"` needs `dtype` torch.float32, got torch.float64'),
]


@pytest.mark.skipif(torch.cuda.is_available(), reason="some of these work on CUDA")
@pytest.mark.parametrize(("options", "message"), FIT, ids=numbered(FIT))
def test_refused_by_fit(logistic: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SVI(**{"steps": 10, "compile": False, **options}).fit(*logistic)


def test_a_batch_larger_than_the_data(logistic: Any) -> None:
    with pytest.raises(DataError, match=r"`batch_size` is 61, more than the 60 data. Pass a smaller one, or None"):
        SVI(batch_size=61).fit(*logistic)
    SVI(batch_size=60, steps=2, compile=False).fit(*logistic)


@pytest.mark.parametrize("seed", [1.5, "1", True, None])
def test_a_seed_is_a_whole_number(logistic: Any, seed: Any) -> None:
    with pytest.raises(ConfigurationError, match="`seed` must be a whole number, got"):
        SVI().fit(*logistic, seed=seed)


def test_the_whole_configuration_is_kept_as_plain_values(logistic: Any) -> None:
    import json

    svi = SVI(
        IWAE(3), steps=2, compile=False, optimizer=functools.partial(torch.optim.SGD, momentum=0.9), guide="lowrank"
    )
    config = svi.fit(*logistic).config
    assert json.loads(json.dumps(config)) == config
    assert config["objective"] == "IWAE" and config["num_particles"] == 3 and config["guide"] == "lowrank"
    assert config["optimizer"] == {"function": "SGD", "momentum": 0.9}
