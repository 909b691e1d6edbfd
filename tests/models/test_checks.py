"""Checks of arguments: the messages name the argument of the model at hand and a cure that is true."""

from __future__ import annotations

import pytest
import torch

from jensen.inference import SVI
from jensen.models import (
    VAE,
    VQVAE,
    AutoregressiveBernoulli,
    ConditionalVAE,
    FactorAnalysis,
    FlowPosterior,
    FlowPrior,
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
    message = r"`{}` must have shape \(N, 3\), one column a feature of the model, got {}. Reshape it: a row a datum"
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
