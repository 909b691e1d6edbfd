"""ProdLDA: its density, its prior, its topics."""

from __future__ import annotations

import pytest
import scipy.sparse
import torch
from pyro import poutine

from jensen.inference import IWAE, SVI, TraceMeanField_ELBO, document_completion, elbo_terms, fitted_topics, load
from jensen.models import ProdLDA

from .test_latent_dirichlet_allocation import planted


def test_the_density_is_a_multinomial_s(float64):
    model = ProdLDA(3, 6, total_count=9).eval()
    drawn = model.generate(5, seed=0)
    trace = poutine.trace(poutine.condition(model.model, {"z": drawn["z"]})).get_trace(drawn["x"])
    trace.compute_log_prob()
    probs = (drawn["z"].softmax(-1) @ model.weights / (1 + 1e-3) ** 0.5).softmax(-1)
    for n in range(5):
        expected = torch.distributions.Multinomial(9, probs[n]).log_prob(drawn["x"][n])
        torch.testing.assert_close(trace.nodes["x"]["log_prob"][n], expected)


def test_the_prior_is_laplace_s_approximation_of_a_dirichlet(float64):
    """In the softmax basis: mean log a_k less their mean; variance (1 - 2/K) / a_k + sum 1/a_j / K^2."""
    a, k = 0.4, 5
    assert torch.allclose(ProdLDA(k, 8, alpha=a).scale.square(), torch.tensor((1 - 2 / k) / a + k / a / k**2))


@pytest.mark.parametrize("objective", [TraceMeanField_ELBO(), IWAE(3)])
def test_planted_topics_are_found(objective, tmp_path):
    x, _, shares = planted(200, seed=3)
    model = ProdLDA(3, 30, hidden=(32, 32), dropout=0.2, batch_norm=isinstance(objective, TraceMeanField_ELBO))
    fit = SVI(objective, steps=400, lr=0.02, batch_size=50, compile="trace").fit(model, x)
    words = fit.model.top_words([str(v) for v in range(30)], 8)
    owners = [{int(word) // 10 for word in row} for row in words]
    assert sorted(owners, key=str) == [{0}, {1}, {2}]
    order = [next(k for k in range(3) if owners[k] == {topic}) for topic in range(3)]
    found = fit.model.predict({"x": x})[:, order]
    assert (found.argmax(-1) == shares.argmax(-1)).float().mean() > 0.85
    assert torch.equal(fitted_topics(fit), fit.model.topics)
    fit.save(tmp_path / "fit")
    assert torch.equal(load(tmp_path / "fit").model.predict({"x": x}), fit.model.predict({"x": x}))
    # scored with running averages: a datum's bound does not depend on its neighbours
    alone = [elbo_terms(fit, x[n : n + 1], num_particles=500, seed=1).value for n in range(3)]
    together = elbo_terms(fit, x[:3], num_particles=500, seed=1)
    assert sum(alone) == pytest.approx(together.value, abs=1.0)
    probs = fit.model.word_probs(x[:4])
    torch.testing.assert_close(probs.sum(-1), torch.ones(4))


def test_reading_and_drawing_leave_an_unfitted_model_as_it_is():
    """At the start's averages, without dropout, whatever the mode; and the mode is the caller's afterwards."""
    x, _, _ = planted(20)
    model = ProdLDA(3, 30, dropout=0.5)
    model.encoder_dropout.eval()  # a caller's own choice
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = {name: part.training for name, part in model.named_modules()}
    answers = [
        (model.predict({"x": x}), model.proportions(x), model.word_probs(x), model.generate(20, seed=0)["x"])
        for _ in range(2)
    ]
    assert all(torch.equal(first, second) for first, second in zip(*answers, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {name: part.training for name, part in model.named_modules()} == modes and modes[""]
    alone = torch.cat([model.predict({"x": x[n : n + 1]}) for n in range(20)])
    torch.testing.assert_close(alone, answers[0][0])  # a document's shares do not depend on its batch
    assert torch.equal(model.eval().generate(20, seed=0)["x"], answers[0][3])


def test_a_draw_that_fails_leaves_the_mode():
    class Broken(ProdLDA):
        def log_probs(self, z):
            raise RuntimeError

    model = Broken(3, 30)
    with pytest.raises(RuntimeError):
        model.generate(2)
    assert model.training and model.dropout.training


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_topics": 1, "num_words": 5}, "`num_topics` must be at least 2"),
        ({"num_topics": 2, "num_words": 5, "alpha": 0.0}, "`alpha` must be positive"),
        ({"num_topics": 2, "num_words": 5, "dropout": 1.0}, r"`dropout` must be in \[0, 1\), got 1.0"),
        ({"num_topics": 2, "num_words": 5, "total_count": 0}, "`total_count` must be positive"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ProdLDA(**arguments)


def test_documents_without_words():
    with pytest.raises(ValueError, match="`x` must hold a word in one document at least"):
        SVI(TraceMeanField_ELBO(), steps=2).fit(ProdLDA(2, 5), torch.zeros(4, 5))


def test_readings_take_any_counts_of_the_vocabulary():
    x, _, _ = planted(20)
    model = ProdLDA(3, 30)
    for ask in (model.proportions, model.word_probs, lambda x: model.predict({"x": x})):
        for same in (x.long(), x.double(), x.numpy(), scipy.sparse.csr_matrix(x.numpy())):
            assert torch.equal(ask(same), ask(x))
        with pytest.raises(ValueError, match="`x` must hold counts"):
            ask(x / 2 + 0.1)
    for ask in (model.proportions, model.word_probs, lambda x: model.predict({"x": x}), model.encode, model.guide):
        with pytest.raises(ValueError, match=r"`x` must have shape \(N, 30\), one column for each word"):
            ask(x[:, :4])
    with pytest.raises(ValueError, match=r"`z` must have shape \(N, 3\), one column for each topic, got \(20, 2\)"):
        model.log_probs(torch.zeros(20, 2))
    same = document_completion(model.word_probs, scipy.sparse.csr_matrix(x.numpy()))
    assert same.value == document_completion(model.word_probs, x).value
