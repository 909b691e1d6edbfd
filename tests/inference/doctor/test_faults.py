"""Every fault is found, named and given its cure; nothing else is called a fault."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference.doctor import examine

# model: (code, what it is about, words of the message, words of the cure)
FAULTS = {
    "Misnamed": ("missing-site", "z", "lacks the model's latent `z`, and samples `zz`", "Rename `zz`"),
    "ExtraSite": ("extra-site", "u", "samples `u`, which the model does not have", "is_auxiliary"),
    "SamplesData": ("observed-site", "x", "samples `x`, which the model observes", "Remove `x` from the guide"),
    "ObservesInTheGuide": ("observed-in-guide", "u", "The guide observes `u`", "Remove the statement"),
    "NoEvent": ("shape-mismatch", "z", r"event shape \(2,\) in the model, .* event shape \(1,\)", r"shape \(12, 2\)"),
    "WrongSplit": ("shape-mismatch", "w", "batch shape", r"add `\.to_event\(1\)` to the guide's"),
    "OutsideInTheGuide": ("plate-mismatch", "z", "plate `data` only in the model", "in the guide too"),
    "GammaScale": ("support-mismatch", "scale", r"from a Normal \(real\), but the model's Gamma", "LogNormal"),
    "Weights": ("support-mismatch", "p", "support: simplex", "Dirichlet"),
    "PlateOfAnotherSize": ("plate-size", "data", "has size 100, and the batch has 12 data", r"len\(x\)"),
    "PlateOfFixedSize": ("plate-size", "data", "has size 12 whatever it is given", r"len\(x\)"),
    "NoPlate": ("no-data-plate", "x", "No plate named `data`", r"pyro.plate\(\"data\", len\(x\)\)"),
    "PlateNamedOtherwise": ("no-data-plate", "x", "No plate named `data`", "Rename the plate `observations`"),
    "OutsideThePlate": ("outside-data-plate", "y", "outside the plate `data`", "Move it into"),
    "Loop": ("sequential-plate", "x_0", "loop over the data", "as a context"),
    "PythonLoop": ("site-per-datum", "x_0", "one site for every datum", "all data at once"),
    "ScaledByHand": ("hand-set-scale", "x", "scales `x` by 10 itself", "Remove `poutine.scale`"),
    "Subsampled": ("hand-set-scale", "data", "subsamples 4 of 12", r"SVI\(batch_size=4\)"),
    "UnusedParameter": ("no-gradient", "forgotten", "`forgotten` .* receives no gradient", "requires_grad_"),
    "Detached": ("no-gradient", "encoder.weight", "`encoder.bias` .* receive no gradient", r"\.detach\(\)"),
    "DeadUnit": ("no-gradient", "shift", "exactly zero, at the start and near it", "a clamp"),
    "ScaleOfZero": ("non-finite", "z", "`log q` of `z` is not finite .* its `scale` is not positive", "away from 0"),
    "LogOfNegative": ("non-finite", "x", "`log p` of `x` is not finite .* its `scale` is not finite", "start"),
    "HiddenDimension": ("hidden-dimension", "w", r"`w` .* batch shape \(5,\)", r"Add `\.to_event\(1\)`"),
    "FeaturesInTheBatch": ("hidden-dimension", "x", "fails at the site `x`", r"`\.to_event\(1\)`"),
    "ColumnOfLabels": ("hidden-dimension", "y", r"shape \(12, 1\), its distribution \(12,\)", r"y\.squeeze\(-1\)"),
    "CountLatent": ("missing-site", "n", "discrete without finite support", "marginalise it by hand"),
    "OnCuda": ("device", "", r"x\.to\('cuda'\)", "Leave the device out"),
    "Double": ("dtype", "", "`m` is float64 in a float32 fit", "Leave the number type out"),
    "SingleOnly": ("dtype", "", "the model fails in float64", "Leave the number type out"),
    "UnusedArgument": ("unused-argument", "x", "`x` change nothing in the model", "obs=x"),
    "NothingObserved": ("nothing-observed", "", "Nothing is observed: every site of the model is drawn", "obs=x"),
    "ChangingSites": ("changing-structure", "more", "`more` is there in some runs only", "torch.where"),
    "SharedName": ("shared-parameter", "loc", "both declare the parameter `loc`", "different names"),
    "TwiceTheSame": ("repeated-site", "m", "samples `m` twice", "its own name"),
    "PlateTwice": ("repeated-plate", "data", "model declares the plate `data` more than once", "with plate:"),
    "GuideTakesLess": ("guide-arguments", "y", "takes no argument `y`", r"def guide\(self, x, y\)"),
    "Raises": ("program", "", r"after the site `m` \(broken_models.py:\d+\): .*'missing'", "Mend the program"),
    "Counts": ("data", "x", "in row 0 and 11 more such values, outside the support of its Poisson", "Pass counts"),
    "NothingToFit": ("no-parameters", "", "nothing to fit", "nn.Parameter"),
}
NOTES = {
    "RandomEffects": ("per-datum-parameters", "z", "without amortisation: the automatic guide", "Write a `guide`"),
    "RowsOfItsOwn": ("per-datum-parameters", "z", r"each of the 12 data \(`table`\)", "computes the parameters"),
    "RowsByStatement": ("per-datum-parameters", "z", r"each of the 12 data \(`loc`\)", "computes the parameters"),
}
WARNINGS = {
    "SampledAssignment": ("score-function", "c", "discrete latent `c`", "summed out exactly"),
    "Dropout": ("hidden-noise", "x", "noise outside of `pyro.sample`", "sample it"),
    "PlainTensor": ("plain-tensor", "shift", "neither a parameter nor a buffer", "register_buffer"),
    "BuiltInSingle": ("dtype", "", "the model fails in float64", "PyroSample"),
    "Counting": ("not-traced", "", "A run of the program changes `model.calls`", "register_buffer"),
    "Untraceable": ("not-traced", "", "reads a tensor's value", "torch.where"),
}
SEVERAL = {"ScaleOfZero", "LogOfNegative"}  # the same fault seen twice: the parameter, and the density


def data_for(model, name):
    if name == "Counts":
        return {"x": torch.rand(12)}
    data = {"x": torch.randn(12, 3)}
    return data | {"y": torch.randn(12)} if "y" in model.arguments else data


def report_on(broken, name):
    model = getattr(broken, name)()
    return examine(model, None, data_for(model, name))


def match(findings, expected):
    import re

    code, where, message, cure = expected
    found = [f for f in findings if f.code == code and f.where == where]
    assert found, [f"{f.code} {f.where}: {f.message}" for f in findings]
    assert re.search(message, found[0].message), found[0].message
    assert re.search(cure, found[0].cure), found[0].cure


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named_with_its_cure(broken, name):
    report = report_on(broken, name)
    match(report.faults, FAULTS[name])
    assert not report.ok
    assert report.exit_code == 1
    if name not in SEVERAL:
        assert len(report.faults) == 1, [f.message for f in report.faults]


@pytest.mark.parametrize("name", WARNINGS)
def test_what_only_costs_is_a_warning(broken, name):
    report = report_on(broken, name)
    match(report.warnings, WARNINGS[name])
    assert report.ok


@pytest.mark.parametrize("name", NOTES)
def test_what_is_good_to_know_is_a_note(broken, name):
    report = report_on(broken, name)
    match(report.notes, NOTES[name])
    assert report.ok


def test_all_faults_are_found_at_once(broken):
    report = report_on(broken, "ManyFaults")
    assert {f.code for f in report.faults} == {"missing-site", "hand-set-scale", "device", "no-gradient"}
    assert all(f.cure for f in report.faults)


def test_missing_site_without_a_likely_name(broken):
    report = report_on(broken, "EmptyGuide")
    cure = r"batch shape \(12,\) and event shape \(2,\)"
    match(report.faults, ("missing-site", "z", "lacks the model's latent `z`", cure))


@pytest.mark.parametrize("name", ["Local", "Mean"])
def test_sound_models_have_no_finding(broken, name):
    report = report_on(broken, name)
    assert report.ok, report
    assert not report.warnings, report
    assert report.vectorized
    assert report.traced


@pytest.mark.parametrize("name", ["Local", "GammaScale", "UnusedParameter", "ScaledByHand"])
def test_the_same_verdict_in_double_precision(broken, name, float64):
    report = report_on(broken, name)
    assert report.ok == (name == "Local"), report
    if not report.ok:
        match(report.faults, FAULTS[name])


def _comes_and_goes(x):
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    w = pyro.sample("w", dist.Normal(0.0, 1.0)) if z > 0 else 0.0
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(z + w, 1.0), obs=x)


def _guide_that_comes_and_goes(x):
    loc = pyro.param("loc", torch.zeros(()))
    if pyro.sample("z", dist.Normal(loc, 1.0)) > 0:
        pyro.sample("w", dist.Normal(0.0, 1.0))


def _ends_anywhere(x):
    """Another number of sites in every run, whatever is drawn."""
    for row in range(int(torch.randint(1, 5, ()))):
        z = pyro.sample(f"z{row}", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


@pytest.mark.parametrize(
    ("model", "guide", "said"),
    [
        (_comes_and_goes, None, "The model's sites depend on its own draws: `w` is there in some runs only."),
        (
            _comes_and_goes,
            _guide_that_comes_and_goes,
            "The sites of model and guide depend on their own draws: `w` is there in some runs only.",
        ),
        (_ends_anywhere, None, "The model's sites depend on its own draws: `z1` is there in some runs only."),
    ],
)
def test_a_changing_site_is_listed_once(model, guide, said):
    """Not also as one that the guide lacks, or has beyond the model, nor once for each of the two."""
    report = examine(model, guide, {"x": torch.randn(10)})
    assert [fault.message for fault in report.faults] == [said]
