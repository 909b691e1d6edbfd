"""Targets with known answers: their moments against closed forms, exact draws, and the programs' own densities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.resources import files

import pytest
import torch
from pyro import poutine
from torch import Tensor

from jensen.datasets import targets
from jensen.datasets.targets.conditioning import condition, marginalize
from jensen.datasets.targets.moments import mixture_moments, node_moments, normal_moments, prior_nodes

SAMPLED = [name for name in targets.TARGETS if targets.TARGETS[name]().sampler is not None]


def test_the_names() -> None:
    assert all(targets.load(name).name == name for name in targets.TARGETS)
    with pytest.raises(ValueError, match=r"expected one of \['correlated_gaussian'.*Did you mean `eight_schools`\?"):
        targets.load("eight_school")


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_program_has_the_latents_of_the_reference(name: str) -> None:
    target = targets.load(name)
    trace = poutine.trace(target.model).get_trace(**target.data)
    shapes = {
        key: tuple(node["value"].shape)
        for key, node in trace.nodes.items()
        if node["type"] == "sample" and not (node["is_observed"] and not node["infer"].get("_deterministic"))
        if "data" not in [frame.name for frame in node["cond_indep_stack"]]
        and type(node["fn"]).__name__ != "_Subsample"
    }
    assert shapes == {key: tuple(moments.mean.shape) for key, moments in target.reference.items()}
    assert trace.log_prob_sum().isfinite()
    assert target.source and repr(target).startswith(f"Target `{name}`")
    assert all(value.dtype == torch.get_default_dtype() for value in target.data.values())


@pytest.mark.parametrize("name", SAMPLED)
def test_exact_draws_have_the_moments(name: str) -> None:
    """Means and quantiles within 4.5 standard errors; shares below the quantiles need no moments of the draws."""
    target = targets.load(name)
    draws = target.draws(20_000, seed=1)
    for key, moments in target.reference.items():
        value = draws[key]
        assert value.shape[1:] == moments.mean.shape
        z = (value.mean(0) - moments.mean) / (moments.sd / math.sqrt(len(value)))
        assert float(z.abs().max()) < 4.5
        for p, quantile in zip(targets.PROBABILITIES, moments.quantiles, strict=True):
            share = (value <= quantile).double().mean(0)
            assert float((share - p).abs().max()) < 4.5 * math.sqrt(p * (1 - p) / len(value))
    torch.testing.assert_close(target.draws(5, seed=3), target.draws(5, seed=3))


@pytest.mark.parametrize("name", ["correlated_gaussian", "linear_gaussian"])
def test_the_evidence_is_that_of_the_program(name: str, float64: None) -> None:
    """log p(y) = log p(z, y) - log p(z | y) at any z: the programs' densities beside a normal of the exact draws."""
    target = targets.load(name)
    ((site, moments),) = target.reference.items()
    draws = target.draws(3, seed=0)[site]
    many = target.draws(200_000, seed=2)[site]
    torch.testing.assert_close(many.std(0), moments.sd, rtol=0.01, atol=0)
    precision = -torch.autograd.functional.hessian(lambda z: _log_joint(target, {site: z}), draws[0])
    torch.testing.assert_close(torch.linalg.inv(precision).diagonal().sqrt(), moments.sd)
    posterior = torch.distributions.MultivariateNormal(moments.mean, precision_matrix=precision)
    for z in draws:
        evidence = _log_joint(target, {site: z}) - posterior.log_prob(z)
        assert float(evidence) == pytest.approx(target.log_evidence, abs=1e-8)


def _log_joint(target: targets.Target, values: dict[str, Tensor]) -> Tensor:
    with poutine.condition(data=values):
        return poutine.trace(target.model).get_trace(**target.data).log_prob_sum()


@pytest.mark.parametrize("name", ["eight_schools", "eight_schools_noncentred", "ar1"])
def test_the_integrated_moments_by_importance_weights_of_the_prior(name: str, float64: None) -> None:
    """An independent way: the likelihood of draws of the hyperparameters' prior, other latents summed out by hand."""
    target = targets.load(name)
    moments = target.reference
    torch.manual_seed(4)
    if name == "ar1":
        y, draws = target.data["y"], 40_000
        phi, sigma = 2.0 * torch.rand(draws) - 1.0, torch.randn(draws).abs()
        hyper, log_weight = {"phi": phi, "sigma": sigma}, _kalman(y, phi, sigma, 0.3)
    else:
        y, scale, draws = target.data["y"], target.data["sigma"], 100_000
        mu, tau = 5.0 * torch.randn(draws), 5.0 * torch.empty(draws).cauchy_().abs()
        hyper = {"mu": mu, "tau": tau}
        spread = (tau[:, None].square() + scale.square()).sqrt()
        log_weight = torch.distributions.Normal(mu[:, None], spread).log_prob(y).sum(1)
    weight = torch.softmax(log_weight, 0)
    effective = 1.0 / float(weight.square().sum())
    assert effective > 1_000
    for key, value in hyper.items():
        error = float(moments[key].sd) / math.sqrt(effective)
        assert abs(float(weight @ value - moments[key].mean)) < 4.5 * error
        for p, quantile in zip(targets.PROBABILITIES, moments[key].quantiles, strict=True):
            assert abs(float(weight[value <= quantile].sum()) - p) < 4.5 * math.sqrt(p * (1 - p) / effective)
    evidence = float(log_weight.logsumexp(0)) - math.log(draws)
    assert target.log_evidence is not None
    assert abs(evidence - target.log_evidence) < 4.5 * math.sqrt(1 / effective - 1 / draws)


def _kalman(y: Tensor, phi: Tensor, sigma: Tensor, noise: float) -> Tensor:
    """log p(y | phi, sigma) by the filter, ``(K,)``."""
    mean, variance, total = torch.zeros_like(phi), torch.zeros_like(phi), torch.zeros_like(phi)
    for value in y:
        mean, variance = phi * mean, phi.square() * variance + sigma.square()
        seen = variance + noise**2
        total = total + torch.distributions.Normal(mean, seen.sqrt()).log_prob(value)
        mean, variance = mean + variance / seen * (value - mean), variance * noise**2 / seen
    return total


def test_the_centred_schools_and_the_others_are_one_posterior() -> None:
    one, two = (targets.load(name) for name in ("eight_schools", "eight_schools_noncentred"))
    assert one.log_evidence == two.log_evidence
    for key in one.reference:
        torch.testing.assert_close(one.reference[key].quantiles, two.reference[key].quantiles)


def test_moments_of_mixtures_and_nodes() -> None:
    one = torch.tensor([1.0], dtype=torch.float64)
    normal = normal_moments(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]))
    alone = mixture_moments(one, torch.tensor([[1.0, -2.0]]).double(), torch.tensor([[0.5, 3.0]]).double())
    for name in ("mean", "sd", "quantiles"):
        torch.testing.assert_close(getattr(alone, name), getattr(normal, name))
    assert float(normal.quantiles[4, 0]) == pytest.approx(1.0 + 0.5 * 1.6448536269514722)
    two = mixture_moments(torch.tensor([0.5, 0.5]).double(), torch.tensor([-3.0, 3.0]).double(), one.expand(2))
    assert float(two.mean) == pytest.approx(0.0, abs=1e-12) and float(two.sd) == pytest.approx(math.sqrt(10.0))
    # prior Uniform(0, 1), likelihood u^2 (1 - u): the posterior is Beta(3, 2), of mean 3/5 and variance 1/25
    u, prior = prior_nodes(20)
    weights, evidence = marginalize(2.0 * u.log() + torch.log1p(-u), prior)
    beta = node_moments(weights, lambda p: p)
    assert evidence == pytest.approx(math.log(1.0 / 12.0))
    assert float(beta.mean) == pytest.approx(0.6) and float(beta.sd) == pytest.approx(0.2)
    cdf = 4.0 * beta.quantiles**3 - 3.0 * beta.quantiles**4
    torch.testing.assert_close(cdf, torch.tensor(targets.PROBABILITIES, dtype=torch.float64))


def test_conditioning_is_that_of_a_normal() -> None:
    torch.manual_seed(0)
    root = torch.randn(5, 5, dtype=torch.float64)
    joint, y = root @ root.mT, torch.randn(3, dtype=torch.float64)
    found = condition(y, joint.diagonal()[:2], joint[:2, 2:], joint[2:, 2:])
    precision = torch.linalg.inv(joint)
    torch.testing.assert_close(found.mean, -torch.linalg.solve(precision[:2, :2], precision[:2, 2:] @ y))
    torch.testing.assert_close(found.sd, torch.linalg.inv(precision[:2, :2]).diagonal().sqrt())
    law = torch.distributions.MultivariateNormal(torch.zeros(3).double(), joint[2:, 2:])
    torch.testing.assert_close(found.log_evidence, law.log_prob(y))


def test_written_moments_say_how_good_they_are() -> None:
    made = dict(_written())
    assert set(made) == {"logistic_regression", "mixture"}
    for name, content in made.items():
        assert content["r_hat_of_all_chains"] < 1.005 and content["largest_z"] < 4.0
        assert min(content["least_effective_sample_size"].values()) > 20_000
        target = targets.load(name)
        assert not target.exact and target.log_evidence is None
        for moments in target.reference.values():
            assert float((moments.mean_stderr / moments.sd).max()) < 0.01
            assert bool((moments.quantiles.diff(dim=0) > 0).all())
        with pytest.raises(ValueError, match=f"`{name}` has no exact draws"):
            target.draws(10)


def _written() -> Iterator[tuple[str, dict]]:
    for name in targets.TARGETS:
        if files("jensen.datasets.targets").joinpath(f"{name}.json").is_file():
            yield name, targets.moments.read_moments(name)[1]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`sd`: expected numbers of 0 or more"):
        targets.Moments(torch.zeros(2), -torch.ones(2), torch.zeros(5, 2))
    with pytest.raises(ValueError, match=r"`quantiles`: expected the shape \(5, 2\), got \(4, 2\)"):
        targets.Moments(torch.zeros(2), torch.ones(2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="`num`: expected a positive number"):
        targets.load("funnel").draws(0)
