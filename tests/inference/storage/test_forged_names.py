"""A name in a file is obeyed only if the object found is a class of the kind expected that bears that very name."""

from __future__ import annotations

import os
import subprocess
import sys

import pyro.distributions as dist
import pytest
import torch
from line_fits import Line, forge, line_fit
from torch import nn

from jensen.inference import load
from jensen.inference.errors import CheckpointError
from jensen.inference.fit.constructor_arguments import decode, encode, find_class, name_of
from jensen.models import VampPrior

CALLABLES = (  # what a file might want to have run, as written by one who knows how names are looked up
    "os:system",
    "posix:system",
    "subprocess:Popen",
    "subprocess:run",
    "builtins:eval",
    "builtins:exec",
    "builtins:__import__",
    "builtins:print",
    "importlib:import_module",
    "pickle:loads",
    "torch:load",
    "torch.hub:load",
    "torch.serialization:load",
    "torch.nn:functional.torch.load",
    "torch.nn:os.system",
    "torch.nn.functional:warnings.sys.exit",
    "torch.nn.functional:handle_torch_function",
    "torch.nn.functional:importlib.import_module",
    "torch.nn.modules.module:torch.load",
    "torch.nn.modules.module:functools.partial",
    "torch.nn.modules.module:OrderedDict",
    "torch.nn.parallel.data_parallel:DataParallel",
    "torch.jit:ScriptModule",
    "torch.package:PackageImporter",
    "torch.utils.cpp_extension:load",
    "torch.utils.data:DataLoader",
    "jensen.studies.arms.store:os.system",
    "jensen.studies.arms.store:shutil.rmtree",
    "jensen.studies.arms.store:clear",
    "jensen.studies.cli:main",
    "jensen.studies.cli.resolve:load_file",
    "jensen.inference.fit_rebuild:sys.exit",
    "jensen.inference.fit_rebuild:importlib.import_module",
    "jensen.inference.storage:os.remove",
    "jensen.inference.fit:load",
    "jensen.inference.svi:SVI",
    "jensen.models.base:pyro.util.sys.exit",
    "jensen.models.base:inspect.os.system",
    "jensen.models.base:Any",
    "jensen.models.networks:activation",
    "jensen.models.vae:VAE.__init__",
    "jensen.models.vae:VAE.forward.__globals__",
    "jensen.models:LatentVariableModel.__subclasses__",
    "jensen.datasets.images:os.system",
    "jensen.models.base.os:system",
    "jensen.models/../studies:cli",
    "pyro.infer.autoguide:AutoGuide.__init__",
    "pyro.infer.autoguide.guides:weakref.ref",
    "pyro.infer.autoguide.initialization:init_to_sample",
    "pyro.distributions.torch:torch.load",
    "pyro.ops.jit:CompiledFunction",
    "antigravity:webbrowser.open",
    "this:c",
    "os.system",
    ":system",
    "os:",
    "torch.nn.modules.linear:Linear:evil",
    "",
)
NOT_TEXT = (3, None, ["os:system"], {"$name": "os:system"}, {})
PLACES = {
    "the model": lambda body, name: body["model"].update({"class": name}),
    "an argument": lambda body, name: body["model"]["init_arguments"].update(layer={"$name": name}),
    "a nested argument": lambda body, name: body["model"]["init_arguments"]["options"].update(
        names=[{"$tuple": [1, {"deep": [{"$name": name}]}]}]
    ),
    "the guide": lambda body, name: body.update(guide={"kind": "class", "class": name}),
    "a guide by name": lambda body, name: body.update(guide={"kind": "name", "name": name}),
    "a guide of the model": lambda body, name: body.update(guide={"kind": "model", "name": name}),
    "a number type": lambda body, name: body.update(dtype=name),
    "a number type argument": lambda body, name: body["model"]["init_arguments"].update(kind={"$dtype": name}),
}


@pytest.fixture
def unrun(monkeypatch):
    """The doors that the names above lead to, each of which would tell."""
    opened = []
    for module, name in ((os, "system"), (os, "remove"), (subprocess, "Popen"), (sys, "exit"), (torch, "load")):
        monkeypatch.setattr(module, name, lambda *args, door=name, **kwargs: opened.append(door))
    before = set(sys.modules)
    yield opened
    assert opened == []
    assert {"antigravity", "this", "torch.utils.cpp_extension"}.isdisjoint(set(sys.modules) - before)


@pytest.mark.parametrize("place", PLACES)
def test_no_forged_name_is_obeyed(saved, place, unrun):
    whole = saved.read_text()
    absent = [None] if place == "a number type" else []  # a model without parameters has none
    for name in [name for name in (*CALLABLES, *NOT_TEXT) if name not in absent]:
        saved.write_text(whole)
        forge(saved, lambda body, name=name: PLACES[place](body, name))
        with pytest.raises(CheckpointError, match=r"fit\.json"):
            load(saved.parent)


def test_methods_of_the_model_are_not_run_as_guides(saved):
    whole = saved.read_text()
    names = ("wipe", "zero_grad", "model", "forward", "generate", "__init__", "__class__", "state_dict", "options")
    for name in names:
        saved.write_text(whole)
        forge(saved, lambda body, name=name: body.update(guide={"kind": "model", "name": name}))
        with pytest.raises(CheckpointError, match=rf"names the guide '{name}', which `Line` does not have"):
            load(saved.parent)
    saved.write_text(whole)
    forge(saved, lambda body: body.update(guide={"kind": "coordinates"}))
    with pytest.raises(CheckpointError, match=r"names the guide 'coordinates', which `Line` does not have"):
        load(saved.parent)


def test_names_in_the_configuration_are_only_shown(saved, unrun):
    def name_all(body):
        for key in ("objective", "optimizer", "lr_schedule", "guide", "transform"):
            body["config"][key] = {"$type": "os:system", "$name": "os:system"}
        body["config"]["lr"] = "jensen.studies.arms.store:os.system"
        body["info"]["compile"] = "builtins:eval"

    forge(saved, name_all)
    fit = load(saved.parent)
    assert "os:system" in repr(fit)
    assert fit.posterior(2)["w"].shape == (2, 2)


def test_honest_names_are_found_again(tmp_path):
    parts = (nn.Linear, nn.ReLU, nn.GRU, dist.Normal, torch.distributions.Gamma, VampPrior)
    functions = (nn.functional.relu, nn.functional.softplus, nn.functional.gelu, nn.init.orthogonal_)
    for value in (*parts, *functions, torch.float64, torch.int64):
        assert decode(encode(value, "", {}), {}) is value
    for stranger in (torch.load, os.system, Line, dict, lambda x: x, nn.functional, torch.nn.parallel.DataParallel):
        assert name_of(stranger) is None
    fit = line_fit(layer=nn.Sigmoid, act=nn.functional.softplus, kind=torch.float16)
    fit.save(tmp_path)
    found = load(tmp_path)
    assert type(found.model.layer) is nn.Sigmoid
    assert found.model.act is nn.functional.softplus
    assert found.model.kind is torch.float16
    assert torch.equal(found.posterior(3)["w"], fit.posterior(3)["w"])


def test_a_class_must_bear_the_name_and_be_of_the_kind(monkeypatch):
    assert find_class("torch.nn.modules.linear:Linear", nn.Module) is nn.Linear
    with pytest.raises(LookupError, match=r"the class found is torch\.nn\.modules\.linear:Linear"):
        find_class("torch.nn:Linear", nn.Module)  # imported there
    with pytest.raises(LookupError, match=r"it is not a Module"):
        find_class("torch.distributions.normal:Normal", nn.Module)
    with pytest.raises(LookupError, match=r"there is no class of that name"):
        find_class("torch.nn.functional:relu", nn.Module)
    with pytest.raises(LookupError, match=r"its module is not imported"):
        find_class("antigravity:Module", nn.Module)
    with pytest.raises(LookupError, match=r"a file may not name what is in that module"):
        find_class("subprocess:Popen", object, ("torch.nn.modules.",))
    monkeypatch.setattr(nn.modules.linear, "Linear", type("Linear", (nn.Module,), {"__module__": "elsewhere"}))
    with pytest.raises(LookupError, match=r"the class found is elsewhere:Linear"):
        find_class("torch.nn.modules.linear:Linear", nn.Module)


def test_guides_that_are_programs_of_the_model_are_found_again(tmp_path):
    fit = line_fit(guide=lambda model: model.other_guide)
    fit.save(tmp_path)
    assert load(tmp_path).guide.__func__.__name__ == "other_guide"
    bare = line_fit(guide=lambda model: model.wipe)
    bare.save(tmp_path / "bare")
    with pytest.raises(CheckpointError, match=r"The guide `.*:Line.wipe` is your own and cannot be made from a file"):
        load(tmp_path / "bare")
