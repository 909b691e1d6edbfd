"""Completion of images: partial convolutions, masks, the bound on the hidden pixels, and digits completed."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal
from torch.nn.functional import conv2d

from jensen.datasets import RandomMasks, digits, threshold
from jensen.inference import SVI, Trace_ELBO, TraceMeanField_ELBO, elbo_terms, log_evidence
from jensen.models import AutoregressiveBernoulli, InpaintingVAE, PartialConv2d, PartialConvolutionalEncoder


def test_partial_convolution_without_holes_is_a_convolution():
    torch.manual_seed(0)
    for options in ({"padding": 1}, {"padding": 1, "stride": 2}, {"dilation": 2}, {"padding": 2, "groups": 2}):
        convolve = PartialConv2d(2, 4, 3, **options).double()
        x = torch.randn(3, 2, 9, 8).double()
        y, seen = convolve(x, torch.ones(3, 1, 9, 8).double())
        options = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | options
        torch.testing.assert_close(y, conv2d(x, convolve.weight, convolve.bias, **options))
        assert (seen == 1).all()


def test_partial_convolution_is_renormalised_and_blind_to_holes():
    torch.manual_seed(0)
    convolve = PartialConv2d(2, 3, 3, padding=1).double()
    x, mask = torch.randn(4, 2, 6, 6).double(), (torch.rand(4, 1, 6, 6) < 0.3).double()
    y, seen = convolve(x, mask)
    other, _ = convolve(torch.where(mask > 0, x, torch.full_like(x, torch.nan)), mask)
    assert torch.equal(y, other)
    n, row, column = 1, 2, 3  # by hand, away from the border
    window = (slice(row - 1, row + 2), slice(column - 1, column + 2))
    holes, pixels = mask[n, 0][window], x[n][:, window[0], window[1]]
    assert 0 < holes.sum() < 9
    expected = (convolve.weight * (pixels * holes)).sum((1, 2, 3)) * 9 / holes.sum() + convolve.bias
    torch.testing.assert_close(y[n, :, row, column], expected)
    nothing = conv2d(mask, torch.ones(1, 1, 3, 3).double(), padding=1) == 0
    assert nothing.any()
    assert torch.equal(seen == 0, nothing)
    assert (y[nothing.expand_as(y)] == 0).all()
    with pytest.raises(ValueError, match=r"`mask` must have shape \(4, 1, 6, 6\), one number per pixel"):
        convolve(x, mask[:, 0])
    assert torch.autograd.gradcheck(
        lambda w: torch.func.functional_call(convolve, {"weight": w}, (x, mask))[0], convolve.weight
    )


def test_masks_are_of_their_kind_and_repeatable():
    x = torch.zeros(400, 3, 8, 6)
    for kind in ("rectangle", "pixels", "half"):
        masks = RandomMasks((kind,))
        mask = masks({"x": x}, 0)["mask"]
        assert mask.shape == x.shape
        assert torch.equal(mask, masks({"x": x}, 0)["mask"])
        assert not torch.equal(mask, masks({"x": x}, 1)["mask"])
        assert ((mask == 0) | (mask == 1)).all()
        assert torch.equal(mask[:, 0], mask[:, 2])
        hidden = 1 - mask[:, 0]
        if kind == "half":
            assert (hidden.sum((1, 2)) == 24).all()
            assert len(mask.flatten(1).unique(dim=0)) == 4
        if kind == "rectangle":
            assert torch.equal(hidden.amax(2, keepdim=True) * hidden.amax(1, keepdim=True), hidden)
            assert 2 <= hidden.amax(2).sum(1).min() < hidden.amax(2).sum(1).max() == 8
        if kind == "pixels":
            assert abs(hidden.mean() - 0.5) < 0.06
    assert RandomMasks()({"x": torch.zeros(5, 64)}, 0)["mask"].shape == (5, 64)
    for arguments, shape, message in (
        ({"kinds": ("circle",)}, (2, 64), "`kinds` must be a tuple of some of"),
        ({"image_shape": (8, 8)}, (2, 63), r"`image_shape` must be \(height, width\)"),
        ({}, (2, 63), r"`image_shape` must be \(height, width\)"),
        ({"key": "image"}, (2, 64), "`key`: expected one of"),
    ):
        with pytest.raises(ValueError, match=message):
            RandomMasks(**arguments)({"x": torch.zeros(shape)}, 0)


def test_the_evidence_is_that_of_the_hidden_pixels(float64):
    torch.manual_seed(0)
    model = InpaintingVAE(3, 2, likelihood="gaussian_fixed", scale=0.7, hidden=())
    x, mask = torch.randn(12, 3), (torch.rand(12, 3) < 0.5).double()
    fit = SVI(TraceMeanField_ELBO(), steps=300, lr=1e-2, compile="trace").fit(model, {"x": x, "mask": mask})
    weight, bias = fit.model.decoder.output.weight, fit.model.decoder.output.bias
    prior = fit.model.prior(x, mask)
    covariance = weight @ torch.diag_embed(prior.variance) @ weight.T + 0.49 * torch.eye(3)
    exact = 0.0
    for n in range(12):
        h = mask[n] == 0
        if h.any():
            law = MultivariateNormal((prior.mean @ weight.T + bias)[n, h], covariance[n][h][:, h])
            exact += law.log_prob(x[n, h]).item()
    evidence, bound = log_evidence(fit, num_particles=2_000, seed=1), elbo_terms(fit, seed=2)
    assert abs(evidence.value - exact) < 5 * evidence.stderr + 1e-6
    assert bound.value <= exact + 5 * bound.stderr


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_hidden_values_are_not_read_and_seen_ones_are_kept(likelihood):
    torch.manual_seed(0)
    model = InpaintingVAE((8, 8), 3, likelihood=likelihood, hidden=(9,))
    model.prior_network = PartialConvolutionalEncoder((8, 8), 3, channels=(4, 6))
    x = (torch.rand(5, 8, 8) < 0.4).float()
    mask = RandomMasks()({"x": x}, 0)["mask"]
    full = model.complete(x, mask, num_draws=4, seed=1)
    holes = torch.where(mask > 0, x, torch.full_like(x, torch.nan))
    assert torch.equal(model.complete(holes, mask, num_draws=4, seed=1), full)
    assert full.shape == (4, 5, 8, 8)
    assert torch.equal(full * mask, (x * mask).expand(4, 5, 8, 8))
    assert full.std(0).max() > 0
    drawn = model.complete(holes, mask, num_draws=4, seed=1, noise=True)
    assert torch.isfinite(drawn).all()
    if likelihood == "bernoulli":
        assert ((drawn == 0) | (drawn == 1)).all()
    assert model.generate(5, mask=mask, seed=0)["x"].shape == x.shape


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.bool, torch.float64])
def test_data_and_masks_of_any_type_are_read_in_the_models(kind, partial):
    torch.manual_seed(0)
    model = InpaintingVAE((8, 8), 3, hidden=(9,))
    if partial:
        model.prior_network = PartialConvolutionalEncoder((8, 8), 3, channels=(4,))
    x = (torch.rand(5, 8, 8) < 0.4).float()
    mask = RandomMasks()({"x": x}, 0)["mask"]
    expected = model.complete(x, mask, num_draws=2, seed=1)
    for given in ((x.to(kind), mask), (x, mask.to(kind)), (x.to(kind), mask.to(kind))):
        found = model.complete(*given, num_draws=2, seed=1)
        assert found.dtype == torch.float32 and torch.equal(found, expected)
        assert torch.equal(model.prior(*given).mean, model.prior(x, mask).mean)
    assert torch.equal(model.reconstruct(x.to(kind)), model.reconstruct(x))


@pytest.mark.parametrize("objective", [Trace_ELBO(3), TraceMeanField_ELBO(2)])
def test_fresh_masks_are_drawn_alike_in_all_modes(float64, objective):
    torch.manual_seed(0)
    model = InpaintingVAE((4, 4), 2, prior_network=PartialConvolutionalEncoder((4, 4), 2, channels=(3,)), hidden=(5,))
    data = RandomMasks()({"x": (torch.rand(24, 4, 4) < 0.5).double()}, 0)
    objective.differentiable_loss(model.model, model.guide, **data).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    methods = [
        SVI(objective, steps=20, batch_size=8, transform=RandomMasks(), compile=mode, log_every=10)
        for mode in (False, "trace")
    ]
    eager, traced = (method.fit(model, data) for method in methods)
    for a, b in zip(eager.model.parameters(), traced.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_digits_are_completed_better_than_by_the_mean():
    masks = RandomMasks(("half", "rectangle"))
    data = masks.hide(threshold(digits(test_size=0.2, seed=0)).select("x"), seed=0)
    model = InpaintingVAE(64, 8, hidden=(100,))
    method = SVI(TraceMeanField_ELBO(), steps=600, lr=3e-3, batch_size=128, transform=masks, compile="trace")
    fit = method.fit(model, data.train, seed=0)
    x, mask = data.test["x"], data.test["mask"]
    hidden = 1 - mask

    def error(guess: torch.Tensor) -> float:
        return ((guess - x) ** 2 * hidden).sum().item() / hidden.sum().item()

    mean = data.train["x"].mean(0)
    assert error(fit.model.complete(x, mask, num_draws=20, seed=0).mean(0)) < 0.9 * error(mean)
    rate = ((data.train["x"].sum(0) + 0.5) / (len(data.train["x"]) + 1)).expand_as(x)
    by_mean = -(torch.nn.functional.binary_cross_entropy(rate, x, reduction="none") * hidden).sum().item()
    assert log_evidence(fit, data.test, num_particles=200).value > by_mean


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda m, x: m.complete(x, torch.ones(2, 3)), r"`mask` must have shape \(N, 4\), one number for each pixel"),
        (lambda m, x: m.complete(x, torch.ones(3, 4)), r"`mask` must have the shape of `x`, \(2, 4\), got \(3, 4\)"),
        (lambda m, x: m.complete(x, torch.full((2, 4), 0.5)), r"`mask` must hold 1 \(seen\) or 0 \(hidden\), got 0.5"),
        (lambda m, x: m.complete(x + 2, torch.ones(2, 4)), r"`x` must lie in \[0, 1\]"),
        (lambda m, x: m.complete(x, torch.ones(2, 4), num_draws=0), "`num_draws` must be a positive whole number"),
        (lambda m, x: SVI().fit(m, {"x": x, "mask": x - 1}), r"`mask` must hold 1 \(seen\) or 0 \(hidden\), got -1"),
        (lambda m, x: SVI().fit(m, {"x": x}), "`InpaintingVAE` also needs `mask`"),
        (lambda m, x: InpaintingVAE(4, 2, likelihood="categorical"), "`likelihood` must be a Bernoulli or a Gaussian"),
        (
            lambda m, x: InpaintingVAE((4, 4), 2, likelihood=AutoregressiveBernoulli((4, 4))),
            "`likelihood` must factorise over pixels.* `AutoregressiveBernoulli` is a distribution of the whole image",
        ),
        (lambda m, x: InpaintingVAE(4, 0), "must be positive, got 0"),
        (lambda m, x: PartialConvolutionalEncoder((3, 3), 2), r"`image_shape` must be \(height, width\)"),
    ],
)
def test_bad_input_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act(InpaintingVAE(4, 2, hidden=(3,)), torch.zeros(2, 4))
