"""Which argument data without names are, which integers stay integers, and what counts as given."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from jensen.inference import SVI, ModelError
from jensen.inference.data.data import as_data
from jensen.inference.errors import DataError
from jensen.models import ConditionalVAE, InpaintingVAE
from jensen.models.common.index_arguments import index_arguments

GROUP, FLOOR, Y = torch.tensor([0, 2, 1, 2, 0, 3]), torch.tensor([0, 1, 1, 0, 1, 0]), torch.linspace(-1.0, 1.0, 6)
FRAME = pd.DataFrame({"group": GROUP.numpy(), "floor": FLOOR.numpy(), "y": Y.numpy()})


def varying(group, floor, y=None):
    """An intercept for each of four groups, and a slope on a centred column of integers."""
    a = pyro.sample("a", dist.Normal(torch.zeros(4), 1.0).to_event(1))
    b = pyro.sample("b", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(group)):
        noise = pyro.param("noise", torch.ones(()), constraint=dist.constraints.positive)
        return pyro.sample("y", dist.Normal(a[group] + b * (floor - floor.mean()), noise), obs=y)


@pytest.mark.parametrize(
    "data",
    [
        {"group": GROUP, "floor": FLOOR, "y": Y},
        (GROUP.numpy().astype(np.uint8), FLOOR.tolist(), Y.tolist()),
        FRAME,
        TensorDataset(GROUP, FLOOR, Y),
        DataLoader(TensorDataset(GROUP, FLOOR, Y), batch_size=6),
    ],
    ids=["dict", "tuple", "frame", "dataset", "loader"],
)
def test_what_the_model_indexes_with_stays_whole_and_all_else_is_floating(data: Any) -> None:
    batch = as_data(varying, data).batch()
    assert [batch[name].dtype for name in ("group", "floor", "y")] == [torch.int64, torch.float32, torch.float32]
    assert torch.equal(batch["group"], GROUP)


def test_group_ids_go_through_a_fit_and_its_predictions() -> None:
    fit = SVI(steps=20, progress=False, compile=False).fit(varying, FRAME)
    for new in (FRAME[["group", "floor"]], FRAME.assign(y=None), FRAME.assign(y=np.nan), (GROUP.tolist(), FLOOR)):
        assert torch.equal(fit.predict(new, num=3)["y"], fit.predict(FRAME, num=3)["y"])
    with pytest.raises(ModelError, match=r"indexes out of bounds: index 7 is out of bounds.*number of all of them"):
        fit.predict(FRAME.assign(group=7))


def test_every_way_of_indexing_is_seen() -> None:
    table = torch.randn(5, 2)
    programs = {
        "subscript of a shift": lambda g: table[(g - 1).clamp_min(0)],
        "one-hot": lambda g: torch.nn.functional.one_hot(g, 5),
        "embedding": lambda g: torch.nn.functional.embedding(g, table),
        "index_select": lambda g: table.index_select(0, g),
        "gather": lambda g: table[:, 0].gather(0, g),
        "loop": lambda g: [table[k] for k in range(g.max())],
        "inside a site": lambda g: pyro.sample("g", dist.Normal(table[g, 0], 1.0)),
    }
    for name, program in programs.items():
        assert index_arguments(program, {"g": torch.tensor([1.0, 3.0, 2.0])}, ["g"]) == {"g"}, name
    for program in (lambda g: table[g.long()], lambda g: g @ g, lambda g: table[g.argmax()], lambda g: g.fail()):
        assert index_arguments(program, {"g": torch.tensor([1.0, 3.0, 2.0])}, ["g"]) == set()


def test_an_integer_design_matrix_is_multiplied() -> None:
    def design(x, y=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Poisson((x @ w).exp()), obs=y)

    batch = as_data(design, ([[1, 2], [3, 4]], [1, 2])).batch()
    assert batch["x"].dtype == batch["y"].dtype == torch.float32
    fit = SVI(steps=5, progress=False, compile=False).fit(design, batch)
    assert fit.status in ("converged", "not converged", "unknown")


def test_a_group_count_from_a_mini_batch_is_refused() -> None:
    def counted(group, y=None):
        with pyro.plate("groups", int(group.max()) + 1):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(group)):
            return pyro.sample("y", dist.Normal(a[group], 1.0), obs=y)

    group, y = torch.arange(40) // 10, torch.randn(40)
    with pytest.raises(ModelError, match=r"`a` has shape \(1,\) on one mini-batch and \(4,\) on another.*num_groups"):
        SVI(steps=5, batch_size=8, progress=False).fit(counted, (group, y))
    loader = DataLoader(TensorDataset(group, y), batch_size=8)  # in order: the first batch is of group 0 alone
    with pytest.raises(ModelError, match="The program indexes out of bounds: index 1 is out of bounds"):
        SVI(steps=5, progress=False, compile=False).fit(counted, loader)
    assert SVI(steps=5, progress=False, compile=False).fit(counted, (group, y)).posterior(2)["a"].shape == (2, 4)


def test_a_floating_index_is_named() -> None:
    with pytest.raises(ModelError, match=r"indexes with floating numbers.*LongTensor"):
        SVI(steps=5, progress=False).fit(varying, {"group": GROUP.double(), "floor": FLOOR, "y": Y})


def test_images_come_before_labels_and_masks() -> None:
    image, label, mask = torch.ones(4, 3), torch.tensor([0, 1, 1, 0]), torch.zeros(4, 3)
    conditional, inpainting = ConditionalVAE(3, 2, num_classes=2, hidden=(4,)), InpaintingVAE(3, 2, hidden=(4,))
    for pair in ((image, label), TensorDataset(image, label), DataLoader(TensorDataset(image, label), batch_size=4)):
        batch = as_data(conditional, pair).batch()
        assert torch.equal(batch["x"], image)
        assert torch.equal(batch["y"], label.float())
    assert torch.equal(as_data(inpainting, (image, mask)).batch()["mask"], mask)
    with pytest.raises(DataError, match="`ConditionalVAE` also needs `y`"):
        as_data(conditional, image)
    with pytest.raises(DataError, match=r"`y` must be a vector of labels of shape \(N,\), got shape \(4, 3\)"):
        as_data(conditional, (label, image))
    with pytest.raises(TypeError, match="positional argument"):
        conditional.model(label, image)


def test_spare_columns_are_left_out_by_name() -> None:
    with pytest.warns(UserWarning, match=r"The columns 'id', 'who' are no arguments of `varying`.*\['group', 'floor'"):
        batch = as_data(varying, FRAME.assign(id=range(6), who="a")).batch()
    assert list(batch) == ["group", "floor", "y"]
    with pytest.raises(DataError, match=r"column 'flor' is no argument of `varying`\. Did you mean `floor`"):
        as_data(varying, FRAME.rename(columns={"floor": "flor"}))


@pytest.mark.parametrize("empty", [None, np.nan, [None] * 6, torch.full((6,), torch.nan), pd.Series([None] * 6)])
def test_an_outcome_without_values_is_none(empty: Any) -> None:
    data = {"group": GROUP, "floor": FLOOR, "y": np.full(6, np.nan) if isinstance(empty, float) else empty}
    assert as_data(varying, data).names == ("group", "floor")
    with pytest.raises(DataError, match=r"Nothing is observed: .*Pass `y` in the data, with values"):
        SVI(steps=5, progress=False).fit(varying, data)
    with pytest.raises(DataError, match="`y` has 1 value that is not finite"):
        as_data(varying, data | {"y": [0.0, 1.0, np.nan, 0.0, 1.0, 0.0]})


def two(x, y=None):
    w = pyro.sample("w", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(w * x, 1.0), obs=y)


def scaled(scale, x, *, y=None):
    return two(x * scale, y)


def arguments(args, y=None):
    return two(args, y)


def unnamed(*args):
    return two(*args)


def positional(x, /, y=None):
    return two(x, y)


@pytest.mark.parametrize(
    "program",
    [functools.partial(scaled, 2.0), functools.partial(scaled, scale=2.0), arguments, lambda x, y=None: two(x, y)],
)
def test_partials_and_odd_names_are_fitted(program: Any) -> None:
    fit = SVI(steps=5, progress=False, compile=False).fit(program, (Y, Y))
    assert fit.predict((Y[:4],), num=2)["y"].shape == (2, 4)


def test_arguments_without_names_are_refused() -> None:
    with pytest.raises(
        ModelError, match=r"`unnamed` takes `\*args`, and data are passed by name.*def unnamed\(x, y=None\)"
    ):
        as_data(unnamed, Y)
    with pytest.raises(ModelError, match=r"`positional` takes `x` by position alone.*Leave out the `/`"):
        as_data(positional, Y)
