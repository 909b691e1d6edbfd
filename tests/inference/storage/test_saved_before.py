"""Fits that earlier versions saved are read with the parameters that they had."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jensen.inference import load

BEFORE = Path(__file__).with_name("saved_before")  # of 21 November 2026: floors were numbers in the data's units


@pytest.mark.parametrize("name", ["gaussian_mixture", "factor_analysis", "hidden_markov"])
def test_the_evidence_is_the_bound_that_was_recorded(name: str) -> None:
    fit = load(BEFORE / name)
    evidence = float(fit.model.log_evidence(fit.data).sum().detach())
    assert evidence == pytest.approx(float(fit.history.bound.iloc[-1]), rel=1e-5)


def test_an_autoencoder_has_the_floor_of_its_time() -> None:
    likelihood = load(BEFORE / "gaussian_vae").model.likelihood
    torch.testing.assert_close(likelihood.scale, likelihood.log_scale.exp() + 1e-3)
