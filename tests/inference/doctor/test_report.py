"""What a report says of sound pairs, how it prints, and what an examination leaves alone."""

from __future__ import annotations

import copy
import io

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from rich.console import Console

from jensen.inference.doctor import Report, examine
from jensen.inference.pair.supports.support_sets import covers, support_text
from jensen.models import (
    VAE,
    BayesianLogisticRegression,
    GaussianMixture,
    LatentVariableModel,
    LinearGaussian,
    VampPrior,
)


class LogisticRegression(LatentVariableModel):
    """The README's model."""

    def __init__(self, num_features):
        super().__init__()
        self.num_features = num_features

    def model(self, x, y=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(self.num_features), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


SOUND = {
    "readme": (lambda: LogisticRegression(30), "TraceMeanField_ELBO"),
    "logistic": (lambda: BayesianLogisticRegression(4), "TraceMeanField_ELBO"),
    "mixture": (lambda: GaussianMixture(3, 2), "TraceEnum_ELBO"),
    "linear": (lambda: LinearGaussian(4, 2), "TraceMeanField_ELBO"),
    "vae": (lambda: VAE(16, 2, hidden=(8,)), "TraceMeanField_ELBO"),
    "vamp": (lambda: VAE(16, 2, hidden=(8,), prior=VampPrior((16,), 3)), "Trace_ELBO"),
}


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    return {name: examine(build()) for name, (build, _) in SOUND.items()}


@pytest.mark.parametrize("name", SOUND)
def test_sound_models_pass_clean(reports, name):
    report = reports[name]
    assert report.ok, report
    assert not report.warnings, report
    assert report.exit_code == 0
    assert report.recommended == SOUND[name][1]
    assert report.vectorized
    assert report.traced
    assert all(row.gradient == "yes" for row in report.parameters)
    assert report.parameters


def rows(report):
    return {row.name: row for row in report.sites}


def test_sites_say_what_they_are(reports):
    w, y = rows(reports["readme"]).values()
    assert (w.kind, w.scope, w.event_shape, w.support, w.kl, w.gradient) == (
        "latent", "global", (30,), "real", "analytic", "pathwise",
    )  # fmt: skip
    assert (y.kind, y.scope, y.plates, y.support, y.kl, y.gradient) == (
        "observed", "local", (("data", 20),), "{0, 1}", "", "",
    )  # fmt: skip
    assignment = rows(reports["mixture"])["assignment"]
    assert (assignment.kl, assignment.gradient) == ("summed out", "enumerated in model")
    assert assignment.support == "{0, …, 2}"
    z = rows(reports["vae"])["z"]
    assert (z.scope, z.batch_shape, z.event_shape, z.guide, z.kl) == ("local", (20,), (2,), "Normal", "analytic")


def test_a_kl_that_is_not_analytic_says_why():
    def model(x):
        s = pyro.sample("s", dist.Gamma(2.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, s), obs=x)

    direct = rows(examine(model, None, torch.randn(9)))["s"]
    assert (direct.kl, direct.gradient, direct.support) == ("Monte Carlo", "pathwise", "positive")
    assert direct.note == "no closed form for TransformedDistribution against Gamma"
    through = rows(examine(model, AutoNormal, torch.randn(9)))
    assert through["s"].note == "the guide draws it through a transform"
    assert through["s_unconstrained"].kind == "auxiliary"


def test_objectives_are_asked_and_tried(reports):
    readme = {row.name: row for row in reports["readme"].objectives}
    assert readme["Trace_ELBO"].full_batch
    assert readme["Trace_ELBO"].mini_batch
    assert readme["IWAE"].full_batch
    assert not readme["IWAE"].mini_batch
    assert "global latents (`w`)" in readme["IWAE"].note
    assert not readme["TraceEnum_ELBO"].full_batch
    vae = {row.name: row for row in reports["vae"].objectives}
    assert all(row.mini_batch for name, row in vae.items() if name != "TraceEnum_ELBO")


def test_discrete_draws_rule_out_pathwise_objectives(broken):
    report = examine(broken.SampledAssignment(), None, torch.randn(12, 3))
    by_name = {row.name: row for row in report.objectives}
    assert not by_name["STL"].full_batch
    assert "`c` (Categorical) has none" in by_name["STL"].note
    assert by_name["TraceEnum_ELBO"].full_batch
    assert report.recommended == "TraceEnum_ELBO"
    assert rows(report)["c"].gradient == "score function"


def test_objectives_are_not_judged_before_the_sites_are_mended(broken):
    report = examine(broken.Misnamed(), None, torch.randn(12, 3))
    assert all(row.full_batch is None for row in report.objectives)
    assert report.recommended is None
    assert rows(report)["z"].gradient == "missing"
    assert rows(report)["zz"].kind == "guide only"


def shown(report, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(report)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", SOUND)
def test_tables_fit_a_terminal(reports, name, width):
    text = shown(reports[name], width)
    assert max(map(len, text.splitlines())) <= width
    for words in ("gradient", "mini-batch", "no fault", *rows(reports[name])):
        assert words in text


def test_faults_are_printed_with_code_and_cure(broken):
    report = examine(broken.ManyFaults(), None, torch.randn(12, 3))
    for text in (shown(report, 80), str(report), repr(report)):
        flat = " ".join(text.split())
        assert "Rename `zed` in the guide to `z`." in flat
        assert "[hand-set-scale]" in flat
        assert flat.endswith("4 faults")
        assert max(map(len, text.splitlines())) <= 100


def test_long_parameter_lists_are_cut_but_not_those_in_trouble(broken):
    model = VAE(16, 2, hidden=(8,) * 8)
    model.forgotten = torch.nn.Parameter(torch.zeros(2))
    text = str(examine(model))
    assert "forgotten" in text
    assert "more, in order" in text


def test_an_examination_changes_nothing():
    model = GaussianMixture(3, 2)
    before = copy.deepcopy(model.state_dict())
    state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    examine(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == dtype
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not list(pyro.get_param_store().keys())


def test_plain_programs_and_guides_are_taken_as_they_are():
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w, 1.0), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.tensor(0.0))
        pyro.sample("w", dist.Normal(loc, 1.0))

    report = examine(model, guide, torch.randn(9))
    assert report.ok, report
    assert (report.guide, report.parameters[0].name, report.parameters[0].owner) == ("guide", "loc", "pyro.param")
    assert examine(model, lambda program: guide, torch.randn(9)).ok
    assert examine(model, "lowrank", torch.randn(9)).ok


def mixture(components):
    return dist.MixtureSameFamily(dist.Categorical(torch.ones(3)), components).support


@pytest.mark.parametrize(
    ("components", "text", "holds_all_reals", "holds_the_unit_interval"),
    [
        (dist.Normal(torch.zeros(3, 2), 1.0).to_event(1), "real", True, True),
        (dist.LogNormal(torch.zeros(3), 1.0), "positive", False, True),
        (dist.Uniform(torch.zeros(3), torch.tensor([0.5, 1.0, 2.0])), "(0, 2)", False, True),
        (dist.Uniform(torch.zeros(3, 2), torch.tensor([[0.1], [0.2], [0.5]])).to_event(1), "(0, 0.5)", False, False),
    ],
    ids=["normal", "lognormal", "uniform", "uniform-vector"],
)
def test_a_mixture_has_the_support_of_its_components(components, text, holds_all_reals, holds_the_unit_interval):
    support = mixture(components)
    assert support_text(support) == text
    assert covers(support, dist.Normal(0.0, 1.0).support) is holds_all_reals
    assert covers(support, dist.Uniform(0.0, 1.0).support) is holds_the_unit_interval
    assert covers(support, support)
