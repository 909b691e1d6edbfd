"""Models that a study or the command line builds: their networks are a function of the seed."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from jensen.datasets import Dataset
from jensen.inference import SVI, load
from jensen.models import VAE
from jensen.studies import Study
from jensen.studies.arms.seeded import seeded
from jensen.studies.cli import main

NETWORK = """
import torch
from jensen.models import VAE

def make():
    return VAE(6, 2, hidden=(5,))

built = VAE(6, 2, hidden=(5,))
"""


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    (tmp_path / "mine.py").write_text(NETWORK)
    np.savez(tmp_path / "rows.npz", x=(np.random.default_rng(0).random((30, 6)) > 0.5).astype(np.float32))
    return tmp_path


def call(*words: object) -> None:
    """Run the command; what goes wrong is an error here too."""
    with contextlib.suppress(SystemExit):
        main([str(word) for word in words])


def settings(model: str) -> list[str]:
    return [] if ":" in model else ["--set", "latent_dim=2", "--set", "hidden=(5,)"]


def command(seed: int, model: str, out: str) -> dict[str, torch.Tensor]:
    options = ["--steps", 3, "--compile", "off", "--particles", 20, "--seed", seed, "--out", out, "--quiet"]
    call("fit", model, "--data", "rows.npz", *settings(model), *options)
    return load(out).model.state_dict()


def weights(state: dict[str, torch.Tensor]) -> torch.Tensor:
    """The first of the decoder."""
    return next(value for name, value in state.items() if name.startswith("decoder") and name.endswith("weight"))


def scores(capsys) -> list[str]:
    """What the command printed of ELBO and evidence since the last call."""
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith(("ELBO", "log evidence"))]


@pytest.mark.parametrize("model", ["VAE", "mine.py:make", "mine.py:built"])
def test_the_command_gives_the_same_fit_for_the_same_seed(model, here, capsys):
    torch.manual_seed(1)
    first = command(7, model, "first")
    shown = scores(capsys)
    torch.manual_seed(2)
    second = command(7, model, "second")
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert len(shown) == 2 and scores(capsys) == shown
    assert not torch.equal(weights(first), weights(command(8, model, "third")))


def test_the_doctor_builds_the_same_networks_every_time(here, monkeypatch, capsys):
    import jensen.inference.doctor as doctor

    seen = []
    examine = doctor.examine
    monkeypatch.setattr(doctor, "examine", lambda model, *rest: seen.append(model) or examine(model, *rest))
    for start in (1, 2):
        torch.manual_seed(start)
        call("doctor", "VAE", "--data", "rows.npz", *settings("VAE"))
    first, second = (model.state_dict() for model in seen)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_studys_factory_is_built_under_each_arms_seed(here):
    data = Dataset("rows", {"x": torch.from_numpy(np.load("rows.npz")["x"])})
    found = []
    for start in (1, 2):
        torch.manual_seed(start)
        study = Study(
            "networks",
            model=lambda: VAE(6, 2, hidden=(5,)),
            data=data,
            methods={"plain": SVI(steps=2, compile=False, progress=False)},
            metrics={},
            seeds=(3, 4),
        )
        study.run(f"runs-{start}", progress=False)
        found.append([arm.load(Path(f"runs-{start}")).model.state_dict() for arm in study.arms()])
    for arm in (0, 1):
        assert all(torch.equal(value, found[1][arm][name]) for name, value in found[0][arm].items())
    assert not torch.equal(weights(found[0][0]), weights(found[0][1]))


def test_the_callers_random_states_are_put_back():
    def draws():
        return torch.rand(()).item(), random.random(), np.random.random()  # noqa: NPY002

    torch.manual_seed(0), random.seed(0), np.random.seed(0)  # noqa: NPY002
    expected = draws()
    torch.manual_seed(0), random.seed(0), np.random.seed(0)  # noqa: NPY002
    with seeded(5):
        inside = draws()
    assert draws() == expected
    torch.manual_seed(0), random.seed(0), np.random.seed(0)  # noqa: NPY002
    with pytest.raises(KeyError), seeded(5):
        {}["left by an error"]
    assert draws() == expected
    with seeded(5):
        assert draws() == inside
    with seeded(2**40 + 5):
        assert draws() != inside
