"""The pictures of a protein family hold what they were given, and refuse what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jensen.inference import ConfigurationError
from jensen.studies.pictures.alignments import alignment_picture, mutation_heat_map, sequence_map

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def test_pictures_hold_points_and_matrix():
    means, shade = torch.randn(7, 3), torch.arange(7.0)
    matrix = -torch.rand(3, 20)
    points = sequence_map(means, shade, "identity").axes[0].collections[0]
    assert points.get_offsets().shape == (7, 2)
    drawn = mutation_heat_map(matrix, "AC-", LETTERS).axes[0]
    grid = np.asarray(drawn.images[0].get_array())
    labels = [label.get_text() for label in drawn.get_yticklabels()]
    assert sorted(labels) == sorted(LETTERS)
    assert grid[labels.index("W"), 1] == pytest.approx(float(matrix[1, LETTERS.index("W")]))
    assert len(drawn.collections[0].get_offsets()) == 2  # the gap has no row
    assert len(alignment_picture(means, shade, "identity", matrix, "AC-", LETTERS).axes) == 4


def test_wrong_shapes_are_refused():
    with pytest.raises(ConfigurationError, match="at least two latent dimensions"):
        sequence_map(torch.randn(7, 1), torch.arange(7))
    with pytest.raises(ConfigurationError, match="`matrix`: expected"):
        mutation_heat_map(torch.randn(3, 19), "ACD", LETTERS)
