"""What no fit, score or draw can be made of is a clear error of jensen's own, before anything is written."""

from __future__ import annotations

import pytest
import torch

from jensen.inference import CAVI, EM, SVI, LossMinimization, Trace_ELBO, elbo_terms, load, log_evidence, pareto_k
from jensen.inference.doctor import examine
from jensen.inference.errors import ConfigurationError, JensenError, ModelError
from jensen.inference.seeding import derive_seed
from jensen.models import VAE, VQVAE, BayesianGaussianMixture, BayesianLinearRegression, GaussianMixture

X = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
QUICK = SVI(steps=2, progress=False, compile=False)


@pytest.fixture(scope="module")
def fit():
    return EM(steps=1, progress=False).fit(GaussianMixture(2, 2), X)


@pytest.fixture(scope="module")
def regression():
    return QUICK.fit(BayesianLinearRegression(2), {"x": X, "y": X[:, 0]})


@pytest.mark.parametrize(
    "call",
    [
        lambda: QUICK.fit(GaussianMixture, X),
        lambda: EM().fit(GaussianMixture, X),
        lambda: EM().fit(VAE, X),
        lambda: CAVI().fit(BayesianGaussianMixture, X),
        lambda: LossMinimization().fit(VQVAE, X),
        lambda: examine(GaussianMixture),
    ],
)
def test_a_class_in_a_models_place_is_named(call):
    with pytest.raises(ModelError, match=r"`model` is the class `\w+`: build one, `\w+\(…\)`"):
        call()


@pytest.mark.parametrize("method", [QUICK, EM(progress=False), LossMinimization(progress=False)])
@pytest.mark.parametrize("callbacks", [[3], 3, None, "print", print])
def test_callbacks_are_functions_in_a_list(method, callbacks):
    with pytest.raises(ConfigurationError, match="`callbacks` must be"):
        method.fit(GaussianMixture(2, 2), X, callbacks=callbacks)


@pytest.mark.parametrize("metric", [log_evidence, elbo_terms, pareto_k])
def test_what_is_no_fit_has_no_score(metric, fit):
    with pytest.raises(ConfigurationError, match="`fit` must be a Fit, which a method's `fit` returns, got None"):
        metric(None)
    with pytest.raises(ConfigurationError, match=r"`fit` must be a Fit, .* got a GaussianMixture"):
        metric(fit.model, X)
    for num in ("a", None, 2.5, True, 0, float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match="`num_particles` must be"):
            metric(fit, num_particles=num)


@pytest.mark.parametrize("call", ["posterior", "to_arviz", "predict"])
def test_more_draws_than_any_memory_are_refused_at_once(regression, call):
    with pytest.raises(ConfigurationError, match=r"`num` is 10,000,000,000,000: so many draws take [\d,]+ GiB"):
        getattr(regression, call)(num=10**13)


def test_a_seed_is_a_whole_number(regression):
    for seed in ("a", None, 1.5):
        with pytest.raises(ConfigurationError, match="`seed` must be a whole number, got"):
            regression.posterior(2, seed=seed)
        with pytest.raises(ConfigurationError, match="`seed` must be a whole number, got"):
            derive_seed(seed, "epoch")


@pytest.mark.parametrize("place", [3, b"x", "", True])
def test_a_folder_is_named_by_a_path(fit, place):
    for call in (
        lambda: fit.save(place),
        lambda: load(place),
        lambda: EM(progress=False).fit(GaussianMixture(2, 2), X, checkpoint=place),
        lambda: QUICK.fit(GaussianMixture(2, 2), X, checkpoint=place),
    ):
        with pytest.raises(ConfigurationError, match="must be the path of a folder, got"):
            call()


@pytest.mark.parametrize(
    ("method", "data"),
    [
        (EM(progress=False), X[:, :1]),
        (EM(progress=False), X * torch.nan),
        (QUICK, X[:, :1]),
        (SVI(Trace_ELBO(), steps=2, progress=False, compile=False, batch_size=21), X),
    ],
)
def test_refused_data_leave_no_folder(method, data, tmp_path):
    with pytest.raises(JensenError):
        method.fit(GaussianMixture(2, 2), data, checkpoint=tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_first_step_that_fails_leaves_no_folder_but_the_callers(tmp_path):
    def stop(progress):
        raise ModelError("as asked")

    for method in (QUICK, EM(steps=2, progress=False)):
        (tmp_path / "own").mkdir(exist_ok=True)
        with pytest.raises(ModelError, match="as asked"):
            method.fit(GaussianMixture(2, 2), X, checkpoint=tmp_path / "own" / "a" / "b", callbacks=[stop])
        assert list((tmp_path / "own").iterdir()) == []
