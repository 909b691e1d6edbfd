"""Vector quantisation: gradients, averages and perplexity by hand; the autoencoder's fits, and what they refuse."""

from __future__ import annotations

import copy

import pytest
import torch

from jensen.datasets import digits, threshold
from jensen.inference import (
    SVI,
    LossMinimization,
    ModelError,
    NonFiniteError,
    elbo_terms,
    load,
    log_evidence,
    pareto_k,
)
from jensen.inference.diagnostics.weights.chunking import peak_bytes
from jensen.models import VAE, VQVAE, VectorQuantizer
from jensen.models.autoencoders import vqvae
from jensen.models.autoencoders.parts.vector_quantizer import perplexity


def test_the_nearest_code_and_a_straight_through_gradient():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(5, 3).double().eval()
    vectors = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    codes, quantised = quantizer(vectors)
    assert torch.equal(codes, torch.cdist(vectors, quantizer.codebook.expand(4, 5, 3)).argmin(-1))
    torch.testing.assert_close(quantised, quantizer.codebook[codes])
    weight = torch.randn(4, 2, 3).double()
    (gradient,) = torch.autograd.grad((weight * quantised).sum(), vectors)
    assert torch.equal(gradient, weight)
    jacobian = torch.autograd.functional.jacobian(lambda v: quantizer(v)[1], vectors[0, 0].detach())
    assert torch.equal(jacobian, torch.eye(3).double())


def test_averages_are_those_by_hand():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(3, 2, decay=0.9, restart_below=0).double()
    counts, sums = torch.ones(3).double(), quantizer.codebook.clone()
    for _ in range(5):
        vectors, book = torch.randn(7, 2).double(), quantizer.codebook.clone()
        quantizer(vectors)
        for k in range(3):
            mine = vectors[(vectors[:, None] - book).square().sum(-1).argmin(-1) == k]
            counts[k] = 0.9 * counts[k] + 0.1 * len(mine)
            sums[k] = 0.9 * sums[k] + 0.1 * mine.sum(0)
        torch.testing.assert_close(quantizer.counts, counts)
        torch.testing.assert_close(quantizer.codebook, sums / counts[:, None])
    quantizer.eval()
    before = quantizer.codebook.clone()
    quantizer(vectors)
    assert torch.equal(quantizer.codebook, before)


def test_without_memory_the_averages_are_k_means():
    torch.manual_seed(0)
    from sklearn.cluster import KMeans

    centres = torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]], dtype=torch.float64)
    x = (centres.repeat(50, 1) + torch.randn(150, 2)).double()
    quantizer = VectorQuantizer(3, 2, decay=0.0, restart_below=0).double()
    quantizer.codebook.copy_(x[:3])
    for _ in range(10):
        quantizer(x)
    peer = KMeans(3, init=x[:3].numpy(), n_init=1).fit(x.numpy())
    torch.testing.assert_close(quantizer.codebook, torch.as_tensor(peer.cluster_centers_))


def test_dead_codes_restart_at_the_data():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(4, 2, decay=0.5, restart_below=0.1)
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [90.0, 0.0], [91.0, 0.0], [92.0, 0.0]]))
    x = torch.randn(100, 2)
    for _ in range(20):
        quantizer(x)
    assert quantizer.codebook.abs().max() < 5
    assert perplexity(quantizer.nearest(x), 4) > 2.5


@pytest.mark.parametrize(("decay", "updates"), [(0.99, 12_000), (0.5, 200), (0.0, 1)])
def test_an_unused_code_stays_when_none_restart(decay, updates):
    torch.manual_seed(0)
    quantizer = VectorQuantizer(2, 3, decay=decay, restart_below=0)
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0, 0.0], [5.0, -7.0, 9.0]]))
    quantizer.sums.copy_(quantizer.codebook)
    x, codes = torch.randn(4, 3), torch.zeros(4, dtype=torch.int64)
    for _ in range(updates):
        quantizer.follow(x, codes)
    torch.testing.assert_close(quantizer.codebook, torch.stack([x.mean(0), torch.tensor([5.0, -7.0, 9.0])]))
    quantizer.follow(x, codes + 1)  # used again, it goes where its vectors are
    torch.testing.assert_close(quantizer.codebook[1], x.mean(0))


def test_perplexity_counts_the_codes_in_use():
    assert perplexity(torch.arange(6).repeat(5), 6).item() == pytest.approx(6)
    assert perplexity(torch.zeros(9, 2, dtype=torch.int64), 6).item() == pytest.approx(1)


@pytest.mark.parametrize("decay", [None, 0.99])
def test_the_loss_and_its_gradient(float64, decay):
    torch.manual_seed(0)
    model = VQVAE(6, num_codes=4, codes_per_datum=3, code_dim=2, hidden=(5,), decay=decay).eval()
    x = (torch.rand(7, 6) < 0.5).double()
    losses = model.losses(x)
    vectors, codes = model.encoder(x), model.encode(x)
    chosen = model.quantizer.codebook[codes]
    distance = (vectors - chosen).square().sum() / 7
    expected = -torch.distributions.Bernoulli(logits=model.decoder(chosen)).log_prob(x).sum() / 7 + 0.25 * distance
    torch.testing.assert_close(losses["loss"], expected + (distance if decay is None else 0))
    losses["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    if decay is None:  # only its own square moves the codebook
        moved = torch.zeros(4, 2).index_add(0, codes.flatten(), 2 / 7 * (chosen - vectors).detach().flatten(0, 1))
        torch.testing.assert_close(model.quantizer.codebook.grad, moved)


@pytest.mark.parametrize("decay", [None, 0.9])
def test_many_data_in_pieces_give_what_they_give_at_once(float64, monkeypatch, decay):
    torch.manual_seed(0)
    model = VQVAE(6, num_codes=4, codes_per_datum=3, code_dim=2, hidden=(5,), decay=decay).eval()
    twin, x = copy.deepcopy(model), (torch.rand(11, 6) < 0.5).double()
    codes, losses = model.quantizer.nearest(model.encoder(x)), model.losses(x)
    twin.initialize({"x": x}, seed=3)
    monkeypatch.setattr(vqvae, "_DISTANCES", 4 * 12)  # pieces of four data
    assert [len(rows) for rows in model._pieces(x)] == [4, 4, 3]
    assert torch.equal(model.encode(x), codes)
    for name, value in model.validation_losses(x).items():
        torch.testing.assert_close(value, losses[name].detach(), msg=name)
    model.count_codes(x)
    for place in range(3):
        for k in range(4):
            used = sum(int(code) == k for code in codes[:, place])
            assert model.frequencies[place, k].item() == pytest.approx((used + 1 / 4) / 12)
    model.initialize({"x": x}, seed=3)
    torch.testing.assert_close(model.quantizer.codebook, twin.quantizer.codebook)


def test_counting_codes_needs_no_memory_of_all_distances():
    model = VQVAE(2, num_codes=256, codes_per_datum=16, code_dim=2, hidden=()).eval()
    x = torch.zeros(16_384, 2)
    whole = x.shape[0] * model.frequencies.numel() * 4
    assert peak_bytes(model.count_codes, x) < whole / 3
    assert peak_bytes(model.validation_losses, x) < whole / 3


@pytest.mark.parametrize("decay", [None, 0.95])
def test_digits_are_rebuilt_from_a_few_codes(decay, tmp_path):
    data = threshold(digits(test_size=0.2, seed=0)).select("x")
    model = VQVAE(64, num_codes=32, codes_per_datum=6, hidden=(100,), decay=decay)
    method = LossMinimization(steps=600, lr=2e-3, batch_size=128, log_every=200)
    fit = method.fit(model, data.train, seed=0, validation=data.test)
    assert list(fit.history.step) == [200, 400, 600]
    if decay is not None:  # a codebook moved by the gradient runs after an encoder that spreads
        assert fit.history.loss.is_monotonic_decreasing
    assert not any("bound" in name for name in fit.history.columns)
    assert fit.history.perplexity.iloc[-1] > 8
    assert fit.history.validation_perplexity.iloc[-1] > 8
    test = data.test["x"]
    error = (fit.model.reconstruct(test) - test).square().mean()
    assert error < 0.6 * (data.train["x"].mean(0) - test).square().mean()
    drawn = fit.model.generate(9, seed=0)
    assert drawn["x"].shape == (9, 64)
    assert drawn["codes"].shape == (9, 6)
    torch.testing.assert_close(fit.model.frequencies.sum(-1), torch.ones(6))
    assert "LossMinimization" in repr(fit)
    fit.save(tmp_path / "fit")
    assert torch.equal(load(tmp_path / "fit").model.reconstruct(test), fit.model.reconstruct(test))


def test_a_resumed_fit_ends_as_one_that_was_not_killed(tmp_path):
    x = (torch.rand(40, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    torch.manual_seed(0)
    model = VQVAE(6, num_codes=8, codes_per_datum=2, hidden=(5,), restart_below=0.3)
    method = LossMinimization(steps=40, batch_size=16, log_every=10, checkpoint_every=10)
    whole = method.fit(model, x, seed=1)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 30:
            raise Killed

    with pytest.raises(Killed):
        method.fit(model, x, seed=1, checkpoint=tmp_path, callbacks=[kill])
    resumed = method.fit(model, x, seed=1, checkpoint=tmp_path)
    for a, b in zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert list(resumed.history.loss) == list(whole.history.loss)
    assert method.fit(model, x, seed=1, checkpoint=tmp_path).status in ("converged", "not converged", "unknown")
    stopped = method.fit(model, x, seed=1, callbacks=[lambda progress: progress.step == 20])
    assert (stopped.status, stopped.info["steps"]) == ("stopped early", 20)


@pytest.mark.parametrize("metric", [log_evidence, elbo_terms, pareto_k])
def test_its_loss_is_no_evidence(metric):
    x = torch.ones(8, 4)
    model = VQVAE(4, num_codes=3, codes_per_datum=2, hidden=(5,))
    fit = LossMinimization(steps=2).fit(model, x)
    with pytest.raises(ModelError, match="`VQVAE` has no evidence and no bound on one"):
        metric(fit)
    with pytest.raises(ModelError, match=r"Fit it by `jensen\.inference\.LossMinimization`"):
        SVI(steps=2).fit(model, x)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda x: VQVAE(4, 0, 2), "`num_codes` must be positive, got 0"),
        (lambda x: VQVAE(4, 3, 0), "codes_per_datum and hidden` must be positive, got 0"),
        (lambda x: VQVAE(4, 3, 2, decay=1.0), r"`decay` must be None or in \[0, 1\), got 1.0"),
        (lambda x: VQVAE(4, 3, 2, restart_below=-1), "`restart_below` must not be negative"),
        (lambda x: VQVAE(4, 3, 2, commitment=0), "`commitment` must be positive"),
        (lambda x: LossMinimization().fit(VQVAE(4, 3, 2), x + 2), r"`x` must lie in \[0, 1\]"),
        (lambda x: LossMinimization().fit(VAE(4, 2), x), "LossMinimization needs a model with a loss of its own"),
        (lambda x: LossMinimization(steps=0), "`steps` must be a positive whole number"),
        (lambda x: LossMinimization(batch_size=9).fit(VQVAE(4, 3, 2), x), "`batch_size` is 9, more than the 3 data"),
        (lambda x: LossMinimization().fit(VQVAE(4, 3, 2), x, seed=0.5), "`seed` must be a whole number"),
    ],
)
def test_bad_input_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act(torch.zeros(3, 4))


def test_a_loss_that_diverges_is_an_error():
    model = VQVAE(2, 2, 1, likelihood="gaussian_fixed", hidden=(3,))
    with pytest.raises(NonFiniteError, match=r"The loss is .* by step 1. Lower `lr`"):
        LossMinimization(steps=3, log_every=1).fit(model, 1e30 * torch.randn(8, 2))


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_fixed", "bernoulli_grey"])
def test_parameters_that_diverge_are_the_same_error(likelihood):
    model = VQVAE(16, 8, 4, likelihood=likelihood, hidden=(16,))
    x = torch.rand(40, 16, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NonFiniteError, match=r"The loss is .* by step \d+. Lower `lr`"):
        LossMinimization(steps=400, lr=1e30, log_every=5).fit(model, x, validation=x)


def test_only_the_first_step_checks_the_distributions():
    class Checked(VQVAE):
        def losses(self, x):
            checks.append(torch.distributions.Distribution._validate_args)
            return super().losses(x)

    checks = []
    before = torch.distributions.Distribution._validate_args
    LossMinimization(steps=3).fit(Checked(4, 3, 2, hidden=(5,)), torch.ones(8, 4))
    assert checks == [before, False, False]
