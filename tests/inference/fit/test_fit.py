"""A fit draws, predicts, exports, shows and stores what was fitted, and nothing can be changed through it."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference.errors import CheckpointError, ConfigurationError, DataError
from jensen.inference.fit.fit import Fit
from jensen.inference.fit.load import load
from jensen.inference.guides import build_guide
from jensen.models import LatentVariableModel

N = 12


class Regression(LatentVariableModel):
    """Normal weights, a learned noise scale; the constructor's arguments fit in a file."""

    def __init__(self, num_features: int, prior: torch.Tensor | None = None, activation: Any = nn.Tanh) -> None:
        super().__init__()
        self.num_features = num_features
        self.register_buffer("prior", torch.ones(num_features) if prior is None else prior)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.activation = activation()

    def model(self, x, y=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(self.num_features), self.prior).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(x @ w, self.log_scale.exp()), obs=y)


class Effects(LatentVariableModel):
    """A global mean and one latent a datum."""

    def model(self, x=None, size: int = 1):
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("data", size if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(m, 1.0))
            return pyro.sample("x", dist.Normal(z, 0.1), obs=x)


class Coder(LatentVariableModel):
    """An amortised model that is given its networks."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = nn.Linear(2, 3)

    def model(self, x=None):
        with pyro.plate("data", 1 if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x=None):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.5).to_event(1))


class Mixture(LatentVariableModel):
    """A discrete latent that is summed out."""

    def model(self, x=None):
        m = pyro.sample("m", dist.Normal(torch.zeros(2), 3.0).to_event(1))
        with pyro.plate("data", 1 if x is None else len(x)):
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.3, 0.7])), infer={"enumerate": "parallel"})
            return pyro.sample("x", dist.Normal(m[c], 1.0), obs=x)


def history() -> pd.DataFrame:
    rows = {"step": [100, 200], "bound": [-30.0, -20.123456789012345], "bound_per_datum": [-2.5, -20.123 / 12]}
    return pd.DataFrame({**rows, "seconds": [0.1, 0.2], "validation_bound": [np.nan, -1 / 3]})


def make(model: Any, data: dict[str, torch.Tensor], guide: Any = None, streamed: bool = False, **changes: Any) -> Fit:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        made = build_guide(guide, model, data)
        generator = torch.Generator().manual_seed(1)
        modules = [part for part in (model, made) if isinstance(part, nn.Module)]
        for parameter in [p for module in modules for p in module.parameters()]:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    config = {"objective": {"$type": "Trace_ELBO"}, "guide": guide if isinstance(guide, str) else None, "lr": 0.1}
    info = {"seconds": 0.2, "steps": 200, "steps_per_second": 1000.0, "device": "cpu", "dtype": "torch.float64"}
    keys: dict[str, Any] = {"seed": 7, "data": data, "data_size": N, "info": info} | changes
    if streamed:
        keys |= {"data": None, "prototype": {name: value[:1] for name, value in data.items()}}
    return Fit("SVI", config, model, made, history(), **keys)


def regression(guide: Any = "normal", **changes: Any) -> Fit:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, 3, generator=generator, dtype=torch.float64)
    data = {"x": x, "y": x.sum(1)}
    return make(Regression(3, prior=torch.full((3,), 2.0)).double(), data, guide, **changes)


def effects() -> Fit:
    return make(Effects(), {"x": torch.linspace(-1, 1, N)}, "normal")


def coder(**changes: Any) -> Fit:
    encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    return make(Coder(encoder), {"x": (torch.arange(3 * N).view(N, 3) % 2).float()}, **changes)


def mixture() -> Fit:
    return make(Mixture(), {"x": torch.linspace(-3, 3, N)}, "normal")


def test_posterior_of_globals_needs_no_data() -> None:
    fit = regression()
    draws = fit.posterior(4_000)
    assert list(draws) == ["w"]
    assert draws["w"].shape == (4_000, 3)
    assert draws["w"].dtype == torch.float64
    assert not draws["w"].requires_grad
    parameters = dict(fit.guide.named_parameters())  # type: ignore[union-attr]
    loc, scale = parameters["loc_w"], parameters["log_scale_w"].exp()
    assert bool(((draws["w"].mean(0) - loc).abs() < 5 * scale / 4_000**0.5).all())
    torch.testing.assert_close(draws["w"].std(0), scale, rtol=0.08, atol=0.0)
    streamed = regression(streamed=True)
    torch.testing.assert_close(streamed.posterior(10), fit.posterior(10))


def test_draws_are_a_function_of_the_seed_and_leave_the_generator_alone() -> None:
    fit = regression()
    before = torch.get_rng_state()
    first, again, other = fit.posterior(5), fit.posterior(5), fit.posterior(5, seed=1)
    assert torch.equal(first["w"], again["w"])
    assert not torch.equal(first["w"], other["w"])
    assert torch.equal(fit.predict(num=3)["y"], fit.predict(num=3)["y"])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_default_dtype() == torch.float32


def test_posterior_of_locals() -> None:
    fit = effects()
    assert list(fit.posterior(6)) == ["m"]
    both = fit.posterior(6, data=fit.data)
    assert {name: value.shape for name, value in both.items()} == {"m": (6,), "z": (6, N)}
    unsaved = make(Effects(), {"x": torch.linspace(-1, 1, N)}, "normal", streamed=True)
    assert torch.equal(unsaved.posterior(6)["m"], fit.posterior(6)["m"])
    amortised = coder()
    assert amortised.posterior(6)["z"].shape == (6, N, 2)
    assert amortised.posterior(6, data=amortised.data["x"][:5])["z"].shape == (6, 5, 2)  # type: ignore[index]
    streamed = coder(streamed=True)
    with pytest.raises(DataError, match=r"`data` must be given: every latent belongs to a datum"):
        streamed.posterior(6)
    with pytest.raises(DataError, match=r"`data` must be given: this fit does not hold its training data"):
        streamed.predict()
    assert streamed.predict(amortised.data, num=2)["x"].shape == (2, N, 3)
    assert list(mixture().posterior(6)) == ["m"]


def test_fitted_networks_are_run_in_evaluation_mode_and_left_as_they_were() -> None:
    fit = coder()
    fit.model.train()
    mean = fit.posterior(2_000)["z"].mean(0)
    assert fit.model.encoder[2].training
    fit.model.eval()
    torch.testing.assert_close(mean, fit.model.encoder(fit.data["x"]).detach(), atol=0.08, rtol=0.0)  # type: ignore[index]


def test_predict() -> None:
    fit = regression()
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    drawn = fit.predict({"x": x}, num=4_000)
    assert list(drawn) == ["y"]
    assert drawn["y"].shape == (4_000, 5)
    w = fit.posterior(20_000)["w"]
    noise = fit.model.log_scale.exp().item()
    deviation = ((w @ x.T).var(0) + noise**2).sqrt()
    assert bool(((drawn["y"].mean(0) - (w @ x.T).mean(0)).abs() < 5 * deviation / 4_000**0.5).all())
    torch.testing.assert_close(drawn["y"].std(0), deviation, rtol=0.06, atol=0.0)
    assert fit.predict(num=2)["y"].shape == (2, N)
    assert not torch.equal(fit.predict(num=1)["y"][0], fit.data["y"])  # type: ignore[index]
    assert coder().predict(num=3)["x"].shape == (3, N, 3)
    assert mixture().predict(num=3)["x"].shape == (3, N)
    assert effects().predict(num=3)["x"].shape == (3, N)


def test_bad_draws_are_refused() -> None:
    fit = regression()
    for bad in (0, -1, 1.5, True):
        with pytest.raises(ConfigurationError, match="`num` must be an integer of at least 1, got"):
            fit.posterior(bad)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"`Regression` takes no argument `z`"):
        fit.predict({"z": torch.zeros(3)})
    sampled = regression(draws={"w": torch.zeros(8, 3)})
    with pytest.raises(ConfigurationError, match=r"`num` is 9, but the fit holds 8 draws"):
        sampled.posterior(9)


def test_fit_is_immutable() -> None:
    fit = regression()
    with pytest.raises(dataclasses.FrozenInstanceError):
        fit.status = "other"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        fit.history = history()  # type: ignore[misc]
    table = fit.history
    table.loc[0, "bound"] = 1.0
    pd.testing.assert_frame_equal(fit.history, history())
    with pytest.raises(DataError, match=r"`prototype` must be given for a fit that does not hold its data"):
        Fit("SVI", {}, fit.model, fit.guide, history())


def test_fit_can_be_copied_and_sent_to_another_process() -> None:
    for fit in (regression(), coder(), effects()):
        for again in (copy.deepcopy(fit), pickle.loads(pickle.dumps(fit))):
            for name, value in fit.posterior(3, data=fit.data).items():
                assert torch.equal(again.posterior(3, data=fit.data)[name], value)
            pd.testing.assert_frame_equal(again.history, fit.history)


def test_fit_shows_itself() -> None:
    from rich.console import Console

    text = repr(regression())
    for part in ("Fit by SVI", "Regression", "Trace_ELBO", "normal", "w (3,)", "finished after 200 steps, seed 7"):
        assert part in text
    assert "-1.6769 nats per datum (-20.1 in all)" in text
    assert "0.2 s (1,000 steps/s)" in text
    console = Console(width=100, file=io.StringIO())
    console.print(regression())
    assert "nats per datum" in console.file.getvalue()  # type: ignore[attr-defined]
    html = regression(status="<interrupted>")._repr_html_()
    assert html.startswith("<table>")
    assert "&lt;interrupted&gt; after 200 steps" in html
    assert "z [per datum]" in repr(effects())
    assert "the model's own" in repr(coder())
    assert "c [per datum, summed out]" in repr(mixture())


def pointwise(fit: Fit, draws: torch.Tensor) -> torch.Tensor:
    mean = draws @ fit.data["x"].T  # type: ignore[index]
    return torch.distributions.Normal(mean, fit.model.log_scale.exp()).log_prob(fit.data["y"])  # type: ignore[index]


def test_arviz_holds_the_likelihood_of_its_own_draws(tmp_path: Path) -> None:
    import arviz

    fit = regression()
    idata = fit.to_arviz(num=50, seed=2)
    assert idata.posterior["w"].shape == (1, 50, 3)
    draws = torch.tensor(idata.posterior["w"].values[0])
    likelihood = idata.log_likelihood["y"]
    assert likelihood.dims == ("chain", "draw", "data")
    np.testing.assert_allclose(likelihood.values[0], pointwise(fit, draws).detach().numpy(), rtol=1e-10)
    np.testing.assert_array_equal(idata.observed_data["y"], fit.data["y"].numpy())  # type: ignore[index]
    assert idata.constant_data["x"].shape == (N, 3)
    idata.to_netcdf(str(tmp_path / "fit.nc"))
    read = arviz.from_netcdf(str(tmp_path / "fit.nc"))
    attrs = read.attrs
    assert (attrs["method"], attrs["objective"], attrs["model"], attrs["seed"]) == (
        "SVI",
        "Trace_ELBO",
        "Regression",
        7,
    )
    assert "torch" in json.loads(attrs["versions"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the k-hat of this arbitrary posterior
        assert np.isfinite(arviz.loo(read).elpd_loo)


def test_arviz_of_local_and_discrete_latents() -> None:
    idata = effects().to_arviz(num=20)
    assert idata.posterior["z"].dims == ("chain", "draw", "data")
    z, x = torch.tensor(idata.posterior["z"].values), torch.linspace(-1, 1, N)
    expected = torch.distributions.Normal(z, 0.1).log_prob(x)
    np.testing.assert_allclose(idata.log_likelihood["x"].values, expected.numpy(), rtol=1e-4)
    idata = mixture().to_arviz(num=20)
    m, x = torch.tensor(idata.posterior["m"].values)[0], torch.linspace(-3, 3, N)
    joint = torch.distributions.Normal(m.unsqueeze(1), 1.0).log_prob(x.unsqueeze(-1)) + torch.tensor([0.3, 0.7]).log()
    np.testing.assert_allclose(idata.log_likelihood["x"].values[0], joint.logsumexp(-1).numpy(), rtol=1e-4)


def test_arviz_without_data() -> None:
    whole, fit = regression(), regression(streamed=True)
    idata = fit.to_arviz(num=10)
    assert idata.groups() == ["posterior"]
    with pytest.raises(DataError, match=r"`data` must be given: this fit does not hold its training data"):
        fit.to_arviz(num=10, log_likelihood=True)
    given = fit.to_arviz(num=10, data=whole.data)
    assert given.log_likelihood.equals(whole.to_arviz(num=10).log_likelihood)
    with pytest.raises(DataError, match=r"`data` must be given"):
        coder(streamed=True).to_arviz()
    assert "log_likelihood" not in whole.to_arviz(num=10, log_likelihood=False).groups()


def test_stored_draws_are_scored_and_predicted_from() -> None:
    model, data = Regression(3).double(), regression().data
    draws = {"w": torch.randn(8, 3, dtype=torch.float64)}
    fit = Fit("NUTS", {}, model, None, history(), data=data, draws=draws, info={"chains": 2})
    assert torch.equal(fit.posterior(8)["w"], draws["w"])
    assert torch.equal(fit.posterior(2)["w"], draws["w"][[0, 7]])
    idata = fit.to_arviz(num=8)
    assert idata.posterior["w"].shape == (2, 4, 3)
    likelihood = idata.log_likelihood["y"].values.reshape(8, N)
    np.testing.assert_allclose(likelihood, pointwise(fit, draws["w"]).detach().numpy(), rtol=1e-10)
    assert fit.predict(num=8)["y"].shape == (8, N)
    assert "draws" in repr(fit)


@pytest.mark.parametrize("guide", ["normal", "multivariate_normal", "lowrank", "iaf", pyro.infer.autoguide.AutoNormal])
def test_save_and_load_gives_the_same_fit(tmp_path: Path, guide: Any) -> None:
    fit = regression(guide)
    assert fit.save(tmp_path / "a" / "fit") == tmp_path / "a" / "fit"
    names = {path.name for path in (tmp_path / "a" / "fit").iterdir()}
    assert names == {"fit.json", "parameters.safetensors", "history.csv", "data.safetensors"}
    before = torch.get_rng_state()
    found = load(tmp_path / "a" / "fit")
    assert torch.equal(torch.get_rng_state(), before)
    assert (found.method, found.seed, found.status, found.data_size) == ("SVI", 7, fit.status, N)
    assert found.config == fit.config
    assert found.info == fit.info
    pd.testing.assert_frame_equal(found.history, fit.history, check_exact=True)
    assert found.model.prior.tolist() == [2.0] * 3
    for name, value in fit.program.state_dict().items():
        assert torch.equal(found.program.state_dict()[name], value)
        assert found.program.state_dict()[name].dtype == value.dtype
    assert torch.equal(found.posterior(5)["w"], fit.posterior(5)["w"])
    assert torch.equal(found.predict(num=3)["y"], fit.predict(num=3)["y"])
    assert found.to_arviz(num=5).log_likelihood.equals(fit.to_arviz(num=5).log_likelihood)
    found.save(tmp_path / "again")
    assert torch.equal(load(tmp_path / "again").posterior(5)["w"], fit.posterior(5)["w"])
    assert len(pyro.get_param_store()) == 0


def test_load_of_per_datum_parameters_and_of_draws(tmp_path: Path) -> None:
    fit = effects()
    fit.save(tmp_path / "local", data=False)
    found = load(tmp_path / "local")
    assert found.data is None
    data = {"x": torch.linspace(-1, 1, N)}
    assert torch.equal(found.posterior(5, data=data)["z"], fit.posterior(5, data=data)["z"])
    assert "z [per datum]" in repr(found)
    draws = {"w": torch.randn(8, 3, dtype=torch.float64)}
    sampled = Fit("NUTS", {}, Regression(3).double(), None, history(), data=regression().data, draws=draws)
    sampled.save(tmp_path / "draws")
    again = load(tmp_path / "draws")
    assert again.guide is None
    assert torch.equal(again.posterior(8)["w"], draws["w"])
    assert again.to_arviz(num=8).log_likelihood.equals(sampled.to_arviz(num=8).log_likelihood)


def kinds(x):
    """A function with a latent that is summed out."""
    loc = pyro.sample("loc", dist.Normal(0.0, 3.0))
    with pyro.plate("data", len(x)):
        kind = pyro.sample("kind", dist.Bernoulli(0.4), infer={"enumerate": "parallel"})
        pyro.sample("x", dist.Normal(loc + kind, 1.0), obs=x)


def test_load_of_draws_of_a_function(tmp_path: Path) -> None:
    data, draws = {"x": torch.linspace(-1, 1, N)}, {"loc": torch.randn(8)}
    fit = Fit("NUTS", {}, kinds, None, history(), data=data, draws=draws)
    found = load(fit.save(tmp_path / "draws"), model=kinds)
    assert torch.equal(found.posterior(8)["loc"], draws["loc"])
    assert torch.equal(found.posterior(8, data=data)["kind"], fit.posterior(8, data=data)["kind"])
    with pytest.raises(CheckpointError, match=r"draws are of \['loc'\], but the model's latents are \['other'\]"):
        load(tmp_path / "draws", model=renamed)


def renamed(x):
    """Another latent's name."""
    loc = pyro.sample("other", dist.Normal(0.0, 3.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


def plain_guide(x, y=None):
    """A guide program whose parameters are `pyro.param` statements."""
    loc = pyro.param("w_loc", torch.zeros(3))
    scale = pyro.param("w_scale", torch.ones(3), constraint=dist.constraints.positive)
    pyro.sample("w", dist.Normal(loc, scale).to_event(1))


def test_what_a_file_cannot_hold_must_be_passed(tmp_path: Path) -> None:
    fit = coder()
    fit.save(tmp_path / "coder")
    with pytest.raises(
        CheckpointError, match=r"`Coder` cannot be built again: its constructor took `encoder`, a Sequen"
    ):
        load(tmp_path / "coder")
    encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    fresh = Coder(encoder)
    start = encoder[0].weight.clone()
    found = load(tmp_path / "coder", model=fresh)
    assert torch.equal(found.posterior(3)["z"], fit.posterior(3)["z"])
    assert torch.equal(encoder[0].weight, start)
    with pytest.raises(CheckpointError, match=r"parameters are not those of this model"):
        load(tmp_path / "coder", model=Coder(nn.Linear(3, 2)))
    whole = regression(lambda model: plain_guide)
    whole.posterior(1)  # the first run makes the guide's parameters
    whole.program.pyro_params.w_loc.data += torch.arange(3.0)
    whole.save(tmp_path / "plain")
    with pytest.raises(CheckpointError, match=r"is your own and cannot be made from a file. Pass `guide=`"):
        load(tmp_path / "plain")
    found = load(tmp_path / "plain", guide=lambda model: plain_guide)
    assert torch.equal(found.posterior(3)["w"], whole.posterior(3)["w"])


def test_foreign_code_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_models.py").write_text("import sys\nsys.modules['touched'] = sys\nfrom jensen.models import *\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    data = regression().data
    foreign = type("Foreign", (Regression,), {"__module__": "my_models"})
    fit = make(foreign(3).double(), data, "normal")  # type: ignore[arg-type]
    fit.save(tmp_path / "fit")
    with pytest.raises(
        CheckpointError, match=r"class is in `my_models`, which is not imported. Import it first, pass `mod"
    ):
        load(tmp_path / "fit")
    assert "touched" not in sys.modules
    with pytest.raises(CheckpointError, match=r"`my_models:Foreign` cannot be found"):
        load(tmp_path / "fit", trust=True)
    assert sys.modules.pop("touched") is sys
    assert load(tmp_path / "fit", model=foreign(3).double()).seed == 7
    disguised = type("Popen", (Regression,), {"__module__": "subprocess"})
    make(disguised(3).double(), data, "normal").save(tmp_path / "popen")  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"`subprocess:Popen` is not a LatentVariableModel"):
        load(tmp_path / "popen")


def test_damaged_or_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no fit: it has no fit.json"):
        load(tmp_path)
    fit = regression()
    fit.save(tmp_path)
    (tmp_path / "history.csv").write_text("step\n")
    with pytest.raises(CheckpointError, match=r"history.csv is truncated or was changed"):
        load(tmp_path)
    fit.save(tmp_path)  # repairs it
    assert load(tmp_path).seed == 7
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"A file is in the way"):
        fit.save(tmp_path / "file")
