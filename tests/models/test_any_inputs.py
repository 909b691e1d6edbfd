"""Every public method of every model takes what `fit` takes: arrays, lists, DataFrames, tensors of any number type."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from model_table import MODELS, build

import jensen.models
from jensen.models import HiddenMarkovModel, LatentVariableModel

ROWS = 12
VARIANTS = ["VAE, categorical", "VQVAE with a codebook of parameters", "hidden Markov of codes"]
TABLE = [*MODELS, *VARIANTS, "hidden Markov with lengths"]
# Programs are given what a fit made of the data, and M-steps what their E-step found.
LEFT_OUT = {"model", "guide", "forward", "m_step", "set_components", "noise_variance"}


@functools.cache
def case(name: str) -> tuple[LatentVariableModel, dict[str, Any]]:
    """A model, and a value for whatever its methods may ask for, by the name of the argument."""
    torch.manual_seed(0)
    codes, lengths = torch.arange(ROWS * 4).view(ROWS, 4) % 3, torch.arange(ROWS) % 3 + 2
    if name == "hidden Markov of codes":
        model, batch = HiddenMarkovModel(2, num_categories=3, num_steps=4), {"x": codes.float(), "lengths": lengths}
    elif name == "hidden Markov with lengths":
        x = torch.randn(ROWS, 4, 1)
        model, batch = HiddenMarkovModel(2, 1, covariance="full", num_steps=4), {"x": x, "lengths": lengths}
    else:
        model, batch = build(name, ROWS)
    draw = model.eval().generate(ROWS, seed=3, **{name: batch[name] for name in model.required})
    latents = {name: value for name, value in draw.items() if name not in batch}
    found = {"num": ROWS, "seed": 5, "num_draws": 2, "c": torch.arange(2), "data": batch, "batch": batch, **latents}
    if "means" in latents or "w" in latents:  # draws of a posterior, here one
        found |= {name: value.unsqueeze(0) for name, value in latents.items()} | {"draws": list(latents)}
    if hasattr(model, "precision_site"):
        found["precision"] = found[model.precision_site]
    if hasattr(model, "rotate"):
        found["rotation"] = torch.linalg.qr(torch.randn(model.latent_dim, model.latent_dim))[0]
    return model, found | batch


def parameters(name: str, method: str) -> Iterable[inspect.Parameter]:
    signature = inspect.signature(getattr(type(case(name)[0]), method))
    return [p for p in signature.parameters.values() if p.name not in ("self", "filename", "in_logs", "_")]


def methods() -> list[tuple[str, str]]:
    """Every public method that takes data, of every model in the table."""
    found = []
    for name in TABLE:
        for method, function in inspect.getmembers(type(case(name)[0]), inspect.isfunction):
            ours = function.__module__.startswith("jensen.models") and not method.startswith("_")
            takes = any("Tensor" in str(p.annotation) or "Any" in str(p.annotation) for p in parameters(name, method))
            if ours and takes and method not in LEFT_OUT:
                found.append((name, method))
    return found


def call(name: str, method: str, kind: Callable[[torch.Tensor], Any]) -> list[torch.Tensor]:
    """What the method returns for its arguments as `kind` makes them, and what it leaves in the model."""
    model, known = case(name)
    given: dict[str, Any] = {}
    for p in parameters(name, method):
        if p.kind is p.VAR_KEYWORD:
            others = model.required if method in ("generate", "render") else known.get("draws", model.arguments)
            given |= {other: known[other] for other in others if other in known}
        elif p.name in known:
            given[p.name] = known[p.name]
        else:
            assert p.default is not p.empty, f"`{method}` asks for `{p.name}`: give `case` a value for it."
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(7)
    try:
        found = numbers(getattr(model, method)(**convert(given, kind))) + numbers(model.state_dict())
        return [value.clone() for value in found]
    except ValueError as error:  # a variant that lacks the method says so, whatever the data
        if "lacks" not in str(error):
            raise
        return []
    finally:
        model.load_state_dict(before)


def convert(value: Any, kind: Callable[[torch.Tensor], Any]) -> Any:
    if isinstance(value, dict):
        return {name: convert(item, kind) for name, item in value.items()}
    return kind(value) if isinstance(value, torch.Tensor) else value


def numbers(value: Any) -> list[torch.Tensor]:
    """All the numbers of what was returned."""
    if isinstance(value, torch.Tensor | float | int):
        return [torch.as_tensor(value).detach().double()]
    if isinstance(value, torch.distributions.Distribution):
        return numbers([getattr(value, name) for name in value.arg_constraints if hasattr(value, name)])
    if isinstance(value, torch.nn.Module):
        return numbers(value.state_dict())
    if isinstance(value, dict):
        value = list(value.values())
    elif not isinstance(value, list | tuple):
        value = list(vars(value).values()) if hasattr(value, "__dict__") else []
    return [number for item in value for number in numbers(item)]


def as_frame(value: torch.Tensor) -> Any:
    """A DataFrame, Series or array, of integers where the numbers are whole."""
    array = value.numpy().astype(np.int32 if bool((value == value.round()).all()) else np.float32)
    return {1: pd.Series, 2: pd.DataFrame}.get(array.ndim, np.asarray)(array)


KINDS: dict[str, Callable[[torch.Tensor], Any]] = {
    "float64 arrays": lambda value: value.numpy().astype(np.float64),
    "lists": torch.Tensor.tolist,
    "DataFrames of integers": as_frame,
    "double tensors": torch.Tensor.double,
}


@pytest.mark.parametrize(("name", "method"), [pytest.param(*found, id="-".join(found)) for found in methods()])
def test_the_kind_of_the_data_does_not_matter(name: str, method: str) -> None:
    model = case(name)[0]
    free = method == "generate" and not model.state_dict()  # it draws in the number type of its inputs
    expected = call(name, method, torch.Tensor.double if free else lambda value: value)
    for label, kind in KINDS.items():
        if free and label not in ("float64 arrays", "double tensors"):
            continue
        torch.testing.assert_close(call(name, method, kind), expected, rtol=1e-3, atol=1e-4, equal_nan=True)


def test_every_model_is_in_the_table() -> None:
    models = {getattr(jensen.models, name) for name in jensen.models.__all__}
    concrete = {m for m in models if isinstance(m, type) and issubclass(m, LatentVariableModel)} - {LatentVariableModel}
    assert concrete == {type(case(name)[0]) for name in TABLE}
