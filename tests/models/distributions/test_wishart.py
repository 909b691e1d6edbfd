"""The Wishart law of a Cholesky factor, the normal with a precision, and their way from unconstrained space."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch.distributions import AffineTransform, IndependentTransform, biject_to, kl_divergence

from jensen.models.distributions.recentred import Recentred
from jensen.models.distributions.wishart import LowerTriangular, PrecisionNormal, TriangularProduct, WishartCholesky

pytestmark = pytest.mark.usefixtures("float64")


def triangle(*shape: int) -> torch.Tensor:
    return biject_to(LowerTriangular())(torch.randn(shape) * 0.5)


@pytest.mark.parametrize("side", [1, 2, 4])
def test_the_density_is_scipys_with_the_jacobian_of_the_product(side: int) -> None:
    scale = triangle(side * (side + 1) // 2)
    law = WishartCholesky(torch.tensor(side + 0.7), scale)
    tril = law.sample((6,))
    assert LowerTriangular().check(tril).all()
    row, column = torch.tril_indices(side, side)
    for one, found in zip(tril, law.log_prob(tril), strict=True):
        matrix = one @ one.mT
        expected = scipy.stats.wishart(side + 0.7, (scale @ scale.mT).numpy()).logpdf(matrix.numpy())

        def product(entries: torch.Tensor) -> torch.Tensor:
            filled = torch.zeros(side, side).index_put((row, column), entries)
            return (filled @ filled.mT)[row, column]

        jacobian = torch.func.jacfwd(product)(one[row, column])
        assert float(found) == pytest.approx(float(expected) + float(torch.linalg.slogdet(jacobian)[1]), rel=1e-9)


def test_draws_have_the_moments_of_the_wishart() -> None:
    scale = triangle(6)
    law = WishartCholesky(torch.tensor(5.5), scale)
    tril = law.sample((20_000,))
    matrices = tril @ tril.mT
    error = 5 * matrices.std(0) / 20_000**0.5
    assert ((matrices.mean(0) - 5.5 * scale @ scale.mT).abs() < error).all()
    log_det = torch.logdet(matrices)
    assert abs(log_det.mean() - law.expected_log_det) < 5 * log_det.std() / 20_000**0.5


def test_the_divergence_is_the_mean_log_ratio() -> None:
    q = WishartCholesky(torch.tensor([6.0, 3.5]), triangle(2, 6))
    p = WishartCholesky(torch.tensor([4.0, 8.0]), triangle(2, 6))
    draws = q.sample((20_000,))
    ratio = q.log_prob(draws) - p.log_prob(draws)
    assert ((kl_divergence(q, p) - ratio.mean(0)).abs() < 5 * ratio.std(0) / 20_000**0.5).all()
    torch.testing.assert_close(kl_divergence(q, q), torch.zeros(2))


def test_the_way_from_unconstrained_space_is_a_bijection_with_its_jacobian() -> None:
    for transform in (biject_to(LowerTriangular()), TriangularProduct(triangle(10))):
        vector = torch.randn(10)
        start = vector if transform.domain.event_dim == 1 else biject_to(LowerTriangular())(vector)
        value = transform(start)
        torch.testing.assert_close(transform.inv(value), start)
        row, column = torch.tril_indices(4, 4)

        def entries(v: torch.Tensor, transform=transform, start=start, row=row, column=column) -> torch.Tensor:
            inner = v if start.dim() == 1 else torch.zeros(4, 4).index_put((row, column), v)
            return transform(inner)[row, column]

        flat = vector if start.dim() == 1 else start[row, column]
        expected = torch.linalg.slogdet(torch.func.jacrev(entries)(flat))[1]
        torch.testing.assert_close(transform.log_abs_det_jacobian(start, value), expected)
    assert biject_to(LowerTriangular()).forward_shape(torch.Size((5, 10))) == (5, 4, 4)
    assert biject_to(LowerTriangular()).inverse_shape(torch.Size((5, 4, 4))) == (5, 10)


def test_the_normal_is_torchs() -> None:
    loc, tril = torch.randn(3, 2), triangle(3, 3)
    ours = PrecisionNormal(loc, tril)
    theirs = torch.distributions.MultivariateNormal(loc, precision_matrix=tril @ tril.mT)
    x = torch.randn(5, 1, 2)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))
    wide = ours.expand((5, 3))
    assert wide.sample().shape == (5, 3, 2) and wide.log_prob(x).shape == (5, 3)
    assert wide.precision_tril is tril  # nothing was copied
    draws = ours.sample((20_000,))
    for k in range(3):
        np.testing.assert_allclose(np.cov(draws[:, k].T), theirs.covariance_matrix[k], atol=0.06 * float(draws.var()))
    other = PrecisionNormal(torch.randn(3, 2), triangle(3, 3))
    torch_other = torch.distributions.MultivariateNormal(
        other.loc, precision_matrix=other.precision_tril @ other.precision_tril.mT
    )
    torch.testing.assert_close(kl_divergence(ours, other), kl_divergence(theirs, torch_other))


def test_an_anchored_distribution_is_the_same_with_another_origin() -> None:
    start = triangle(2, 3)
    base = WishartCholesky(torch.full((2,), 4.0), triangle(2, 3)).to_event(1)
    law = Recentred(base, lambda: IndependentTransform(TriangularProduct(start), 1))
    value = law.sample()
    assert torch.equal(law.log_prob(value), base.log_prob(value))
    way = biject_to(law.support)
    torch.testing.assert_close(way(torch.zeros(2, 3)), start)
    torch.testing.assert_close(way(way.inv(value)), value)
    torch.testing.assert_close(kl_divergence(base, law), torch.zeros(()))
    wide = law.expand((3,))
    assert wide.sample().shape == (3, 2, 2, 2) and wide.log_prob(value).shape == (3,) and law.batch_shape == ()
    gamma = torch.distributions.Gamma(torch.tensor(2.0), torch.tensor(3.0))
    positive = Recentred(gamma, lambda: AffineTransform(0.0, torch.tensor(7.0)))
    assert float(biject_to(positive.support)(torch.zeros(()))) == pytest.approx(7.0)
    assert positive.support.lower_bound == 0.0 and positive.has_rsample and positive.mean == 2 / 3
