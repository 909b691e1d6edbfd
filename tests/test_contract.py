"""What every model must do, whichever method fits it: one line for each new model, one for each new method."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from model_table import MODELS, Batch, build

from jensen.inference import (
    AIS,
    CAVI,
    EM,
    HMC,
    IWAE,
    NUTS,
    STL,
    SVI,
    ChEES,
    Fit,
    Laplace,
    LossMinimization,
    Pathfinder,
    Trace_ELBO,
    TraceMeanField_ELBO,
    elbo_terms,
    load,
    log_evidence,
)
from jensen.inference.doctor import examine
from jensen.inference.methods.pathfinder.target import unsuited
from jensen.inference.pair.latents import examine_latents
from jensen.models import CAVIModel, EMModel, LatentVariableModel

METHODS: dict[str, Any] = {
    "Trace_ELBO": SVI(Trace_ELBO(2), steps=40, compile="trace"),
    "TraceMeanField_ELBO": SVI(TraceMeanField_ELBO(), steps=40, compile="trace"),
    "STL": SVI(STL(2), steps=40, compile="trace"),
    "IWAE": SVI(IWAE(3), steps=40, compile="trace"),
    "EM": EM(steps=20),
    "CAVI": CAVI(steps=20),
    "LossMinimization": LossMinimization(steps=40, log_every=10),
    "Pathfinder": Pathfinder(steps=2),
    "Laplace": Laplace(steps=2),
    "NUTS": NUTS(steps=10, num_warmup=20, num_chains=2, max_depth=4, compile=False),
    "AIS": AIS(steps=20, num_particles=32, compile=False),
    "HMC": HMC(steps=10, num_warmup=20, num_chains=2, num_leapfrogs=4, compile=False),
    "ChEES": ChEES(steps=10, num_warmup=20, num_chains=2, max_leapfrogs=10, compile=False),
}


def suits(method: Any, model: LatentVariableModel, data: Batch) -> bool:
    """Whether the model has what the method needs; where it has not, the method must say so."""
    if getattr(model, "scored_by_loss", False) != isinstance(method, LossMinimization):
        return False
    if isinstance(method, (AIS, Pathfinder, Laplace, NUTS, HMC, ChEES)):
        return not unsuited(examine_latents(model, data), data)
    needed = {EM: EMModel, CAVI: CAVIModel}.get(type(method), object)
    return isinstance(model, needed) and not (isinstance(method, CAVI) and getattr(model, "hierarchical", False))


# Its own guide enumerates the class, and an importance-weighted bound does not train q(y | x): the fit says so.
# The scale of a hierarchy of weights has its mode at zero, with the weights.
UNFIT = {("semi-supervised VAE", "IWAE"), ("logistic regression of three classes", "Laplace")}
PAIRS = [(name, method) for name in MODELS for method in METHODS if suits(METHODS[method], *build(name))]
PAIRS = [pair for pair in PAIRS if pair not in UNFIT]
OTHERS = [(name, method) for name in MODELS for method in METHODS if (name, method) not in [*PAIRS, *UNFIT]]


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest, float64: None) -> tuple[LatentVariableModel, Batch]:
    return build(request.param)


def values(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@functools.cache
def fitted(name: str, method: str) -> Fit:
    """A fit for all tests of the pair: none of them may change it."""
    model, data = build(name)
    before = values(model)
    fit = METHODS[method].fit(model, data, seed=3)
    assert same(values(model), before), "the model that was passed in changed"
    return fit


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest, float64: None) -> tuple[str, str]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def fit(pair: tuple[str, str]) -> Iterator[Fit]:
    fit = fitted(*pair)
    before = values(fit.program)
    yield fit
    assert same(values(fit.program), before), "the fit changed"


def test_a_fit_finishes_improves_and_is_reproducible(pair: tuple[str, str], fit: Fit) -> None:
    method, (model, data) = METHODS[pair[1]], build(pair[0])
    assert fit.status in ("converged", "not converged", "unknown")
    scored = fit.history.bound if "bound" in fit.history else fit.history.loss
    assert torch.isfinite(torch.tensor(scored.to_numpy())).all()
    again = method.fit(model, data, seed=3)
    assert same(values(again.program), values(fit.program))
    assert same(dict(again.draws or {}), dict(fit.draws or {}))
    if pair[1] in ("Trace_ELBO", "LossMinimization"):  # no objective knows of the seed
        other = method.fit(model, data, seed=4)
        assert not same(values(other.program), values(fit.program)) or not fit.structure.select("latent")
    elif not isinstance(method, (SVI, NUTS, HMC, ChEES, AIS)):
        assert (fit.history.bound.diff().dropna() > -1e-9).all()


@pytest.mark.parametrize(("name", "method"), OTHERS)
def test_a_method_says_what_the_model_lacks(name: str, method: str, float64: None) -> None:
    model, data = build(name)
    message = rf"{method} needs a model with .* lacks. (It can be fitted by|Use) SVI"
    if getattr(model, "scored_by_loss", False):
        message = "(has no evidence .* Fit it by .*|lacks. It can be fitted by )LossMinimization"
    with pytest.raises(ValueError, match=message):
        METHODS[method].fit(model, data)


def test_the_evidence_is_at_least_the_bound(fit: Fit) -> None:
    if getattr(fit.model, "scored_by_loss", False):
        pytest.skip("it has no evidence")
    if fit.method == "AIS":
        assert float(log_evidence(fit)) == fit.info["log_evidence"]
        assert log_evidence(fit).value >= log_evidence(fit).details["bound"]
        return
    if fit.draws is not None:
        with pytest.raises(ValueError, match="stored draws"):
            log_evidence(fit)
        return
    evidence = log_evidence(fit, num_particles=400, seed=1)
    bound = elbo_terms(fit, seed=2)
    slack = 5 * (evidence.stderr**2 + bound.stderr**2) ** 0.5 + 1e-6 * abs(evidence.value)
    assert evidence.value >= bound.value - slack


def test_a_fit_is_read_back_as_it_was_saved(fit: Fit, tmp_path: Path) -> None:
    fit.save(tmp_path / "fit")
    found = load(tmp_path / "fit")
    assert same(values(found.program), values(fit.program))
    if getattr(fit.model, "scored_by_loss", False):
        assert torch.equal(found.model.generate(5, seed=7)["x"], fit.model.generate(5, seed=7)["x"])
        return
    for name, draws in fit.posterior(5, fit.data, seed=7).items():
        assert torch.equal(found.posterior(5, fit.data, seed=7)[name], draws)
    assert fit.predict(num=3).keys() == found.predict(num=3).keys()
    assert fit.to_arviz(num=5).groups() == found.to_arviz(num=5).groups()


def test_a_model_draws_copies_and_is_sound(case: tuple[LatentVariableModel, Batch]) -> None:
    model, data = case
    twin = copy.deepcopy(model)
    inputs = {name: data[name] for name in model.required}
    drawn = model.generate(len(data["x"]), seed=5, **inputs)
    assert all(torch.isfinite(value).all() for value in drawn.values())
    for name in model.observed:
        assert drawn[name].shape == data[name].shape
    assert same(values(twin), values(model))
    if getattr(model, "scored_by_loss", False):
        return
    report = examine(model, None, data)
    assert report.ok, report
