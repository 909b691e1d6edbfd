"""The sandwich holds exact evidences, on given and on simulated data; references that it refuses."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import AIS, NUTS, ConfigurationError, Fit, ModelError, evidence_sandwich
from jensen.inference.annealing.simulation import simulate

QUICK: dict[str, Any] = {"steps": 60, "num_particles": 64}


def as_chains(case: Any, **changes: Any) -> Fit:
    """Exact draws of the posterior, as a fit with chains would hold them."""
    import pandas

    name = "w" if "y" in case.data else "m"
    options = {"data": case.data, "draws": {name: case.draw(400)}, "info": {"chains": 4}, "status": "converged"}
    return Fit("NUTS", {}, case.model, None, pandas.DataFrame({"step": [0]}), **(options | changes))


@pytest.mark.parametrize("name", ["line", "mixture"])
def test_intervals_are_about_the_exact_evidence(name: str, request: pytest.FixtureRequest) -> None:
    case = request.getfixturevalue(name)
    found = [evidence_sandwich(as_chains(case), seed=seed, **QUICK) for seed in range(3)]
    assert all(s.guaranteed[0] <= case.exact <= s.guaranteed[1] for s in found)
    assert all(abs(bound.value - case.exact) < 4.0 * bound.stderr for s in found for bound in (s.lower, s.upper))
    assert all(s.guaranteed[0] < s.lower.value and s.guaranteed[1] > s.upper.value for s in found)


def test_simulated_data(line: Any) -> None:
    found = [evidence_sandwich(line.model, line.data, simulated=True, seed=seed, **QUICK) for seed in range(4)]
    exact = [line.evidence(s.data) for s in found]
    for s, z in zip(found, exact, strict=True):
        assert abs(s.lower.value - z) < 4.0 * s.lower.stderr and abs(s.upper.value - z) < 4.0 * s.upper.stderr
    assert all(s.guaranteed[0] <= z <= s.guaranteed[1] for s, z in zip(found, exact, strict=True))
    assert not torch.equal(found[0].data["y"], line.data["y"]) and torch.equal(found[0].data["x"], line.data["x"])
    assert len(set(exact)) == 4
    assert "of simulated data" in str(found[0])


def test_more_temperatures_close_it(line: Any) -> None:
    fit = as_chains(line)
    wide, narrow = (evidence_sandwich(fit, steps=steps, num_particles=64) for steps in (20, 800))
    assert narrow.gap.stderr < 0.5 * wide.gap.stderr
    assert narrow.interval[1] - narrow.interval[0] < 0.5 * (wide.interval[1] - wide.interval[0])
    text = str(narrow)
    assert "<= log evidence <=" in text and "95% interval" in text and "Markov" in text
    assert narrow.to_dict()["interval"] == list(narrow.interval)


def test_the_same_seed_gives_the_same_bits(line: Any) -> None:
    fit = as_chains(line)
    one, two, other = (evidence_sandwich(fit, seed=seed, **QUICK) for seed in (1, 1, 2))
    assert one.lower.value == two.lower.value and one.upper.value == two.upper.value
    assert one.lower.value != other.lower.value and one.upper.value != other.upper.value


def test_chains_of_nuts(line: Any) -> None:
    fit = NUTS(steps=400, num_warmup=200, progress=False, compile=False).fit(line.model, line.data)
    assert fit.status == "converged"
    for found in (
        evidence_sandwich(fit, **QUICK),
        evidence_sandwich(line.model, line.data, reference=fit, base=fit, **QUICK),
    ):
        assert found.guaranteed[0] < line.exact < found.guaranteed[1]
        assert abs(found.lower.value - line.exact) < 5 * found.lower.stderr + 0.1
        assert abs(found.upper.value - line.exact) < 5 * found.upper.stderr + 0.1


def test_references_that_stand_for_nothing_are_refused(line: Any) -> None:
    fit = as_chains(line)
    poor = as_chains(
        line, status="not converged", info={"chains": 4, "convergence": {"reason": "R-hat 1.3", "advice": ""}}
    )
    with pytest.raises(ConfigurationError, match=r"must have converged.*R-hat 1\.3"):
        evidence_sandwich(poor)
    annealed = AIS(steps=5, num_particles=32, progress=False, compile=False).fit(line.model, line.data)
    with pytest.raises(ConfigurationError, match="other draws are no draws of the posterior"):
        evidence_sandwich(line.model, line.data, reference=annealed)
    with pytest.raises(ConfigurationError, match="of the same data"):
        evidence_sandwich(line.model, {"x": line.data["x"], "y": line.data["y"] + 1.0}, reference=fit)
    with pytest.raises(ConfigurationError, match="holds 400 draws, and 500 particles"):
        evidence_sandwich(fit, num_particles=500)
    with pytest.raises(ConfigurationError, match=r"`reference` must be a converged fit .*simulated=True"):
        evidence_sandwich(line.model, line.data)
    with pytest.raises(ConfigurationError, match="leave `reference` out"):
        evidence_sandwich(fit, reference=fit, simulated=True)


@pytest.mark.parametrize(
    "options",
    [{"confidence": 1.0}, {"confidence": "a"}, {"steps": 0}, {"num_particles": 5}, {"leapfrogs": 0}, {"seed": "a"}],
)
def test_bad_options_are_refused(options: dict[str, Any], line: Any) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        evidence_sandwich(as_chains(line), **options)


def test_simulated_data_and_latents_belong_together(line: Any) -> None:
    made = [simulate(line.model, line.data, seed) for seed in range(40)]
    residuals = torch.stack([m.data["y"] - m.data["x"] @ m.latents["w"] for m in made])
    assert abs(float(residuals.std()) / 0.5 - 1.0) < 0.15
    latents = torch.stack([m.latents["w"] for m in made])
    assert abs(float(latents.std()) / 2.0 - 1.0) < 0.25

    def shifted(x: Any) -> None:
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(m, 1.0), obs=x.log())

    with pytest.raises(ModelError, match="`y` observes a value made from them"):
        simulate(shifted, {"x": torch.ones(3)}, 0)
