"""k-hat: against ArviZ, against Pareto laws with known k, streaming, and degenerate weights."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from jensen.inference.diagnostics.weights.pareto import LargestWeights, k_threshold, psis_k, tail_length


def _arviz(log_weights: torch.Tensor) -> np.ndarray[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz

        return np.asarray(arviz.psislw(log_weights.numpy().T.copy())[1])


def _log_weights(kind: str, k: int, n: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(k + n)
    normal = torch.randn(k, n, generator=g, dtype=torch.float64)
    uniform = torch.rand(k, n, generator=g, dtype=torch.float64)
    scale = torch.linspace(0.01, 3.0, n, dtype=torch.float64)
    return {
        "lognormal": normal * scale,
        "pareto": -scale * uniform.log(),
        "bounded": -scale * normal**2,
        "shifted": normal * scale - 800.0,
        "huge": normal * 300.0,
        "tied": (normal * scale * 20).round() / 20,
        "zeros": torch.where(uniform < 0.3, -math.inf, normal),
    }[kind]


@pytest.mark.parametrize("kind", ["lognormal", "pareto", "bounded", "shifted", "huge", "tied", "zeros"])
@pytest.mark.parametrize("k", [30, 100, 999, 5_000])
def test_agrees_with_arviz(kind: str, k: int) -> None:
    log_weights = _log_weights(kind, k, 23)
    ours, theirs = psis_k(log_weights).numpy(), _arviz(log_weights)
    assert np.array_equal(np.isinf(ours), np.isinf(theirs))
    finite = np.isfinite(theirs)
    np.testing.assert_allclose(ours[finite], theirs[finite], rtol=0, atol=1e-6)


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9, 1.5])
def test_finds_the_index_of_a_pareto_law(k: float) -> None:
    """w = u^{-k} has exactly a generalised Pareto tail of shape k; sd of the fit is about (1 + k) / sqrt(M)."""
    g = torch.Generator().manual_seed(0)
    estimates = psis_k(-k * torch.rand(20_000, 64, generator=g, dtype=torch.float64).log())
    m = tail_length(20_000)
    prior_shift = 10.0 * (0.5 - k) / (m + 10.0)
    assert abs(estimates.mean() - k - prior_shift) < 4 * (1 + k) / math.sqrt(64 * m) + 0.02
    assert abs(estimates.std() - (1 + k) / math.sqrt(m)) < 0.03


def test_shape_and_scale() -> None:
    log_weights = _log_weights("lognormal", 200, 12).reshape(200, 3, 4)
    k = psis_k(log_weights)
    assert k.shape == (3, 4) and k.dtype == torch.float64
    torch.testing.assert_close(psis_k(log_weights[:, 1, 2]), k[1, 2], rtol=0, atol=0)
    torch.testing.assert_close(
        psis_k(log_weights + 1e3 * torch.randn(3, 4, dtype=torch.float64)), k, rtol=1e-7, atol=1e-8
    )
    torch.testing.assert_close(psis_k(log_weights.float()), k, rtol=0, atol=1e-3)


@pytest.mark.parametrize("chunk", [1, 7, 64, 999, 1_000])
def test_streaming_is_identical(chunk: int) -> None:
    log_weights = _log_weights("lognormal", 1_000, 11)
    largest = LargestWeights(1_000)
    for part in log_weights.split(chunk):
        largest.update(part)
    assert torch.equal(largest.k(), psis_k(log_weights))
    assert largest._top is not None and largest._top.shape == (11, tail_length(1_000) + 1)


def test_constant_weights_are_minus_infinity() -> None:
    noise = torch.randn(500, 3, dtype=torch.float64)
    assert psis_k(torch.full((500,), -123.4)).item() == -math.inf
    assert (psis_k(-7.0 + 1e-10 * noise) == -math.inf).all()  # rounding of double precision
    assert (psis_k(-700.0 + 1e-4 * noise.float()) == -math.inf).all()  # rounding of single precision
    assert psis_k(-7.0 + 1e-4 * noise).isfinite().all()


def test_one_outlier_among_equals_is_plus_infinity() -> None:
    log_weights = torch.zeros(500, 2)
    log_weights[3, 1] = 10.0
    assert psis_k(log_weights).tolist() == [-math.inf, math.inf]
    assert psis_k(torch.zeros(1)).item() == math.inf  # one weight says nothing
    assert psis_k(torch.randn(20)).item() == math.inf  # a tail of four


def test_bad_weights_are_nan() -> None:
    log_weights = torch.randn(100, 4, dtype=torch.float64)
    log_weights[3, 0], log_weights[5, 1], log_weights[:, 2] = math.nan, math.inf, -math.inf
    k = psis_k(log_weights)
    assert k[:3].isnan().all() and k[3] == psis_k(log_weights[:, 3])


def test_misuse() -> None:
    with pytest.raises(ValueError, match=r"`log_weights` must have shape \(K, ...\) with K >= 1, got \(\)"):
        psis_k(torch.tensor(0.0))
    with pytest.raises(ValueError, match="`num_particles` is 5, got 6 weights"):
        LargestWeights(5).update(torch.zeros(6))
    with pytest.raises(ValueError, match="`num_particles` is 5, got only 0 weights so far"):
        LargestWeights(5).k()


def test_threshold() -> None:
    assert k_threshold(100) == pytest.approx(0.5)
    assert k_threshold(10**6) == 0.7
    assert k_threshold(5) == 0.0
    assert tail_length(100) == 20 and tail_length(10_000) == 300
