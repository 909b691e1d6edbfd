"""The rewritten Bernoulli density is torch's, in value and gradient, and only where it applies."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli
from torch.nn.functional import binary_cross_entropy_with_logits

from jensen.inference.pair.vmap.bernoulli import bernoulli_terms


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_torchs(dtype: torch.dtype) -> None:
    logits = torch.tensor([-800.0, -30.0, -2.0, -1e-3, 0.0, 0.5, 17.0, 90.0, 800.0], dtype=dtype).requires_grad_()
    for value in (0.0, 1.0):
        x = torch.full_like(logits, value).detach()
        expected = Bernoulli(logits=logits).log_prob(x)
        with bernoulli_terms():
            found = Bernoulli(logits=logits).log_prob(x)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=64 * torch.finfo(dtype).eps)
        torch.testing.assert_close(
            torch.autograd.grad(found.sum(), logits), torch.autograd.grad(expected.sum(), logits), rtol=1e-6, atol=1e-7
        )


def test_other_losses_are_left_alone() -> None:
    logits, target = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), torch.ones(3, 2)
    for options in ({}, {"reduction": "sum"}, {"reduction": "none", "pos_weight": torch.tensor([2.0, 3.0])}):
        expected = binary_cross_entropy_with_logits(logits, target, **options)
        with bernoulli_terms():
            assert torch.equal(binary_cross_entropy_with_logits(logits, target, **options), expected)
