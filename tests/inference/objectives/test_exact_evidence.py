"""Every objective with every guide, against the exact evidence of the linear-Gaussian models."""

from __future__ import annotations

import pytest
import torch

from jensen.inference import (
    IWAE,
    STL,
    BetaELBO,
    CapacityELBO,
    DReG,
    ModelError,
    Renyi,
    Trace_ELBO,
    TraceMeanField_ELBO,
)
from jensen.inference.guides import GUIDES, build_guide
from jensen.inference.pair.program import Program

OBJECTIVES = [
    Trace_ELBO(2),
    TraceMeanField_ELBO(2),
    STL(2),
    IWAE(5),
    Renyi(0.5, 5),
    Renyi(1.0, 5),
    DReG(5),
    BetaELBO(3.0, 2),
    CapacityELBO(2.0, num_particles=2),
]
PATHWISE_AT_OPTIMUM = [STL(2), DReG(2)]


def set_exact(name, guide, posterior):
    """Set a default guide to a normal posterior with diagonal covariance."""
    loc, scale = posterior.loc, posterior.covariance_matrix.diagonal().sqrt()
    with torch.no_grad():
        if name == "normal":
            guide.loc_w.copy_(loc)
            guide.log_scale_w.copy_(scale.log())
        elif name == "multivariate_normal":
            guide.loc.copy_(loc)
            guide.scale = scale
        elif name == "lowrank":
            guide.loc.copy_(loc)
            guide.scale = scale
            guide.cov_factor.zero_()
        elif name == "iaf":
            (transform,) = guide.transform.parts if hasattr(guide.transform, "parts") else (guide.transform,)
            for parameter in transform.parameters():
                parameter.zero_()
            transform.arn.layers[-1].bias.copy_(torch.cat([loc, scale.log()]))
        else:
            for parameter in guide.flow.parameters():
                parameter.zero_()
            guide.loc.copy_(loc)
            guide.log_scale.copy_(scale.log())


@pytest.fixture(params=GUIDES)
def fitted(request, regression):
    """The regression with each default guide set to its exact posterior."""
    model, data, evidence = regression
    guide = build_guide(request.param, model, data)
    set_exact(request.param, guide, model.exact_posterior(data)["w"])
    return Program(model, guide), data, evidence


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_every_bound_is_the_evidence_at_the_exact_posterior(objective, fitted, numerics):
    program, data, evidence = fitted
    if isinstance(objective, CapacityELBO):
        with pytest.raises(ModelError, match="is a global latent"):
            objective.check(program.structure(data))
        return
    values = numerics.bounds(objective, program, data, repeats=200)
    numerics.agree(values, evidence)
    if not objective.analytic_kl:  # the log weight is constant: no noise at all
        assert float((values - evidence).abs().max()) < 1e-8


@pytest.mark.parametrize("objective", PATHWISE_AT_OPTIMUM, ids=repr)
def test_path_derivatives_vanish_at_the_exact_posterior(objective, fitted, numerics):
    program, data, _ = fitted
    gradient = numerics.flat(numerics.gradient(objective, program, data, program.parameters()))
    assert float(gradient.abs().max()) < 1e-8
    noisy = numerics.flat(numerics.gradient(Trace_ELBO(2), program, data, program.parameters()))
    assert float(noisy.abs().max()) > 1e-3


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("guide", GUIDES)
def test_bounds_stay_below_the_evidence_with_a_global_latent(objective, guide, regression, numerics):
    model, data, evidence = regression
    program = Program(model, build_guide(guide, model, data))
    if isinstance(objective, CapacityELBO):
        return
    numerics.at_most(numerics.bounds(objective, program, data, repeats=100), evidence)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("guide", [None, *GUIDES])
def test_bounds_stay_below_the_evidence_with_local_latents(objective, guide, gaussian, numerics):
    model, data, evidence = gaussian
    program = Program(model, build_guide(guide, model, data))
    if isinstance(objective, CapacityELBO) and program.structure(data).global_latents:
        with pytest.raises(ModelError, match="is a global latent"):
            objective.check(program.structure(data))
        return
    objective.check(program.structure(data))
    numerics.at_most(numerics.bounds(objective, program, data, repeats=100), evidence)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_an_amortised_exact_posterior_reaches_the_evidence_on_any_batch(objective, gaussian, numerics):
    model, data, evidence = gaussian
    model.set_exact_guide()
    program = Program(model)
    numerics.agree(numerics.bounds(objective, program, data, repeats=200), evidence)
    rows = {"x": data["x"][:2]}
    part = 3.0 * float(model.log_evidence(rows).sum().detach())
    numerics.agree(numerics.bounds(objective, program, rows, repeats=200, data_size=6), part)


def test_the_mean_field_optimum_has_the_known_gap(gaussian, numerics):
    # KL(q || p) between the mean-field optimum and the posterior: half the log ratio of determinants, per datum
    model, data, evidence = gaussian
    diagonal = type(model)(3, 2, posterior="diagonal").double()
    diagonal.load_state_dict({k: v for k, v in model.state_dict().items() if "guide_scale" not in k}, strict=False)
    diagonal.set_exact_guide()
    precision = torch.linalg.inv(diagonal.exact_posterior(data)["z"].covariance_matrix[0])
    gap = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision)) * len(data["x"])
    for objective in (Trace_ELBO(2), TraceMeanField_ELBO(2), STL(2)):
        values = numerics.bounds(objective, Program(diagonal), data, repeats=1000)
        numerics.agree(values, evidence - float(gap.detach()))
