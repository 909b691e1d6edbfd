"""Tensors, arrays, tables, Datasets and DataLoaders all feed the same loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from jensen.datasets import DynamicBinarization
from jensen.inference import SVI, DataError, Trace_ELBO, TraceMeanField_ELBO
from jensen.inference.data import data as data_module
from jensen.models import VAE

OPTIONS: dict[str, Any] = {"steps": 16, "lr": 0.05, "log_every": 4, "device": "cpu", "compile": "trace"}


def test_arrays_tables_and_datasets_give_the_same_fit(logistic: Any, same: Callable[..., None]) -> None:
    model, data = logistic
    svi = SVI(Trace_ELBO(), **OPTIONS)
    expected = svi.fit(model, data)
    arrays = {name: value.numpy() for name, value in data.items()}
    table = pandas.DataFrame(arrays["x"], columns=list("abcd")).assign(y=arrays["y"].astype(int))
    for other in (arrays, table, TensorDataset(data["x"], data["y"])):
        same(svi.fit(model, other), expected)


def test_a_bare_tensor_is_the_first_argument(linear: Any, same: Callable[..., None]) -> None:
    model, data = linear
    svi = SVI(Trace_ELBO(), **OPTIONS)
    same(svi.fit(model, data["x"]), svi.fit(model, data))


def test_a_dataset_larger_than_memory_is_read_as_needed(
    vae: Any, same: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jensen.inference.methods.svi import svi as module

    model, data = vae
    svi = SVI(TraceMeanField_ELBO(), batch_size=16, **OPTIONS)
    expected = svi.fit(model, data)
    as_data = data_module.as_data
    monkeypatch.setattr(module, "as_data", lambda *args, **more: as_data(*args, **more, max_bytes=8))
    streamed = svi.fit(model, TensorDataset(data["x"]))
    assert streamed.data is None
    assert streamed.data_size == 50
    same(streamed, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("mode", [False, "trace"])
def test_a_loader_brings_its_own_batches(vae: Any, tmp_path: Path, mode: Any, same: Callable[..., None]) -> None:
    model, data = vae
    loader = DataLoader(TensorDataset(data["x"]), batch_size=16, shuffle=True)  # the last of four batches has two data
    svi = SVI(TraceMeanField_ELBO(), **{**OPTIONS, "steps": 22, "compile": mode})
    rng = torch.get_rng_state()
    fit = svi.fit(model, loader, seed=3)
    assert torch.equal(torch.get_rng_state(), rng)
    assert fit.data is None and fit.data_size == 50
    assert fit.history["bound_per_datum"].iloc[0] == pytest.approx(fit.history["bound"].iloc[0] / 50)

    def interrupt(progress: Any) -> None:
        if progress.step == 8:
            raise KeyboardInterrupt

    svi.fit(model, loader, seed=3, checkpoint=tmp_path, callbacks=[interrupt])
    same(svi.fit(model, loader, seed=3, checkpoint=tmp_path), fit)


def test_a_loader_in_order_equals_fixed_mini_batches_in_scale(linear: Any) -> None:
    """Every batch is scaled to the whole, so the expected bound does not depend on how the data come."""
    model, data = linear
    svi = SVI(TraceMeanField_ELBO(200), **{**OPTIONS, "lr": 1e-9, "log_every": 16})
    bounds = [
        svi.fit(model, source).history["bound"].iloc[-1]
        for source in (data, DataLoader(TensorDataset(data["x"]), batch_size=10))
    ]
    assert bounds[0] == pytest.approx(bounds[1], rel=0.02)


class Grey(Dataset[torch.Tensor]):
    def __init__(self, x: torch.Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.x[index]


@pytest.mark.parametrize("source", ["tensor", "dataset", "loader"])
def test_a_transform_is_drawn_afresh_at_every_step(vae: Any, source: str, same: Callable[..., None]) -> None:
    model, _ = vae
    grey = torch.rand(50, 6)
    data: Any = {"tensor": grey, "dataset": Grey(grey), "loader": DataLoader(Grey(grey), batch_size=16)}[source]
    svis = [
        SVI(
            TraceMeanField_ELBO(),
            transform=DynamicBinarization(),
            batch_size=None if source == "loader" else 16,
            **{**OPTIONS, "compile": mode},
        )
        for mode in (False, "trace")
    ]
    fits = [svi.fit(model, data, validation=grey[:10]) for svi in svis]
    same(*fits, rtol=1e-9, atol=1e-11)
    if source == "tensor":
        assert set(np.unique(fits[0].data["x"])) == {0.0, 1.0}


def test_a_transform_that_the_model_cannot_read_is_refused(vae: Any) -> None:
    model, data = vae
    with pytest.raises(DataError, match="`VAE` cannot use the transformed data"):
        SVI(Trace_ELBO(), transform=lambda batch, _: {"x": batch["x"] + 0.5}, **OPTIONS).fit(model, data)


class Counted:
    """A transform that counts how often it is asked to look at the data, and how often it is applied."""

    def __init__(self) -> None:
        self.looked: list[int] = []
        self.applied = 0

    def check(self, batch: dict[str, torch.Tensor]) -> None:
        self.looked.append(len(batch["x"]))

    def __call__(self, batch: dict[str, torch.Tensor], generator: Any = None) -> dict[str, torch.Tensor]:
        self.applied += 1
        return batch


def _raw(kind: str, x: torch.Tensor) -> Any:
    if kind == "memory":
        return {"x": x}
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=4)


@pytest.mark.parametrize(("kind", "seen"), [("memory", 12), ("loader", 4)])
def test_a_transform_looks_at_the_data_once(kind: str, seen: int) -> None:
    transform, x = Counted(), torch.rand(12, 6).round()
    options: dict[str, Any] = {"steps": 8, "batch_size": 4, "compile": False, "restarts": 2, "progress": False}
    SVI(TraceMeanField_ELBO(), transform=transform, **options).fit(VAE(6, 2, hidden=(4,)), _raw(kind, x))
    assert transform.looked == [seen]
    assert transform.applied >= 16
    transform.looked.clear()
    SVI(TraceMeanField_ELBO(), transform=transform, **options).fit(
        VAE(6, 2, hidden=(4,)), _raw(kind, x), validation={"x": x[:5]}
    )
    assert sorted(transform.looked) == sorted([5, seen])


@pytest.mark.parametrize("kind", ["memory", "loader"])
@pytest.mark.parametrize(("scale", "shift"), [(255.0, 0.0), (1.0, -0.5)])
def test_data_that_cannot_be_binarised_are_refused_before_the_fit(kind: str, scale: float, shift: float) -> None:
    x = torch.linspace(0.0, 1.0, 6).repeat(12, 1)
    svi = SVI(TraceMeanField_ELBO(), steps=4, batch_size=4, transform=DynamicBinarization(), progress=False)
    expected = r"`DynamicBinarization` cannot use the {} data: `x`: expected floating-point intensities in \[0, 1\]"
    with pytest.raises(DataError, match=expected.format("training")):
        svi.fit(VAE(6, 2, hidden=(4,)), _raw(kind, scale * x + shift))
    with pytest.raises(DataError, match=expected.format("validation")):
        svi.fit(VAE(6, 2, hidden=(4,)), _raw(kind, x), validation={"x": scale * x + shift})
