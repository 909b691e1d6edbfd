"""Whatever is wrong with a stored fit, `load` says so and names the file, or gives the same fit."""

from __future__ import annotations

import json
import os
import random
import warnings

import pandas as pd
import pytest
import torch
from line_fits import Line, forge, forge_file, forge_tensors, line_fit, write_manifest

from jensen.inference import load
from jensen.inference.errors import CheckpointError, ConfigurationError
from jensen.models import BayesianLinearRegression, BayesianLogisticRegression

JUNK = (None, True, -1, 0, 7, 10**18, -(10**30), 1e308, 0.5, "", "x", "1e999", "torch.float64", "normal", [], [[]], {})
JUNK += ({"$float": "nan"}, {"$float": "x"}, {"$tensor": "w"}, {"$tuple": 3}, {"$name": 3}, ["x"] * 3, {"a": {"b": []}})


def paths(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def put(value, path, junk):
    """Put `junk` at a place, or take the place away."""
    for key in path[:-1]:
        value = value[key]
    if junk is put:
        del value[path[-1]]
    else:
        value[path[-1]] = junk


def loaded(folder):
    """The fit that is loaded, or None for a `CheckpointError` that names the file; anything else is a failure."""
    try:
        return load(folder)
    except CheckpointError as error:
        if str(folder) not in str(error):
            raise
        return None


def test_damaged_bytes_give_an_error_or_the_same_fit(saved):
    fit, draw = load(saved.parent), random.Random(0)
    files = {path: path.read_bytes() for path in sorted(saved.parent.iterdir())}
    errors = 0
    for _ in range(150):
        path = draw.choice(list(files))
        content = bytearray(files[path])
        place = draw.randrange(len(content))
        harm = draw.choice(("flip", "cut", "insert", "drop", "swap"))
        if harm == "flip":
            content[place] ^= 1 << draw.randrange(8)
        elif harm == "cut":
            del content[place:]
        elif harm == "insert":
            content[place:place] = draw.randbytes(draw.randrange(1, 9))
        elif harm == "drop":
            del content[place : place + draw.randrange(1, 99)]
        else:
            content = bytearray(files[draw.choice(list(files))])
        path.write_bytes(content)
        found = loaded(saved.parent)
        path.write_bytes(files[path])
        errors += found is None
        if found is not None:
            assert found.config == fit.config
            assert found.info == fit.info
            assert torch.equal(found.posterior(2)["w"], fit.posterior(2)["w"])
            pd.testing.assert_frame_equal(found.history, fit.history, check_exact=True)
    assert errors > 100


@pytest.mark.parametrize("seed", range(3))
def test_forged_keys_give_an_error_or_a_fit_that_works(saved, seed):
    whole, draw = saved.read_text(), random.Random(seed)
    places = [path for path in paths(json.loads(whole)["body"]) if path]
    errors = 0
    for _ in range(100):
        saved.write_text(whole)
        for _ in range(draw.choice((1, 1, 2))):
            place, junk = draw.choice(places), draw.choice((*JUNK, put))
            try:
                forge(saved, lambda body, place=place, junk=junk: put(body, place, junk))
            except (KeyError, IndexError, TypeError):  # the first change took the second one's place away
                continue
        found = loaded(saved.parent)
        errors += found is None
        if found is not None:
            assert repr(found).startswith(f"Fit by {found.method}")
            assert found._repr_html_()
            assert found.posterior(2)["w"].shape == (2, 2)
    assert errors > 30


def test_every_missing_key_is_named(saved):
    whole = saved.read_text()
    for key in json.loads(whole)["body"]:
        saved.write_text(whole)
        forge(saved, lambda body, key=key: body.pop(key))
        if key == "fitted":  # older files lack it
            assert load(saved.parent).seed == 3
        else:
            with pytest.raises(CheckpointError, match=rf"fit\.json: Its key `{key}` is missing: it is damaged"):
                load(saved.parent)
    for path in (("model", "class"), ("model", "init_arguments"), ("guide", "kind"), ("guide", "name")):
        saved.write_text(whole)
        forge(saved, lambda body, path=path: body[path[0]].pop(path[1]))
        with pytest.raises(CheckpointError, match=rf"Its key `{path[0]}\.{path[1]}` is missing"):
            load(saved.parent)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data_size", 10**18, r"Its key `data_size` should be a number of data, and is 10{18}"),
        ("data_size", -1, r"Its key `data_size` should be a number of data"),
        ("data_size", 9, r"Its data should have 9 rows each, and there are {'x': 8, 'y': 8}"),
        ("data_size", True, r"Its key `data_size` should be int, and is True"),
        ("data_size", 8.0, r"Its key `data_size` should be int, and is 8.0"),
        ("seed", 2**70, r"Its key `seed` should be an integer of 64 bits"),
        ("seed", "3", r"Its key `seed` should be int, and is '3'"),
        ("dtype", "torch.int64", r"Its key `dtype` should be a floating-point type of torch, and is 'torch.int64'"),
        ("training", ["a", 3], r"Its key `training` should be a list of names"),
        ("info", {"steps": "many"}, r"Its key `info.steps` should be int or null, and is 'many'"),
        ("info", {"seconds": {"$float": "inf"}}, r"Its key `info.seconds` should be a finite number, and is inf"),
        ("info", {"chains": 0}, r"Its key `info.chains` should be a number from 1 on"),
        ("info", {"versions": [1]}, r"Its key `info.versions` should be dict or null"),
        ("guide", {"kind": "gaussian"}, r"names the guide 'gaussian', which `Line` does not have"),
    ],
)
def test_what_a_key_cannot_hold(saved, key, value, message):
    forge(saved, lambda body: body.update({key: value}))
    with pytest.raises(CheckpointError, match=rf"fit\.json: .*{message}"):
        load(saved.parent)


def test_json_that_is_none(saved):
    whole = saved.read_text()
    deep = '{"format": "jensen.fit", "body": ' + "[" * 100_000 + "]" * 100_000 + "}"
    for text in (deep, deep.replace("[", '{"a":').replace("]", "}"), whole.replace("0.1", "1e999", 1), "9" * 5_000):
        saved.write_text(text)
        with pytest.raises(
            CheckpointError, match=r"fit\.json is truncated or is not a jensen file|JSON, but not a jen"
        ):
            load(saved.parent)
    for depth in (200, 500, 900):  # shallow enough for the parser, perhaps not for what follows
        saved.write_text(whole)
        forge(saved, lambda body, depth=depth: body["config"].update(lr=json.loads("[" * depth + "]" * depth)))
        loaded(saved.parent)
        forge(saved, lambda body: body["model"]["init_arguments"].update(kind=body["config"]["lr"]))
        loaded(saved.parent)
    saved.write_text(whole)
    core = json.loads(whole)
    for key, value in (("files", []), ("files", {"parameters.safetensors": "x"}), ("body", []), ("files", None)):
        write_manifest(saved, {**core, key: value})
        with pytest.raises(CheckpointError, match=r"fit\.json is damaged: its "):
            load(saved.parent)
    write_manifest(saved, {**core, "files": {}})
    with pytest.raises(CheckpointError, match=r"fit\.json is damaged: it names no parameters\.safetensors"):
        load(saved.parent)
    for name in ("../fit/fit.json", "..", "", "/etc/passwd", "a\0b"):
        write_manifest(saved, {**core, "files": {"history.csv": {"file": name, "sha256": ""}}})
        with pytest.raises(CheckpointError, match=r"its entry `history\.csv` names no file beside it"):
            load(saved.parent)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step,bound\n1,2,3\n", r"Its history has 2 columns, but 3 in line 2"),
        ("step,bound\n1,2\n3\n", r"Its history has 2 columns, but 1 in line 3"),
        ("step,bound\n1,low\n", r"The column `bound` of its history is not numbers"),
        ("step,step\n1,2\n", r"Its history has 2 columns, 1 names"),
        (",".join(map(str, range(10**6))), r"Its history has 1000000 columns"),
        ("", r"Its history is not a CSV file"),
        ("step\n" + "1" * 200_000 + "\n", r"Its history is not a CSV file"),
        (b"step\n\xff\n", r"Its history is not text"),
    ],
    ids=["long row", "short row", "words", "twice", "wide", "empty", "long cell", "binary"],
)
def test_odd_histories(saved, text, message):
    forge_file(saved, "history.csv", text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CheckpointError, match=rf"fit\.json: {message}.*damaged"):
        load(saved.parent)


def test_tensors_of_other_shapes_and_types(saved):
    whole, files = saved.read_text(), (saved.parent / "parameters.safetensors").read_bytes()
    scale = "program.model_module.log_scale"

    def reject(change, message, name="parameters.safetensors"):
        saved.write_text(whole)
        (saved.parent / "parameters.safetensors").write_bytes(files)
        forge_tensors(saved, name, change)
        with pytest.raises(CheckpointError, match=message):
            load(saved.parent)

    reject(lambda t: t.update({scale: torch.zeros(3)}), r"`log_scale` is \(3,\) there, \(\) here")
    reject(
        lambda t: t.update({scale: torch.zeros((), dtype=torch.int64)}),
        r"log_scale` is torch.int64 there, torch.float32 here",
    )
    reject(lambda t: t.update({scale: torch.zeros((), dtype=torch.bool)}), r"log_scale` is torch.bool there")
    reject(lambda t: t.pop(scale), r"`log_scale` is absent there, \(\) here")
    reject(lambda t: t.update({"program.model_module.more": torch.zeros(1)}), r"`more` is \(1,\) there, absent here")
    reject(lambda t: t.pop("prototype.x"), r"fit\.json: .*stored parameters are not those")
    reject(lambda t: (t.pop("prototype.x"), t.pop("prototype.y")), r"Its prototype should have one number of rows")
    reject(lambda t: t.update({"prototype.x": torch.zeros(2, 2)}), r"Its prototype should have one number of rows")
    reject(lambda t: t.update({"prototype.x": torch.zeros(())}), r"Its prototype should have one number of rows")
    reject(lambda t: t.update({"prototype.x": torch.zeros(1, 5)}), r"fit\.json: .*stored parameters are not those")
    reject(lambda t: t.update(x=torch.zeros(3, 2)), r"Its data should have 8 rows each", "data.safetensors")
    forge_file(saved, "parameters.safetensors", files[:-5])
    with pytest.raises(CheckpointError, match=r"parameters\.safetensors is truncated or is not a safetensors file"):
        load(saved.parent)


def test_draws_that_are_not_of_the_model(tmp_path):
    fit = line_fit()
    kept = {"w": torch.arange(8.0).reshape(4, 2)}
    type(fit)("NUTS", {}, fit.model, None, fit.history, data=fit.data, draws=kept).save(tmp_path)
    assert torch.equal(load(tmp_path).posterior(4)["w"], kept["w"])
    for change, message in (
        (lambda t: t.update(v=t.pop("w")), r"Its draws are of \['v'\], but the model's latents are \['w'\]"),
        (lambda t: t.update(w=torch.zeros(0, 2)), r"Its draws should have one number of rows"),
    ):
        forge_tensors(tmp_path / "fit.json", "draws.safetensors", change)
        with pytest.raises(CheckpointError, match=message):
            load(tmp_path)


def test_sizes_that_the_file_does_not_back_take_no_memory(tmp_path):
    line_fit().save(tmp_path / "line", data=False)
    forge(tmp_path / "line" / "fit.json", lambda body: body.update(data_size=10**12))
    assert load(tmp_path / "line").posterior(2)["w"].shape == (2, 2)  # no parameter is per datum
    forge(tmp_path / "line" / "fit.json", lambda body: body["model"]["init_arguments"].update(num_features=10**9))
    with pytest.raises(CheckpointError, match=r"`Line` could not be built again .*`prior` would be \(1000000000,\)"):
        load(tmp_path / "line")


def test_what_is_no_folder_or_no_file(saved):
    for folder in (None, 3, b"bytes"):
        with pytest.raises(ConfigurationError, match=r"`folder` must be the path of a folder, got"):
            load(folder)
    with pytest.raises(CheckpointError, match=r"holds no fit: it has no fit\.json"):
        load(saved)
    history = saved.parent / "history.csv"
    history.unlink()
    history.mkdir()
    with pytest.raises(CheckpointError, match=r"history\.csv, which fit\.json names, is no file"):
        load(saved.parent)
    history.rmdir()
    os.mkfifo(history)  # which would be waited for
    with pytest.raises(CheckpointError, match=r"history\.csv, which fit\.json names, is no file"):
        load(saved.parent)
    saved.unlink()
    saved.mkdir()
    with pytest.raises(CheckpointError, match=r"fit\.json is not a file"):
        load(saved.parent)


def test_a_model_of_another_size_class_or_kind_is_told(saved, tmp_path):
    with pytest.raises(
        CheckpointError, match=r"fit\.json: .*`num_features`: 2 there, 3 here; .*`prior` is \(2,\) there"
    ):
        load(saved.parent, model=Line(3))
    with pytest.raises(CheckpointError, match=r"`model=` is a `BayesianLinearRegression`, but the fit is of a `Line`"):
        load(saved.parent, model=BayesianLinearRegression(2))
    with pytest.raises(CheckpointError, match=r"`model=` is the class `Line`\. Pass an object: `model=Line\(…\)`"):
        load(saved.parent, model=Line)
    with pytest.raises(CheckpointError, match=r"`model=` must be a model of the fitted kind, got str"):
        load(saved.parent, model="Line")
    with pytest.warns(RuntimeWarning, match=r"built with other arguments than the fitted model: `options`: {'names'"):
        assert load(saved.parent, model=Line(2)).seed == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = load(saved.parent, model=Line(2, options={"names": ["a"], "pair": (1, 2.5)}))
    assert torch.equal(same.posterior(2)["w"], load(saved.parent).posterior(2)["w"])
    two = {"x": torch.ones(4, 2), "y": torch.ones(4)}
    linear, logistic = BayesianLinearRegression(2), BayesianLogisticRegression(2)
    first = line_fit()
    type(first)("SVI", {}, linear, None, first.history, data=two).save(tmp_path / "linear")
    with pytest.raises(CheckpointError, match=r"`model=` is a `BayesianLogisticRegression`, but the fit is of a `Bay"):
        load(tmp_path / "linear", model=logistic)
