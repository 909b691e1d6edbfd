"""The alignment autoencoder: letters and codes, checks, and mutation effects against quadrature over the latent."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import spearmanr

from jensen.datasets import simulated_alignment, split
from jensen.inference import (
    SVI,
    DataError,
    ModelError,
    TraceMeanField_ELBO,
    log_evidence,
    mutation_effects,
    mutation_scan,
)
from jensen.models import VAE, AlignmentVAE


@pytest.fixture(scope="module")
def tiny():
    """Two coupled columns of three letters, one latent dimension."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    x = torch.tensor([[0, 0], [0, 0], [1, 1], [1, 1], [0, 1], [2, 2]]).repeat(10, 1)
    method = SVI(TraceMeanField_ELBO(4), steps=400, lr=2e-2, compile="trace", progress=False)
    fit = method.fit(AlignmentVAE(2, 1, hidden=(6,), letters="AC-"), x, seed=0)
    torch.set_default_dtype(before)
    return fit


def exact(model, x):
    """log p(x) by the trapezoidal rule over z, exact to rounding for a smooth integrand."""
    z = torch.linspace(-9, 9, 3_001, dtype=torch.float64)
    with torch.no_grad():
        log_probs = model.decoder(z.unsqueeze(-1)).log_softmax(-1)
    site = torch.arange(x.shape[-1])
    inside = log_probs[:, site, x].sum(-1) - 0.5 * z.square() - 0.5 * math.log(2 * math.pi)
    return float(inside.logsumexp(0) + math.log(18 / 3_000))


def test_evidence_and_effects_against_quadrature(tiny):
    evidence = {(a, b): exact(tiny.model, torch.tensor([a, b])) for a in range(3) for b in range(3)}
    assert sum(math.exp(value) for value in evidence.values()) == pytest.approx(1.0, abs=1e-9)
    effects = mutation_effects(tiny, "AA", ["A1C", "A2C", "A1C:A2C", "A2-"], num_particles=4_000, seed=1)
    expected = [evidence[key] - evidence[0, 0] for key in ((1, 0), (0, 1), (1, 1), (0, 2))]
    for found, error, value in zip(effects.value, effects.stderr, expected, strict=True):
        assert error < 0.1
        assert abs(found - value) < 5 * error + 1e-9
    assert effects.wild_type.value == pytest.approx(evidence[0, 0], abs=5 * effects.wild_type.stderr)
    assert effects["A1C:A2C"].value == float(effects.value[2])
    assert (effects.pareto_k < 0.7).all()
    assert "A1C" in repr(effects)


def test_a_scan_holds_the_single_mutants(tiny):
    scan = mutation_scan(tiny, torch.tensor([0, 1]), num_particles=300, seed=4)
    assert scan.matrix.shape == (2, 2)
    assert scan.matrix[0, 0] == scan.matrix[1, 1] == 0
    assert scan.names == ("A1A", "A1C", "C2A", "C2C")
    one = mutation_effects(tiny, "AC", ["A1C", "C2A"], num_particles=300, seed=4)
    torch.testing.assert_close(one.value, torch.stack([scan.matrix[0, 1], scan.matrix[1, 0]]))
    assert mutation_scan(tiny, "AC", num_particles=5, gaps=True).matrix.shape == (2, 3)
    numbered = mutation_effects(tiny, "AC", ["A30C"], positions=[30, 41], num_particles=300, seed=4)
    assert numbered.value[0] == one.value[0]
    with pytest.raises(DataError, match="Only a scan has a matrix"):
        _ = one.matrix
    with pytest.raises(KeyError, match="no mutant 'A1G'"):
        one["A1G"]


@pytest.mark.parametrize("wild_type", ["-C", "A-"])
def test_the_names_of_a_scan_are_mutations(tiny, wild_type):
    scan = mutation_scan(tiny, wild_type, num_particles=40, seed=4, gaps=True)
    again = mutation_effects(tiny, wild_type, scan.names, num_particles=40, seed=4)
    assert again.names == scan.names
    torch.testing.assert_close(again.value, scan.value)
    both = mutation_effects(tiny, "-C", ["-1A:C2-"], num_particles=4_000, seed=4)  # from -C to A-
    expected = exact(tiny.model, torch.tensor([0, 2])) - exact(tiny.model, torch.tensor([2, 1]))
    assert abs(both.value[0] - expected) < 5 * both.stderr[0]


def test_common_random_numbers_help(tiny):
    """The paired error is what repeats show, and less than independent draws would have."""
    runs = [mutation_effects(tiny, "CC", ["C1A"], num_particles=200, seed=seed) for seed in range(30)]
    values = torch.stack([run.value[0] for run in runs])
    claimed = torch.stack([run.stderr[0] for run in runs]).square().mean().sqrt()
    assert 0.5 < float(values.std() / claimed) < 1.8


@pytest.mark.parametrize(
    ("wild_type", "mutations", "message"),
    [
        ("AAA", ["A1C"], "`wild_type`: `sequences` must have 2 letters each"),
        ("AG", ["A1C"], "must be written in 'AC-', got 'G'"),
        ("AA", ["C1A"], "'C1A' replaces 'C', but the wild type has 'A' at 1"),
        ("AA", ["A3C"], "is at position 3, which is no column of the model; they go by 1 to 2"),
        ("AA", ["A1W"], "puts in 'W', which is not in the alphabet"),
        ("AA", ["1A"], 'expected such as "A23G"'),
        ("AA", ["A1C:A1-"], "'A1C:A1-' changes position 1 twice"),
        ("AA", ["A1C:A2C:A1C"], "changes position 1 twice"),
        ("AA", "A1C", "must be a list"),
        (torch.tensor([0, 7]), ["A1C"], "must be one sequence"),
    ],
)
def test_what_is_no_mutation_is_refused(tiny, wild_type, mutations, message):
    with pytest.raises(DataError, match=message):
        mutation_effects(tiny, wild_type, mutations)


def test_other_models_have_no_mutations(tiny):
    x = (torch.rand(6, 3) > 0.5).float()
    with pytest.raises(ModelError, match="`VAE` has no `letters`"):
        mutation_effects(SVI(steps=1, compile=False).fit(VAE(3, 1, hidden=(2,)), x), "AAA", ["A1C"])


def test_learns_a_family():
    data = split(simulated_alignment(400, 15, num_clades=3, between=2.0, within=0.1, seed=1), test_size=80)
    method = SVI(
        TraceMeanField_ELBO(),
        steps=1_000,
        lr=5e-3,
        batch_size=64,
        optimizer_options={"weight_decay": 1e-4},
        compile="trace",
    )
    fit = method.fit(AlignmentVAE(15, hidden=(30,)), data.train, seed=0)
    x = data.test["x"]
    found = log_evidence(fit, data.test, num_particles=200).per_datum.value
    # against columns that know nothing of one another
    counts = torch.stack([torch.bincount(column, minlength=21) for column in data.train["x"].T]) + 1 / 21
    independent = (counts / counts.sum(1, keepdim=True)).log()[torch.arange(15), x].sum(1).mean()
    assert found > float(independent) + 1.0
    assert fit.model.embed(data.train["x"]).shape == (320, 2)
    scan = mutation_scan(fit, x[0], num_particles=50)
    assert spearmanr(scan.matrix.flatten(), data.truth["profiles"].log().flatten())[0] > 0.2


def test_letters_and_codes():
    model = AlignmentVAE(4)
    codes = model.encode_letters(["ACDY", "A.-Y"])
    assert codes.tolist() == [[0, 1, 2, 19], [0, 20, 20, 19]]
    assert model.decode_letters(codes) == ["ACDY", "A--Y"]
    with pytest.raises(ValueError, match=r"must be written in .* got 'X' in number 1"):
        model.encode_letters(["ACDY", "ACDX"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_columns": 0}, "`num_columns` must be positive, got 0"),
        ({"num_columns": 3, "letters": "AA-"}, "`letters` must be two or more different letters"),
        ({"num_columns": 3, "latent_dim": 0}, "must be positive, got 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AlignmentVAE(**arguments)


def test_bad_data_are_refused():
    model = AlignmentVAE(3)
    x = torch.zeros(4, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"integer codes 0, ..., 20"):
        model.check_data(x + 21)
    with pytest.raises(ValueError, match=r"`weight` must be a vector \(N,\)"):
        model.check_data(x, torch.ones(4, 1))
    with pytest.raises(ValueError, match="`weight` must not be negative"):
        model.check_data(x, torch.tensor([1.0, -1.0, 1.0, 1.0]))
