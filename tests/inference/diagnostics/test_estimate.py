"""Estimate: arithmetic, what it prints, and its way to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle

import pytest
import torch

from jensen.inference.diagnostics import Estimate


def test_float_and_per_datum() -> None:
    e = Estimate(-8676.0, 3.0, n=100, details={"a": 1})
    assert float(e) == -8676.0
    assert (e.per_datum.value, e.per_datum.stderr, e.per_datum.n) == (-86.76, 0.03, 1)
    assert e.per_datum.per_datum.value == e.per_datum.value
    assert e.per_datum.details is e.details


@pytest.mark.parametrize(
    ("value", "stderr", "shown"),
    [
        (-86.7612, 0.03, "-86.76 +- 0.03"),
        (-86.7612, 0.0151, "-86.761 +- 0.015"),
        (-8676.1, 3.2, "-8676.1 +- 3.2"),
        (19.0, 0.0, "19 +- 0"),
        (-math.inf, 0.0, "-inf +- 0"),
        (-1.5, math.nan, "-1.5 +- nan"),
        (123456.0, 1234.0, "123456.0 +- 1234.0"),
        (-628.8838556, 5e-8, "-628.8839 +- 5e-08"),
        (0.000123, 0.00003, "0.00012 +- 0.00003"),
        (0.0, 0.25, "0.0 +- 0.2"),
    ],
)
def test_str(value: float, stderr: float, shown: str) -> None:
    assert str(Estimate(value, stderr)) == shown


def test_repr_and_format() -> None:
    assert repr(Estimate(-8676.1, 3.2, n=100)) == "Estimate(-8676.1 +- 3.2, n=100)"
    assert repr(Estimate(0.5, 0.0)) == "Estimate(0.5 +- 0)"
    assert f"{Estimate(-86.7612, 0.03):.1f}" == "-86.8 +- 0.0"
    assert f"{Estimate(-86.7612, 0.03)}" == "-86.76 +- 0.03"


def test_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Estimate(1.0, 0.0).value = 2.0  # type: ignore[misc]


def test_n_must_be_positive() -> None:
    with pytest.raises(ValueError, match="`n` must be a positive number of data, got 0"):
        Estimate(1.0, 0.0, 0)


def test_json_round_trip() -> None:
    details = {
        "per_datum": torch.tensor([1.0, 2.5]),
        "kl": {"z": torch.tensor(3.0)},
        "k": 5,
        "part": Estimate(1.0, 0.1),
    }
    e = Estimate(torch.tensor(3.5), 0.1, n=2, details=details)  # type: ignore[arg-type]
    written = e.to_dict()
    assert json.loads(json.dumps(written)) == written
    assert written["details"]["per_datum"] == [1.0, 2.5]
    assert written["details"]["kl"] == {"z": 3.0}
    assert written["details"]["part"]["value"] == 1.0
    back = Estimate.from_dict(written)
    assert (back.value, back.stderr, back.n) == (3.5, 0.1, 2)
    assert "details" not in e.to_dict(details=False)


def test_can_be_pickled_for_joblib_workers() -> None:
    e = pickle.loads(pickle.dumps(Estimate(1.0, 0.5, 3)))
    assert (e.value, e.stderr, e.n) == (1.0, 0.5, 3)
