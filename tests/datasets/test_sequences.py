"""Sequences of unequal lengths in one tensor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jensen.datasets import pad_sequences
from jensen.inference import EM
from jensen.models import HiddenMarkovModel


def test_a_list_of_arrays_is_what_a_hidden_markov_model_takes(float64):
    parts = [np.random.default_rng(k).normal(size=(length, 2)) for k, length in enumerate((5, 9, 3))]
    data = pad_sequences([*parts, np.zeros((0, 2)), []])
    assert data["lengths"].tolist() == [5, 9, 3, 0, 0]
    assert data["x"].shape == (5, 9, 2) and data["x"].dtype == torch.float64
    model = HiddenMarkovModel(2, 2)
    alone = [model.log_evidence(part[None]).item() for part in parts]
    torch.testing.assert_close(model.log_evidence(data), torch.tensor([*alone, 0.0, 0.0]))
    assert EM(steps=3, progress=False).fit(model, data).status in ("converged", "not converged", "unknown")


def test_codes_stay_whole_numbers():
    data = pad_sequences([torch.tensor([2, 0]), [1], np.array([1, 1, 1], dtype=np.uint8)])
    assert data["x"].dtype == torch.int64 and data["x"].tolist() == [[2, 0, 0], [1, 0, 0], [1, 1, 1]]
    assert pad_sequences([[0.5], [1]])["x"].dtype == torch.get_default_dtype()
    assert HiddenMarkovModel(2, num_categories=3).predict(data).shape == (3, 3)


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "at least one sequence, got none"),
        ([np.zeros((3, 2)), np.zeros((4, 1))], r"got \(4, 1\) in number 1 where another has \(3, 2\)"),
        ([np.zeros((3, 2)), np.zeros(4)], r"got \(4,\) in number 1"),
        ([np.zeros((1, 3, 2))], r"got \(1, 3, 2\) in number 0"),
    ],
)
def test_sequences_of_different_kinds_are_refused(sequences, message):
    with pytest.raises(ValueError, match=message):
        pad_sequences(sequences)
