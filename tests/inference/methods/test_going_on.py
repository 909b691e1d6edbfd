"""A second CAVI fit goes on from the factors of the first: over the same data, other data, and chunks as they come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.decomposition
import torch

from jensen.inference import CAVI, SVI, ConfigurationError, DataError, TraceMeanField_ELBO, load
from jensen.inference.seeding import derive_seed
from jensen.models import BayesianGaussianMixture, BayesianLogisticRegression, LatentDirichletAllocation
from jensen.models.topics.lda_cavi import LDACoordinates
from jensen.studies.arms.fingerprint import fingerprint


def documents(rows: int, seed: int) -> torch.Tensor:
    """Counts of 20 words in documents of about 40, of four planted topics."""
    generator = torch.Generator().manual_seed(seed)
    topics = torch.eye(4).repeat_interleave(5, 1) / 5 + 0.01
    shares = torch._sample_dirichlet(torch.full((rows, 4), 0.3), generator=generator)
    return torch.poisson(40 * shares @ (topics / topics.sum(-1, keepdim=True)), generator=generator)


def points(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.tensor([[0.0, 0.0], [3.0, 1.0], [-1.0, 4.0]])
    return centres[torch.arange(rows) % 3] + torch.randn(rows, 2, generator=generator)


def labelled(rows: int, seed: int) -> dict[str, torch.Tensor]:
    x = points(rows, seed)
    return {"x": x, "y": (x.sum(-1) + torch.randn(rows, generator=torch.Generator().manual_seed(seed)) > 2).to(x)}


MODELS: dict[str, tuple[Any, Any]] = {
    "topics": (lambda: LatentDirichletAllocation(4, 20), documents),
    "mixture": (lambda: BayesianGaussianMixture(4, 2), points),
    "diagonal mixture": (lambda: BayesianGaussianMixture(4, 2, "diagonal"), points),
    "logistic regression": (lambda: BayesianLogisticRegression(2), labelled),
}
ONLINE = [name for name in MODELS if name != "logistic regression"]


@pytest.mark.parametrize("name", MODELS)
def test_going_on_from_a_converged_fit_stays_converged(float64: None, name: str) -> None:
    build, draw = MODELS[name]
    data = draw(150, 1)
    method = CAVI(steps=1_000, tolerance=1e-8, progress=False)
    first = method.fit(build(), data)
    again = method.fit(first.model, data, seed=5)
    assert first.info["converged"] and again.info["converged"]
    assert again.history.bound.min() >= first.history.bound.iloc[-1] - 1e-6
    if name == "topics":  # whose documents are tried from more starts, which may find better factors
        return
    assert again.info["steps"] <= 3 < first.info["steps"]
    for key, value in first.guide.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(again.guide.state_dict()[key], value, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_a_warm_start_is_ahead_of_a_cold_one(float64: None, name: str) -> None:
    """On new data of the same kind, after the same number of updates."""
    build, draw = MODELS[name]
    first = CAVI(steps=300, progress=False).fit(build(), draw(200, 1))
    if name in ONLINE[1:]:  # the priors that a fit takes from its data would differ
        model = build()
        prior = {"prior_mean": first.model.location, "prior_covariance": first.model.scatter}
        cold_model = type(model)(4, 2, model.covariance_type, **prior)
    else:
        cold_model = build()
    for steps in (1, 3):
        method = CAVI(steps=steps, progress=False)
        warm, cold = method.fit(first.model, draw(150, 2)), method.fit(cold_model, draw(150, 2))
        assert warm.history.bound.iloc[-1] >= cold.history.bound.iloc[-1]


@pytest.mark.parametrize("passes", [1, 2])
def test_chunks_as_they_come_are_scikit_learns_partial_fit(
    float64: None, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a concentration at which each document's bound has one maximum, whatever it is started from."""
    exactly = property(lambda guide: 1e-10, lambda guide, value: None)  # documents are found to the end, as the peer's
    monkeypatch.setattr(LDACoordinates, "tolerance", exactly, raising=False)
    chunks = documents(120, 3).split(40) * passes
    model = LatentDirichletAllocation(4, 20, alpha=1.5, eta=0.2)
    start = 1.0 + torch.rand(4, 20)
    with torch.no_grad():
        model.log_counts.copy_((start - model.eta).log())
    model.fitted = True
    peer = sklearn.decomposition.LatentDirichletAllocation(
        4,
        doc_topic_prior=1.5,
        topic_word_prior=0.2,
        learning_decay=0.7,
        learning_offset=10.0,
        total_samples=500,
        batch_size=20,
        max_doc_update_iter=5_000,
        mean_change_tol=1e-12,
        random_state=0,
    )
    peer._init_latent_vars(20, dtype=np.float64)
    peer.components_ = start.numpy().copy()
    peer.exp_dirichlet_component_ = np.exp((start.digamma() - start.sum(-1, keepdim=True).digamma()).numpy())
    fitted, taken = model, 0
    for chunk in chunks:
        for part in chunk.split(20):  # scikit-learn takes a chunk's rows in their order
            fit = CAVI(steps=1, batch_size=20, delay=10.0, data_size=500, progress=False).fit(fitted, part)
            fitted, taken = fit.model, taken + 1
            assert int(fit.guide.mini_batches) == taken
        peer.partial_fit(chunk.numpy())
    torch.testing.assert_close(fit.guide.concentration, torch.as_tensor(peer.components_), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fit.model.topics, fit.guide.topics)


def test_steps_on_chunks_of_a_mixture_are_one_run_of_steps(float64: None) -> None:
    """In two fits of one step each, or in one fit of two that sees the same batches."""
    first, second = points(60, 1), points(60, 2)
    prior = {"prior_mean": torch.zeros(2), "prior_covariance": torch.eye(2)}
    method = CAVI(steps=1, batch_size=60, data_size=1_000, progress=False)
    one = method.fit(BayesianGaussianMixture(3, 2, **prior), first)
    two = method.fit(one.model, second)
    guide = BayesianGaussianMixture(3, 2, **prior).coordinate_guide({"x": first}, 0)
    guide.load_state_dict(one.guide.state_dict())
    bound = guide.stochastic_update({"x": second}, 1_000, (2 + 1.0) ** -0.7)
    torch.testing.assert_close(two.guide.means, guide.means)
    torch.testing.assert_close(two.guide.degrees, guide.degrees)
    assert two.history.bound.iloc[-1] == pytest.approx(float(bound))
    assert two.history.bound_per_datum.iloc[-1] == pytest.approx(float(bound) / 1_000)


@pytest.mark.parametrize("name", ONLINE)
def test_a_resumed_run_goes_on_at_the_same_rate(float64: None, name: str, tmp_path) -> None:
    build, draw = MODELS[name]
    first = CAVI(steps=3, batch_size=50, progress=False).fit(build(), draw(100, 1))
    method = CAVI(steps=6, batch_size=50, checkpoint_every=2, progress=False)
    whole = method.fit(first.model, draw(100, 2))
    cut = method.fit(first.model, draw(100, 2), callbacks=[lambda progress: progress.step == 3])
    assert int(cut.guide.mini_batches) == 6 and int(whole.guide.mini_batches) == 9

    class KilledError(Exception):
        pass

    def kill(progress):
        if progress.step == 5:
            raise KilledError

    with pytest.raises(KilledError):
        method.fit(first.model, draw(100, 2), checkpoint=tmp_path / "run", callbacks=[kill])
    resumed = method.fit(first.model, draw(100, 2), checkpoint=tmp_path / "run")
    for key, value in whole.guide.state_dict().items():
        assert torch.equal(resumed.guide.state_dict()[key], value), key


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_fit_goes_on_too(float64: None, name: str, tmp_path) -> None:
    build, draw = MODELS[name]
    first = CAVI(steps=20, progress=False).fit(build(), draw(100, 1))
    first.save(tmp_path / "fit")
    models = (first.model, load(tmp_path / "fit").model)
    fits = [CAVI(steps=2, progress=False).fit(model, draw(80, 2)) for model in models]
    assert fits[0].history.bound.tolist() == fits[1].history.bound.tolist()
    assert first.model.learned_factors is first.guide and first.guide is not fits[0].guide
    assert not any("factors" in key for key in first.model.state_dict())


@pytest.mark.parametrize("name", MODELS)
def test_a_new_model_starts_where_its_factors_say(float64: None, name: str) -> None:
    build, draw = MODELS[name]
    data = draw(80, 1)
    batch = data if isinstance(data, dict) else {"x": data}
    model = build()
    fit = CAVI(steps=1, progress=False).fit(model, data, seed=3)
    model.initialize(batch, derive_seed(3, "initialize"))
    guide = model.coordinate_guide(batch, derive_seed(3, "factors"))
    assert float(guide.update(batch)) == pytest.approx(fit.history.bound.iloc[-1], rel=1e-12)


def test_a_fit_of_another_method_takes_the_factors_place(float64: None) -> None:
    x = documents(60, 1)
    first = CAVI(steps=10, progress=False).fit(LatentDirichletAllocation(4, 20), x)
    moved = SVI(TraceMeanField_ELBO(), steps=5, lr=0.1, compile=False, progress=False).fit(first.model, x)
    assert moved.model.learned_factors is None
    guide = moved.model.coordinate_guide({"x": x}, 0)
    torch.testing.assert_close(guide.topics, moved.model.topics)
    assert not torch.allclose(guide.topics, first.guide.topics, rtol=1e-3)


def test_studies_tell_a_model_that_goes_on_from_one_that_starts() -> None:
    x = points(60, 1)
    model = BayesianGaussianMixture(3, 2, prior_mean=torch.zeros(2), prior_covariance=torch.eye(2))
    fits = [CAVI(steps=steps, progress=False).fit(model, x).model for steps in (1, 5)]
    assert len({fingerprint(each) for each in (model, *fits)}) == 3
    declared = BayesianLogisticRegression(2)
    before = fingerprint(declared)
    declared.fitted = True
    assert fingerprint(declared) != before


def test_sizes_that_cannot_be() -> None:
    with pytest.raises(ConfigurationError, match="`data_size` = 100 is for steps on mini-batches: give `batch_size`"):
        CAVI(data_size=100)
    with pytest.raises(ConfigurationError, match="`data_size` must be"):
        CAVI(batch_size=10, data_size=0)
    with pytest.raises(DataError, match="`data_size` is 50, fewer than the 60 data given"):
        CAVI(steps=1, batch_size=10, data_size=50).fit(BayesianGaussianMixture(3, 2), points(60, 1))


def test_factors_saved_before_they_counted_their_steps_are_read(float64: None) -> None:
    guide = BayesianGaussianMixture(3, 2).coordinate_guide({"x": points(60, 1)}, 0)
    state = {key: value for key, value in guide.state_dict().items() if key != "mini_batches"}
    guide.mini_batches.fill_(4)
    guide.load_state_dict(state)
    assert int(guide.mini_batches) == 0
