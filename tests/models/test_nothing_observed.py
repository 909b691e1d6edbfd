"""A datum of which nothing is observed has evidence log p = 0 and the prior as posterior, and stops no batch."""

from __future__ import annotations

import math

import pytest
import torch
from pyro import poutine

from jensen.inference import (
    CAVI,
    EM,
    SVI,
    TraceMeanField_ELBO,
    bound_perplexity,
    document_completion,
    elbo_terms,
    fold_in,
    log_evidence,
    npmi_coherence,
)
from jensen.models import (
    PPCA,
    AlignmentVAE,
    FactorAnalysis,
    HiddenMarkovModel,
    InpaintingVAE,
    LatentDirichletAllocation,
    MultinomialMixture,
    ProdLDA,
)
from jensen.models.topics.lda_cavi import LDACoordinates


@pytest.fixture
def documents(float64: None) -> tuple[torch.Tensor, torch.Tensor]:
    """Twelve documents of six words, and the same with an empty one in front, in the middle and at the end."""
    generator = torch.Generator().manual_seed(0)
    x = torch.poisson(3 * torch.rand(12, 6, generator=generator), generator=generator) + torch.eye(6).repeat(2, 1)
    none = torch.zeros(1, 6)
    return x, torch.cat([none, x[:5], none, x[5:], none])


FULL = torch.tensor([*range(1, 6), *range(7, 14)])
EMPTY = torch.tensor([0, 6, 14])


@pytest.mark.parametrize("batch_size", [None, 5])
def test_empty_documents_leave_coordinate_ascent_as_it_is(documents, batch_size, monkeypatch):
    exactly = property(lambda guide: 1e-9, lambda guide, value: None)  # documents are found to the end
    monkeypatch.setattr(LDACoordinates, "tolerance", exactly, raising=False)
    x, more = documents
    model = LatentDirichletAllocation(3, 6, alpha=0.4)
    fit = CAVI(steps=30, progress=False, batch_size=batch_size).fit(model, more, seed=1)
    shares = fit.guide.proportions(more)
    torch.testing.assert_close(shares[EMPTY], torch.full((3, 3), 1 / 3))
    torch.testing.assert_close(fit.guide.proportions(more[EMPTY]), torch.full((3, 3), 1 / 3))
    torch.testing.assert_close(shares[FULL], fit.guide.proportions(x), atol=1e-4, rtol=0)
    if batch_size is None:
        plain = CAVI(steps=30, progress=False).fit(model, x, seed=1)
        assert fit.history.bound.iloc[-1] == pytest.approx(plain.history.bound.iloc[-1], rel=1e-9)
        torch.testing.assert_close(fit.guide.concentration, plain.guide.concentration)


@pytest.mark.parametrize(
    "build",
    [
        lambda: LatentDirichletAllocation(3, 6),
        lambda: LatentDirichletAllocation(3, 6, encoder="network", hidden=(5,)),
        lambda: ProdLDA(3, 6, hidden=(5, 5), batch_norm=False, dropout=0.0),
    ],
)
def test_an_empty_document_has_evidence_one_under_amortised_guides(documents, build):
    _, more = documents
    fit = SVI(TraceMeanField_ELBO(), steps=5, lr=0.01, compile=False, progress=False).fit(build(), more, seed=0)
    prior = torch.full((3, 3), 1 / 3)
    torch.testing.assert_close(fit.model.predict({"x": more})[EMPTY], prior)
    model = fit.model.eval()
    if isinstance(model, ProdLDA):
        loc, scale = model.encode(more)
        assert (loc[EMPTY] == 0).all() and (scale[EMPTY] == model.scale).all() and (loc[FULL] != 0).all()
    else:
        concentration = model.documents(more)
        assert (concentration[EMPTY] == model.alpha).all() and (concentration[FULL].sum(-1) > 1).all()
    trace = poutine.trace(poutine.condition(model.model, data={"x": more})).get_trace(more)
    assert (trace.nodes["x"]["fn"].log_prob(more)[EMPTY] == 0).all()


def test_scores_of_topics_pass_over_empty_documents(documents):
    x, more = documents
    topics = torch.rand(3, 6).softmax(-1)
    plain, found = (document_completion(topics, counts, seed=2) for counts in (x, more))
    assert found.details["tokens"][EMPTY].tolist() == found.details["log_prob"][EMPTY].tolist() == [0.0] * 3
    assert found.value == pytest.approx(plain.value) and found.stderr == pytest.approx(plain.stderr)
    torch.testing.assert_close(fold_in(topics, more, 0.1)[EMPTY], torch.full((3, 3), 1 / 3))
    assert math.isfinite(npmi_coherence(topics, more, num_words=3).value)
    fit = CAVI(steps=5, progress=False).fit(LatentDirichletAllocation(3, 6), x, seed=0)
    bounds = [bound_perplexity(fit, counts, num_particles=200) for counts in (x, more)]
    assert bounds[0].value == pytest.approx(bounds[1].value, abs=5 * (bounds[0].stderr + bounds[1].stderr))
    one = torch.eye(6)[:1]  # a document of one word is scored where its coin puts it
    assert math.isfinite(document_completion(topics, torch.cat([x, one]), seed=0).value)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("steps", [6, 40])
@pytest.mark.parametrize("codes", [False, True])
def test_a_sequence_of_no_steps(float64: None, codes: bool, steps: int, zeros: bool) -> None:
    torch.manual_seed(2)
    model = HiddenMarkovModel(2, None if codes else 1, 3 if codes else None, min_scale=1e-6)
    if zeros:
        model.transition = torch.tensor([[0.7, 0.3], [0.0, 1.0]])
    x = torch.randint(3, (4, steps)).double() if codes else torch.randn(4, steps, 1)
    lengths = torch.tensor([steps, 0, 3, 0])
    data, kept = {"x": x, "lengths": lengths}, {"x": x[[0, 2]], "lengths": lengths[[0, 2]]}
    evidence = model.log_evidence(data)
    assert evidence[[1, 3]].tolist() == [0.0, 0.0]
    torch.testing.assert_close(evidence[[0, 2]], model.log_evidence(kept))
    gradients = torch.autograd.grad(evidence[1] + evidence[3], list(model.parameters()))
    assert all(bool((gradient == 0).all()) for gradient in gradients)
    assert (model.smooth(data)[[1, 3]] == 0).all()
    path, log_p = model.viterbi(data)
    assert (path[[1, 3]] == -1).all() and log_p[[1, 3]].tolist() == [0.0, 0.0]
    alone = {"x": x[1:2], "lengths": lengths[1:2]}
    assert model.log_evidence(alone).tolist() == [0.0] and (model.predict(alone) == -1).all()
    for ours, theirs in zip(model.e_step(data), model.e_step(kept), strict=True):
        if isinstance(ours, torch.Tensor):
            torch.testing.assert_close(ours, theirs)
        else:
            torch.testing.assert_close(ours.initial, theirs.initial)
            torch.testing.assert_close(ours.transitions, theirs.transitions)


def test_hidden_markov_fits_and_draws_with_empty_sequences(float64: None) -> None:
    model = HiddenMarkovModel(2, 1)
    x = torch.randn(3, 8, 1) + torch.tensor([0.0, 6.0]).repeat_interleave(4)[:, None]
    data = {"x": x, "lengths": torch.tensor([8, 0, 8])}
    kept = {"x": x[[0, 2]], "lengths": torch.tensor([8, 8])}
    fits = [EM(steps=5, progress=False).fit(model, batch) for batch in (data, kept)]
    assert fits[0].history.bound.iloc[-1] == pytest.approx(fits[1].history.bound.iloc[-1])
    torch.testing.assert_close(fits[0].model.initial, fits[1].model.initial)
    drawn = model.simulate(3, seed=0, lengths=torch.tensor([0, 4, 0]))
    assert (drawn["states"][[0, 2]] == -1).all() and (drawn["x"][[0, 2]] == 0).all()
    assert (model.generate(2, seed=0, lengths=torch.tensor([0, 0]))["x"] == 0).all()


@pytest.mark.parametrize("cls", [FactorAnalysis, PPCA])
def test_a_row_of_missing_values(float64: None, cls: type) -> None:
    x = torch.randn(40, 4) @ torch.randn(4, 4)
    more = torch.cat([x, torch.full((1, 4), torch.nan)])
    method = EM(steps=3_000, tolerance=1e-12, progress=False)
    fit, plain = method.fit(cls(4, 1), more), method.fit(cls(4, 1), x)
    assert fit.history.bound.iloc[-1] == pytest.approx(plain.history.bound.iloc[-1], rel=1e-7)
    model = fit.model
    assert model.log_evidence({"x": more})[-1].item() == 0.0
    posterior = model.exact_posterior({"x": more})["z"]
    torch.testing.assert_close(posterior.mean[-1], torch.zeros(1))
    torch.testing.assert_close(posterior.covariance_matrix[-1], torch.eye(1))
    torch.testing.assert_close(model.impute({"x": more})[-1], model.bias)
    fit = SVI(TraceMeanField_ELBO(), steps=3, compile=False, progress=False).fit(cls(4, 2), more)
    assert fit.status in ("converged", "not converged", "unknown")


def test_a_row_of_no_counts(float64: None) -> None:
    x = torch.randint(0, 5, (30, 3)).double()
    more = torch.cat([x, torch.zeros(1, 3)])
    fit = EM(steps=10, progress=False).fit(MultinomialMixture(2, 3), more)
    assert fit.model.log_evidence({"x": more})[-1].item() == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(fit.model.predict({"x": more})[-1], fit.model.weights.detach())


def test_an_image_all_hidden_and_one_all_seen(float64: None) -> None:
    model = InpaintingVAE(6, 2, hidden=(5,))
    x = (torch.rand(8, 6) > 0.5).double()
    mask = (torch.rand(8, 6) > 0.5).double()
    mask[2], mask[3] = 0, 1
    fit = SVI(TraceMeanField_ELBO(), steps=3, compile=False, progress=False).fit(model, {"x": x, "mask": mask})
    drawn = fit.model.complete(x, mask, num_draws=3, seed=0)
    assert drawn.isfinite().all() and torch.equal(drawn[:, 3], x[3].expand(3, -1))
    other = x.clone()
    other[2] = 1 - other[2]  # what is hidden is not read
    torch.testing.assert_close(fit.model.complete(other, mask, num_draws=3, seed=0)[:, 2], drawn[:, 2])
    nothing = log_evidence(fit, {"x": x[3:4], "mask": mask[3:4]}, num_particles=4_000, seed=0)
    assert nothing.value == pytest.approx(0.0, abs=5 * nothing.stderr + 1e-9)


def test_batches_of_weight_zero_move_nothing(float64: None) -> None:
    torch.manual_seed(1)
    model = AlignmentVAE(4, hidden=(5,), letters="ACGU-")
    x = torch.randint(0, 5, (12, 4))
    weight = torch.zeros(12)
    weight[:3] = 1.0
    method = SVI(TraceMeanField_ELBO(), steps=12, batch_size=2, lr=0.01, compile=False, progress=False)
    fit = method.fit(model, {"x": x, "weight": weight}, seed=0)
    assert math.isfinite(elbo_terms(fit, {"x": x}, seed=3).value)
