"""Checks of arguments: the messages name the argument of the model at hand and a cure that is true."""

from __future__ import annotations

import pytest
import torch

from jensen.inference import SVI
from jensen.models import (
    VAE,
    VQVAE,
    AutoregressiveBernoulli,
    BayesianLogisticRegression,
    ConditionalVAE,
    FactorAnalysis,
    FlowPosterior,
    FlowPrior,
    HiddenMarkovModel,
    HierarchicalVAE,
    InpaintingVAE,
    SemiSupervisedVAE,
)

CONDITIONAL = {"data_shape": 4, "latent_dim": 2, "num_covariates": 3, "hidden": (5,)}


@pytest.mark.parametrize(
    "act",
    [
        lambda model: model.check_data(y=torch.zeros(6, 4)),
        lambda model: model.generate(5, y=torch.zeros(4)),
        lambda model: model.reconstruct(torch.zeros(2, 4), torch.zeros(2, 4)),
        lambda model: SVI(progress=False).fit(model, {"y": torch.zeros(6, 4), "x": torch.eye(4)[[0, 1, 2, 3, 0, 1]]}),
    ],
)
def test_covariates_of_another_size_name_their_argument(act):
    with pytest.raises(ValueError, match=r"`y` must have shape \(N, 3\), .* Build the model with num_covariates=4 or"):
        act(ConditionalVAE(**CONDITIONAL))


def test_what_is_no_matrix_is_to_be_reshaped():
    message = r"`{}` must have shape \(N, 3\), one column per feature of the model, got {}. Reshape it: a row a datum"
    with pytest.raises(ValueError, match=message.format("y", r"\(\)")):
        ConditionalVAE(**CONDITIONAL).generate(5, y=1.0)
    for shape, shown in (((7,), r"\(7,\)"), ((7, 2, 3), r"\(7, 2, 3\)")):
        with pytest.raises(ValueError, match=message.format("x", shown)):
            FactorAnalysis(3, 1).check_data(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"Build the model with num_features=5 or select the columns"):
        FactorAnalysis(3, 1).check_data(torch.zeros(7, 5))


@pytest.mark.parametrize("num", [2.5, 0, "3"])
def test_a_number_of_data_is_whole(num):
    with pytest.raises(ValueError, match=rf"`num` must be a positive whole number of data to draw, got {num!r}"):
        ConditionalVAE(**CONDITIONAL).generate(num, y=torch.zeros(3))


@pytest.mark.parametrize(
    "build",
    [
        lambda **hidden: VAE(16, 2, **hidden),
        lambda **hidden: VQVAE(16, 4, 2, **hidden),
        lambda **hidden: ConditionalVAE(16, 2, num_classes=2, **hidden),
        lambda **hidden: HierarchicalVAE(16, (3, 2), **hidden),
        lambda **hidden: InpaintingVAE(16, 2, **hidden),
        lambda **hidden: SemiSupervisedVAE(16, 2, 2, **hidden),
        lambda **hidden: FlowPosterior(2, 4, **hidden),
        lambda **hidden: FlowPrior(2, **hidden),
        lambda **hidden: AutoregressiveBernoulli((4, 4), **hidden),
    ],
)
def test_widths_are_a_sequence(build):
    with pytest.raises(ValueError, match=r"`hidden` must be a sequence of sizes, .* got 32\. Write \(32,\)\."):
        build(hidden=32)
    with pytest.raises(ValueError, match="must be positive, got 0"):
        build(hidden=(0,))


def test_the_upper_widths_of_a_hierarchy_are_a_sequence():
    with pytest.raises(ValueError, match="`upper_hidden` must be a sequence of sizes"):
        HierarchicalVAE(16, (3, 2), upper_hidden=32)


LABELLED = {
    "logistic regression": lambda y, c: BayesianLogisticRegression(1, num_classes=c).check_data(y[:, None] * 0.0, y),
    "conditional": lambda y, c: ConditionalVAE(4, 2, num_classes=c, hidden=(5,)).check_data(y=y),
    "semi-supervised": lambda y, c: SemiSupervisedVAE(4, c, 2, hidden=(5,)).check_data(None, y),
}


@pytest.mark.parametrize("check", LABELLED.values(), ids=LABELLED)
@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 1, 2], 2, r"got 2 \(the labels are 0, 1, 2\)\. Build the model with num_classes=3\."),
        ([1, 2, 1], 2, r"got 2 \(the labels are 1, 2\)\. Count the classes from 0: pass `y - 1`\."),
        ([1, 2, 3], 2, r"got 2 \(the labels are 1, 2, 3\)\. Build the model with num_classes=3, and pass `y - 1`\."),
        ([10, 20, 10], 2, r"got 10 \(the labels are 10, 20\)\. Recode the labels: .*return_inverse=True"),
        ([0.5, 1.5, 0.5], 2, r"got 0\.5 .* `torch.unique\(y, return_inverse=True\)\[1\]` counts them from 0"),
        ([0, 7, 3], 4, r"got 7 \(the labels are 0, 3, 7\)\. Build the model with num_classes=8\."),
        ([0, float("nan"), 1], 2, r"got nan \(the labels are 0, 1\)\. Leave out the rows without a label"),
    ],
)
def test_labels_say_what_they_hold_and_what_to_do(check, labels, classes, message):
    """Three classes where two are the default, classes counted from one, codes of another kind, missing labels."""
    with pytest.raises(ValueError, match=message):
        check(torch.tensor(labels, dtype=torch.float64), classes)


def test_the_cures_of_labels_are_true():
    model = BayesianLogisticRegression(1)
    x, signs = torch.zeros(2, 1), torch.tensor([-1.0, 1.0])
    with pytest.raises(ValueError, match=r"got -1 \(the labels are -1, 1\)\. Recode the labels: pass `\(y \+ 1\) / 2`"):
        model.check_data(x, signs)
    model.check_data(x, (signs + 1) / 2)
    one_hot = torch.eye(2)
    with pytest.raises(ValueError, match=r"shape \(2, 2\)\. Of one-hot rows, pass `y.argmax\(1\)`"):
        model.check_data(x, one_hot)
    model.check_data(x, one_hot.argmax(1))
    with pytest.raises(ValueError, match=r"shape \(2, 1\)\. Pass `y\[:, 0\]`"):
        model.check_data(x, one_hot[:, :1])
    odd = torch.tensor([3.0, 1_000_000.0])
    with pytest.raises(ValueError, match="return_inverse=True"):
        model.check_data(x, odd)
    model.check_data(x, torch.unique(odd, return_inverse=True)[1])


def test_codes_beyond_the_categories_name_the_option():
    with pytest.raises(ValueError, match=r"got 3 in sequence 0, step 1\. Recode .* with more `num_categories`"):
        HiddenMarkovModel(2, num_categories=3).check_data(torch.tensor([[0, 3]]))
    with pytest.raises(ValueError, match=r"got 3\. Recode them from 0, .*`num_categories`"):
        VAE(2, 1, likelihood="categorical", num_categories=3, hidden=(4,)).check_data(torch.tensor([[0, 3]]))
