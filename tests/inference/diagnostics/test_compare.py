"""The distance of a fit from a reference: against closed forms, between fits, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from jensen.datasets import targets
from jensen.inference import NUTS, SVI, Comparison, compare, load
from jensen.inference.diagnostics.distances.mmd import squared_mmd
from jensen.inference.diagnostics.distances.rows import Rows, unwrapped
from jensen.inference.diagnostics.distances.sample_moments import sample_moments
from jensen.inference.diagnostics.distances.sliced_wasserstein import sliced_wasserstein
from jensen.inference.errors import ConfigurationError, DataError


def _normal(count: int, dim: int, seed: int) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _directions() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_shift_of_one_sd_is_one() -> None:
    target = targets.load("linear_gaussian")
    known = target.reference["w"]
    far = {"w": target.draws(6_000, seed=5)["w"]}
    far["w"][:, 2] += known.sd[2]
    found = compare(far, target)
    assert found.numbers[2] == "w[2]" and len(found) == 5
    error = found.mean_error - torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])
    assert float((error.abs() / found.mean_error_stderr).max()) < 4.5
    assert float(((found.sd_ratio - 1).abs() / found.sd_ratio_stderr).max()) < 4.5
    shift = found.quantile_error - torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])
    assert float((shift.abs() / found.quantile_error_stderr).max()) < 4.5
    assert (found.worst.number, found.worst.quantity) == ("w[2]", "mean")
    assert found.worst.value == pytest.approx(1.0, abs=0.06)
    assert "the mean of `w[2]` is " in str(found) and "above the reference's" in str(found)
    assert "sd of" not in str(found.worst)
    assert found.fit == "given draws" and found.reference == "`linear_gaussian`, exact moments"


def test_a_narrow_guide_is_named() -> None:
    target = targets.load("linear_gaussian")
    mean = target.reference["w"].mean
    near = {"w": mean + (target.draws(4_000, seed=5)["w"] - mean) * torch.tensor([1.0, 0.25, 1.0, 1.0, 1.0])}
    found = compare(near, target)
    assert (found.worst.number, found.worst.quantity) == ("w[1]", "sd")
    assert abs(found.worst.value - 0.25) < 4.5 * found.worst.stderr
    assert "worst      the sd of `w[1]` is 0.2" in str(found)


def test_the_mean_field_on_a_correlated_normal_has_the_sds_that_theory_says() -> None:
    """The optimum's variances are 1 / P[i, i]: beside the posterior's, the ratio of sds is exact."""
    target = targets.load("correlated_gaussian")
    errors = 0.9 ** (torch.arange(30)[:, None] - torch.arange(30)).abs().double()
    precision = torch.linalg.inv(errors) + torch.eye(30) / 100
    expected = precision.diagonal().rsqrt() / target.reference["x"].sd
    method = SVI(guide="normal", steps=800, lr=0.05, lr_schedule=lambda done: 0.01**done, progress=False)
    fit = method.fit(target.model, target.data)
    found = compare(fit, target, num_samples=4_000)
    assert float((found.sd_ratio / expected - 1).abs().max()) < 0.1
    assert float(found.sd_ratio.max()) < 0.5
    assert float(found.mean_error.abs().max()) < 0.1
    assert found.worst.quantity == "sd" and found.fit == "SVI"
    assert found.sliced_wasserstein is not None
    assert found.sliced_wasserstein.value > 5 * found.sliced_wasserstein.details["floor"]


def test_chains_agree_with_the_truth_and_with_each_other(tmp_path: Path) -> None:
    target = targets.load("linear_gaussian")
    fits = [
        NUTS(steps=600, num_warmup=300, num_chains=2, progress=False).fit(target.model, target.data, seed=seed)
        for seed in (0, 1)
    ]
    assert fits[0].status == "converged"
    for reference in (target, fits[1]):
        found = compare(fits[0], reference)
        z = torch.stack([found.mean_error / found.mean_error_stderr, (found.sd_ratio - 1) / found.sd_ratio_stderr])
        assert float(z.abs().max()) < 4.5
        assert found.mmd_squared is not None and abs(found.mmd_squared.value) < 4.5 * found.mmd_squared.stderr
    assert found.reference == "NUTS, 1,200 draws, converged"
    again = compare(load(fits[0].save(tmp_path / "fit"), model=target.model), fits[1])
    torch.testing.assert_close(again.quantile_error, found.quantile_error)


def test_a_reference_that_has_not_converged_is_refused_unless_one_insists() -> None:
    target = targets.load("linear_gaussian")
    chains = NUTS(steps=100, num_warmup=100, num_chains=2, progress=False).fit(target.model, target.data)
    assert chains.status == "not converged"
    with pytest.raises(ConfigurationError, match=r"`reference` has not converged.*R-hat.*require_converged=False"):
        compare(target.draws(200), chains)
    assert compare(target.draws(200), chains, require_converged=False).reference.endswith("not converged")
    guide = SVI(guide="normal", steps=10, progress=False).fit(target.model, target.data)
    with pytest.raises(ConfigurationError, match="`reference` is a fit by SVI, an approximation itself"):
        compare(target.draws(200), guide)
    assert compare(guide, guide.posterior(400)).reference == "given draws, 400 draws"


def test_moments_alone_allow_no_distances() -> None:
    target = replace(targets.load("linear_gaussian"), sampler=None)
    found = compare({"w": target.reference["w"].mean + torch.zeros(200, 5)}, target)
    assert found.sliced_wasserstein is None and found.mmd_squared is None
    assert bool((found.sd_ratio == 0).all()) and found.worst.quantity == "sd" and found.worst.value == 0.0
    assert "sliced" not in str(found)


def test_effects_are_compared_in_whatever_coordinates() -> None:
    target = targets.load("eight_schools")
    other = targets.load("eight_schools_noncentred")
    fit = NUTS(steps=500, num_warmup=300, num_chains=2, progress=False).fit(other.model, other.data)
    found = compare(fit, target)
    assert set(found.left_out) == {"z"} and found.left_out["z"] == "not in the reference"
    assert len(found) == 10 and "left out   `z` (not in the reference)" in str(found)
    assert float((found.mean_error / found.mean_error_stderr).abs().max()) < 4.5


def _states(y: Tensor) -> None:
    angle = pyro.sample("angle", dist.VonMises(3.1, 4.0))
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(y)):
        kind = pyro.sample("kind", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
        pyro.sample("y", dist.Normal(level + kind + angle.cos(), 1.0), obs=y)


def test_discrete_latents_are_left_out_and_angles_go_round() -> None:
    y = {"y": torch.linspace(-1.0, 1.0, 20)}
    fit = SVI(guide="normal", steps=20, progress=False).fit(_states, y)
    draws = fit.posterior(2_000, seed=9)
    turned = dict(draws, angle=draws["angle"] + 2 * math.pi)
    found = compare(fit, turned, num_samples=2_000)
    assert found.numbers == ("angle", "level")
    assert float(found.mean_error.abs().max()) < 0.2
    local = fit.posterior(200, data=y)
    assert compare(fit, local, data=y, num_samples=200).left_out == {"kind": "discrete"}
    about = torch.tensor([3.0, -3.0])
    torch.testing.assert_close(unwrapped(about, about).std(), torch.tensor([3.0, 2 * math.pi - 3.0]).std())


def test_sliced_distance_of_normals_has_its_closed_form() -> None:
    """On a line W2^2 = (m - m')^2 + (s - s')^2; of a shift d in D dimensions SW2^2 = |d|^2 / D."""
    x, y = _normal(20_000, 1, 1), _normal(20_000, 1, 2)
    value, error = sliced_wasserstein(1.0 + 2.0 * x, y, 100, _directions())
    assert abs(value - math.sqrt(2.0)) < 4.5 * error < 0.1
    x, y = _normal(2_000, 4, 1), _normal(2_000, 4, 2)
    value, error = sliced_wasserstein(x + torch.tensor([3.0, 0.0, 0.0, 0.0]), y, 200, _directions())
    assert abs(value - 1.5) < 4.5 * error < 0.4


def test_sliced_distances_error_is_that_over_repetitions() -> None:
    values, errors = zip(
        *(
            sliced_wasserstein(_normal(400, 1, seed) + 1.0, _normal(400, 1, 900 + seed), 1, _directions())
            for seed in range(40)
        ),
        strict=True,
    )
    assert np.std(values) == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=0.4)


def test_discrepancy_has_no_bias_and_its_closed_form() -> None:
    same = np.array([squared_mmd(_normal(200, 3, seed), _normal(200, 3, 900 + seed))[:2] for seed in range(40)])
    assert abs(same[:, 0].mean()) < 4.0 * same[:, 0].std() / math.sqrt(40)
    assert (np.abs(same[:, 0]) < 3.0 * same[:, 1]).mean() > 0.9
    assert (same[:, 0] < 0).any()
    # E k of two normals with x - y ~ N(d, 2 I): (h^2 / (h^2 + 2))^(D / 2) exp(-|d|^2 / (2 (h^2 + 2)))
    value, error, width = squared_mmd(_normal(2_000, 3, 1) + 1.0, _normal(2_000, 3, 2))
    square = width**2 + 2.0
    expected = 2.0 * (width**2 / square) ** 1.5 * (1.0 - math.exp(-3.0 / (2.0 * square)))
    assert abs(value - expected) < 4.5 * error < 0.05


def test_neighbours_in_a_chain_do_not_count_for_the_discrepancy() -> None:
    """Chains of an autoregression have the law of independent draws, to which they are compared."""
    found = []
    for seed in range(20):
        noise, x = _normal(1_000, 1, seed), torch.zeros(1_000, 1, dtype=torch.float64)
        for t in range(1_000):
            x[t] = noise[t] if t == 0 else 0.8 * x[t - 1] + 0.6 * noise[t]
        found.append(squared_mmd(x, _normal(1_000, 1, 900 + seed))[0])
    assert abs(np.mean(found)) < 4.0 * np.std(found) / math.sqrt(len(found))


def test_errors_of_moments_are_those_over_repetitions() -> None:
    """Of an autoregression, whose draws are worth a third of independent ones."""
    noise = _normal(1_000, 100, 3)
    x = [noise[0]]
    for t in range(1, 1_000):
        x.append(0.5 * x[-1] + math.sqrt(0.75) * noise[t])
    series = torch.stack(x)
    found = sample_moments(Rows(series.unsqueeze(0), independent=False), (0.05, 0.5))
    for value, error in ((found.mean, found.mean_stderr), (found.sd, found.sd_stderr)):
        assert float(value.std()) == pytest.approx(float(error.square().mean().sqrt()), rel=0.2)
    spread, said = found.quantiles.std(1), found.quantiles_stderr.square().mean(1).sqrt()
    torch.testing.assert_close(spread, said, rtol=0.2, atol=0)
    assert float(found.effective.mean()) == pytest.approx(1_000 / 3, rel=0.2)
    alone = sample_moments(Rows(_normal(1_000, 1, 0).unsqueeze(0), independent=True), (0.5,))
    assert float(alone.effective) == 1_000


def test_the_seed_decides_and_all_is_there_to_read() -> None:
    target = targets.load("linear_gaussian")
    draws = target.draws(1_000, seed=2)
    one, two, three = (compare(draws, target, seed=seed, num_samples=1_000) for seed in (1, 1, 2))
    assert one.to_dict() == two.to_dict() != three.to_dict()
    assert json.loads(json.dumps(one.to_dict()))["numbers"] == list(one.numbers)
    frame = one.frame
    assert list(frame["number"]) == list(one.numbers) and frame.shape == (5, 15)
    np.testing.assert_allclose(frame["q95_error"], one.quantile_error[4])
    assert isinstance(one, Comparison)
    assert one.sliced_wasserstein is not None and one.mmd_squared is not None
    assert 0 < one.sliced_wasserstein.value < 2 * one.sliced_wasserstein.details["floor"]
    assert abs(one.mmd_squared.value) < 4 * one.mmd_squared.stderr


def _draws(**values: Any) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("fit", "reference", "message"),
    [
        (_draws(w=torch.ones(200, 3)), "chains", "`reference` must be a Fit, or draws as a dict, got a str"),
        (None, _draws(w=torch.ones(200, 3)), "`fit` must be a Fit, or draws as a dict, got None"),
        ({}, _draws(w=torch.ones(200)), "`fit` holds no draws"),
        (_draws(w=torch.randn(200, 3)), _draws(w=torch.randn(200, 2)), r"`w` is \(3,\) in the fit and \(2,\) in the"),
        (_draws(w=torch.randn(200)), _draws(v=torch.randn(200)), "the fit holds `w`, the reference `v`"),
        (_draws(w=torch.randn(200)), _draws(w=torch.randn(50)), "`reference` holds 50 draws"),
        (_draws(w=torch.randn(200)), _draws(w=torch.zeros(200)), "`w` never varies in the reference"),
        (_draws(w=torch.zeros(200)), _draws(w=torch.zeros(200)), "Nothing that both sides hold varies"),
        (_draws(w=torch.arange(200)), _draws(w=torch.arange(200)), "no continuous latent of one name"),
        (_draws(w=[math.nan] * 200), _draws(w=torch.randn(200)), "`w` of `fit` is not finite in 200 of 200 draws"),
        (_draws(w=torch.randn(200), v=torch.randn(3)), _draws(w=torch.randn(200)), "equally many draws"),
    ],
)
def test_what_cannot_be_compared(fit: Any, reference: Any, message: str) -> None:
    with pytest.raises((ConfigurationError, DataError), match=message):
        compare(fit, reference)


def test_a_number_that_never_varies_is_left_out() -> None:
    w = torch.randn(400, 2)
    w[:, 1] = 1.0
    found = compare({"w": w}, {"w": w + torch.tensor([0.1, 0.0])})
    assert found.numbers == ("w[0]",) and found.left_out == {"w[1]": "never varies"}
    with pytest.raises(ConfigurationError, match="`num_samples` must be an integer of at least 100"):
        compare({"w": w}, {"w": w}, num_samples=10)
