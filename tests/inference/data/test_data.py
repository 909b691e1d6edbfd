"""Data in every accepted shape become batches; every fault is an error that says where it is; samplers are pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from jensen.inference.data.base import MemoryData
from jensen.inference.data.data import as_data
from jensen.inference.data.sampler import BatchSampler
from jensen.inference.errors import ConfigurationError, DataError, ModelError
from jensen.inference.seeding import derive_seed
from jensen.models import LatentVariableModel


class Regression(LatentVariableModel):
    def model(self, x, y=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    def check_data(self, x, y=None):
        if x.shape[1] != 2:
            raise ValueError(f"`x` must have 2 features, got {x.shape[1]}.")
        if y is not None and not bool(((y == 0) | (y == 1)).all()):
            raise ValueError("`y` must hold only 0 and 1.")


def tokens(x: torch.LongTensor, y=None):
    """A program given as a plain callable, with indices for its first argument."""


def tokens_free(x):
    """A program of one required argument."""


X = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
Y = torch.tensor([0, 1, 1])


@pytest.mark.parametrize(
    "data",
    [
        {"x": X, "y": Y},
        {"x": X.numpy(), "y": Y.numpy().astype(bool)},
        {"x": X.tolist(), "y": Y.tolist()},
        {"x": pd.DataFrame(X.numpy()), "y": pd.Series(Y.numpy())},
        pd.DataFrame({"a": [1, 3, 5], "b": [2.0, 4.0, 6.0], "y": [0, 1, 1]}),
        TensorDataset(X, Y),
        (X, Y),
        (pd.DataFrame(X.numpy()), Y.tolist()),
    ],
    ids=["tensors", "arrays", "lists", "frames", "frame", "dataset", "tuple", "tuple of frames"],
)
def test_every_container_gives_the_same_batch(data: Any) -> None:
    found = as_data(Regression(), data, dtype=torch.float64)
    assert isinstance(found, MemoryData)
    assert found.size == 3
    assert found.names == ("x", "y")
    batch = found.batch(torch.tensor([2, 0]))
    torch.testing.assert_close(batch["x"], X.double()[[2, 0]])
    torch.testing.assert_close(batch["y"], torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert found.batch().keys() == batch.keys()
    assert len(found.head(2)["x"]) == 2


def test_a_bare_array_is_the_first_argument() -> None:
    assert as_data(tokens, np.arange(3), observed=False).names == ("x",)
    assert as_data(Regression(), X, observed=False).names == ("x",)


def test_integers_become_floats_unless_the_model_asks_for_them() -> None:
    found = as_data(tokens, {"x": np.array([1, 2], dtype=np.uint8), "y": np.array([3, 4])})
    assert isinstance(found, MemoryData)
    assert found.tensors["x"].dtype == torch.int64
    assert found.tensors["y"].dtype == torch.get_default_dtype()
    with pytest.raises(DataError, match=r"`y` holds the integer 16777217, which float32 cannot represent.*LongTensor"):
        as_data(tokens, {"x": [1], "y": [2**24 + 1]}, dtype=torch.float32)
    with pytest.raises(DataError, match=r"`x` is declared an integer tensor.*fraction"):
        as_data(tokens, {"x": [1.5], "y": [1]})


def frame_with_nan() -> pd.DataFrame:
    return pd.DataFrame({"age": [1.0, 2.0, np.nan], "height": [1.0, 2.0, 3.0], "y": [0, 1, 1]})


def masked(value: float) -> torch.Tensor:
    x = X.clone()
    x[1, 1] = value
    return x


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": torch.zeros(0, 2), "y": torch.zeros(0)}, r"`x` is empty: its shape is \(0, 2\)"),
        ({}, "`Regression` also needs `x`"),
        ({"x": masked(float("nan")), "y": Y}, "`x` has 1 value that is not finite.* NaN in row 1, column 1"),
        ({"x": masked(float("inf")), "y": Y}, "`x` has 1 value.* infinity in row 1, column 1"),
        ({"x": X.double() * 1e200, "y": Y}, "`x` has 6 values.*after the cast from float64 to float32"),
        (frame_with_nan(), "`x` has 1 value.*NaN in row 2, column 'age'"),
        ({"x": X, "y": torch.tensor(1.0)}, "`y` must have the data as its first dimension, got a single number"),
        ({"x": X, "y": Y[:2]}, "unequal lengths: `x` has 3, `y` has 2"),
        ({"x": X, "y": ["a", "b", "c"]}, "`y` must hold numbers, got text"),
        ({"x": X, "y": np.array([None, 1, 2])}, "`y` must hold numbers, got an array of object"),
        ({"x": X, "y": np.array([1j, 1, 2])}, "`y` must hold numbers, got complex numbers"),
        ({"x": X, "y": torch.zeros(3, dtype=torch.complex64)}, "`y` must hold real numbers, got complex64"),
        ({"x": X, "y": pd.Series(pd.to_datetime(["2020"] * 3))}, "`y` must hold numbers, got dates"),
        ({"x": [[1.0], [2.0, 3.0]], "y": Y}, "`x` cannot be read as an array of numbers"),
        ({"x": X.to_sparse(), "y": Y}, "`x` is a sparse tensor"),
        (pd.DataFrame({"a": ["u", "v"], "b": [1, 2], "y": [0, 1]}), "`x` has columns that are not numbers: 'a'"),
        (pd.DataFrame({"x": [1, 2], "yy": [1, 2]}), "column 'yy' is no argument of `Regression`. Did you mean `y`"),
        ((X, Y, Y), r"The tuple has 3 parts, but `Regression` takes 2 \(x, y\)"),
        ([X, Y], r"list holds the rows of `x`, and this one holds arrays of different shapes: \(3, 2\), \(3,\)"),
        (pd.DataFrame({"a": [1, 2], "b": [1, 2], "id": [1, 2]}), "must have 2 features.* are 'a', 'b', 'id': select"),
        ({"x": X, "labels": Y}, "takes no argument `labels`.*It takes `x`, `y`"),
        ({"xs": X, "y": Y}, "takes no argument `xs`. Did you mean `x`?"),
        ({"y": Y}, "`Regression` also needs `x`"),
        ({"x": X[:, :1], "y": Y}, "`Regression` cannot use these data: `x` must have 2 features, got 1"),
        ({"x": X, "y": Y + 1}, "`Regression` cannot use these data: `y` must hold only 0 and 1"),
        ("data.csv", "`data` must be a tensor.*got str"),
        (None, "`data` must be a tensor.*got None"),
        (TensorDataset(X[:0], Y[:0]), "The data are empty: the Dataset has length 0"),
        (TensorDataset(X, Y, Y), r"The items have 3 parts, but `Regression` takes 2 \(x, y\)"),
    ],
)
def test_bad_data_are_named(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_data(Regression(), data, dtype=torch.float32)


def noise(rows: int = 400) -> torch.Tensor:
    return torch.randn(rows, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    "column",
    [
        1.7e9 + 30 * noise(),  # seconds since 1970
        torch.cat([1.7e9 + 30 * noise(), torch.zeros(4)]),  # with four that were not written down
        5 + 1e-9 * noise(),
        -2.5e8 + noise().sign(),
    ],
)
def test_a_cast_that_loses_the_spread_is_refused(column: torch.Tensor) -> None:
    message = r"column 'when' of `x` would lose .* Subtract their mean .* dtype=torch\.float64"
    frame = pd.DataFrame({"other": noise(len(column)).numpy(), "when": column.numpy(), "y": 0.0})
    with pytest.raises(DataError, match=message):
        as_data(Regression(), frame, dtype=torch.float32)
    assert as_data(Regression(), frame, dtype=torch.float64).batch()["x"].dtype == torch.float64


def test_a_stream_that_loses_its_spread_is_refused() -> None:
    rows = torch.stack([noise(), 1.7e9 + 30 * noise()], 1)
    loader = DataLoader(TensorDataset(rows, noise().sign().relu()), 100)
    with pytest.raises(DataError, match=r"column 1 of `x` .* near 1\.7e\+09 and spread by .* only to 128"):
        as_data(Regression(), loader, dtype=torch.float32)


@pytest.mark.parametrize(
    "column",
    [
        1.7e9 + 86_400 * noise(),  # a day's
        torch.cat([noise(), torch.tensor([1e12])]),  # each value to its own digits
        torch.full((400,), 0.1),
        0.3 + 1e-16 * noise(),  # a constant, and what arithmetic left
        noise() * (noise().abs() > 2.5),
        1950 + 70 * noise().sigmoid(),
    ],
)
def test_other_casts_pass(column: torch.Tensor) -> None:
    x = torch.stack([column, column], 1)
    as_data(Regression(), {"x": x, "y": torch.zeros(len(x))}, dtype=torch.float32)


def test_frames_of_mixed_and_nullable_columns() -> None:
    columns = {"a": [True, False], "b": [1.5, 2.0], "c": pd.array([1, 2], dtype="Int64")}
    found = as_data(tokens_free, pd.DataFrame(columns)).batch()["x"]
    assert found.tolist() == [[1.0, 1.5, 1.0], [0.0, 2.0, 2.0]]
    assert as_data(tokens_free, pd.Series([3, 4], dtype="UInt8")).batch()["x"].tolist() == [3.0, 4.0]
    with pytest.raises(DataError, match=r"`x` has 1 value.* NaN in row 1"):
        as_data(tokens_free, pd.Series([3, None], dtype="Int64"))
    with pytest.raises(DataError, match=r"`x` must hold numbers, got text"):
        as_data(tokens_free, pd.Series(["a", "b"]))


def test_bad_model_is_named() -> None:
    with pytest.raises(ModelError, match=r"must be a LatentVariableModel or a callable, got int"):
        as_data(3, X)


def test_foreign_memory_layouts_are_copied() -> None:
    reversed_rows = X.numpy()[::-1]
    big_endian = X.numpy().astype(">f8")
    big_endian.setflags(write=False)
    for array in (reversed_rows, big_endian):
        found = as_data(Regression(), array, observed=False).batch()["x"]
        np.testing.assert_array_equal(found.numpy(), array)


def test_batch_size_is_checked() -> None:
    data = as_data(Regression(), {"x": X, "y": Y})
    assert data.check_batch_size(None) == 3
    assert data.check_batch_size(2) == 2
    with pytest.raises(DataError, match=r"`batch_size` is 4, more than the 3 data"):
        data.check_batch_size(4)
    for bad in (0, -1, 1.5, True):
        with pytest.raises(ConfigurationError, match=r"`batch_size` must be an integer of at least 1"):
            data.check_batch_size(bad)  # type: ignore[arg-type]


class Counted(Dataset[dict[str, torch.Tensor]]):
    """Items as dicts, with a draw of its own for each."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        if row >= 10:
            raise IndexError
        return {"x": torch.full((2,), float(row)) + torch.rand(()) / 2, "y": torch.tensor(row % 2)}


def test_a_large_dataset_stays_where_it_is() -> None:
    lazy = as_data(Regression(), Counted(), max_bytes=16)
    assert not lazy.in_memory
    assert lazy.size == 10
    batch = lazy.batch(torch.tensor([7, 2]))
    assert batch["x"].floor().int()[:, 0].tolist() == [7, 2]
    assert batch["y"].dtype == torch.get_default_dtype()
    assert as_data(Regression(), Counted()).in_memory


@pytest.mark.parametrize("generator", [None, torch.Generator()], ids=["default", "own"])
def test_a_loader_repeats_its_epochs_and_leaves_the_generator_alone(generator: torch.Generator | None) -> None:
    loader = DataLoader(Counted(), batch_size=4, shuffle=True, generator=generator)
    data = as_data(Regression(), loader)
    assert (data.size, data.in_memory, data.names) == (10, False, ("x", "y"))
    before = torch.get_rng_state()
    stream = data.stream(seed=5)
    whole = [next(stream)["x"] for _ in range(9)]
    stream.close()
    assert torch.equal(torch.get_rng_state(), before)
    assert [len(x) for x in whole[:4]] == [4, 4, 2, 4]
    assert sorted(torch.cat(whole[:3])[:, 0].floor().int().tolist()) == list(range(10))
    for start in (1, 3, 5):
        torch.rand(3)  # the caller draws in between
        again = data.stream(seed=5, start=start)
        for step in range(start, 8):
            assert torch.equal(next(again)["x"], whole[step])
    assert not torch.equal(next(data.stream(seed=6))["x"], whole[0])
    assert len(data.batch()["x"]) == 10


def test_a_loader_that_yields_nothing_is_named() -> None:
    with pytest.raises(DataError, match=r"yields no batch"):
        as_data(Regression(), DataLoader(TensorDataset(X, Y), batch_size=4, drop_last=True))
    with pytest.raises(DataError, match=r"`x` has 1 value that is not finite"):
        as_data(Regression(), DataLoader(TensorDataset(masked(float("nan")), Y), batch_size=4))


def test_sampler_covers_each_epoch_once_and_is_a_function_of_the_step() -> None:
    sampler = BatchSampler(size=10, batch_size=4, seed=3)
    steps = [sampler.indices(step).clone() for step in range(9)]
    assert [len(index) for index in steps] == sampler.sizes(0, 9).tolist() == [4, 4, 2] * 3
    epochs = [torch.cat(steps[i : i + 3]) for i in (0, 3, 6)]
    for order in epochs:
        assert sorted(order.tolist()) == list(range(10))
    assert not torch.equal(epochs[0], epochs[1])
    fresh = BatchSampler(size=10, batch_size=4, seed=3)
    for step in (7, 0, 5, 2):
        assert torch.equal(fresh.indices(step), steps[step])
    assert not torch.equal(BatchSampler(10, 4, seed=4).indices(0), steps[0])


@pytest.mark.parametrize(("size", "drop_last"), [(12, False), (13, False), (15, True)])
def test_sampler_blocks_are_the_single_steps(size: int, drop_last: bool) -> None:
    sampler = BatchSampler(size, 4, seed=0, drop_last=drop_last)
    step = 0
    while step < 20:
        count = sampler.run_length(step, 7)
        block = sampler.indices_block(step, count)
        assert block.dtype == torch.int64
        for offset in range(count):
            assert torch.equal(block[offset], sampler.indices(step + offset))
        step += count
    assert sampler.indices_block(0, 0).shape == (0, 4)


def test_sampler_refuses_a_block_over_a_ragged_batch() -> None:
    sampler = BatchSampler(10, 4, seed=0)
    assert [sampler.run_length(step, 9) for step in range(4)] == [2, 1, 1, 2]
    with pytest.raises(ValueError, match=r"run over a ragged batch of 2; ask for 2 steps"):
        sampler.indices_block(0, 3)


@pytest.mark.parametrize(
    ("size", "batch_size", "error", "message"),
    [
        (0, 1, DataError, "The data are empty"),
        (5, 6, DataError, "`batch_size` is 6, more than the 5 data"),
        (5, 0, ConfigurationError, "`batch_size` must be an integer of at least 1"),
        (5, -2, ConfigurationError, "`batch_size` must be an integer of at least 1"),
    ],
)
def test_sampler_checks_its_sizes(size: int, batch_size: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BatchSampler(size, batch_size, seed=0)


def test_derived_seeds_are_stable_and_apart() -> None:
    assert derive_seed(0, "epoch", 0) == 4238020167091662662  # what runs on disk rely on
    names = [("a",), ("a", "b"), ("ab",), ("a", 1), ("a", "1"), ()]
    seeds = {derive_seed(seed, *name) for seed in range(50) for name in names}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_nan_stands_for_a_missing_value_where_the_model_says_so() -> None:
    class Model:
        nan_allowed = ("x",)

        def model(self, x: torch.Tensor, y: torch.Tensor) -> None: ...

    gaps, whole = [[1.0, float("nan")], [3.0, 4.0]], [0.0, 1.0]
    assert torch.equal(as_data(Model(), {"x": gaps, "y": whole}).batch()["x"].isnan(), torch.tensor(gaps).isnan())
    with pytest.raises(DataError, match="`x` has 1 value that is not finite: the first is an infinity in row 0"):
        as_data(Model(), {"x": [[float("inf"), float("nan")], [3.0, 4.0]], "y": whole})
    with pytest.raises(DataError, match="`y` has 1 value that is not finite: the first is a NaN in row 1"):
        as_data(Model(), {"x": gaps, "y": [0.0, float("nan")]})
