"""A small fit that can be saved, and its files changed by somebody who knows the format: the checksums are right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pandas import DataFrame
from torch import nn

from jensen.inference import Fit
from jensen.inference.guides import build_guide
from jensen.inference.storage.atomic import digest, dump_tensors, parse_tensors
from jensen.models import LatentVariableModel


class Line(LatentVariableModel):
    """A regression on `num_features` inputs with a layer, a prior and options of all kinds."""

    programs = ("model", "guide", "other_guide")

    def __init__(self, num_features=2, prior=None, layer=nn.Tanh, act=nn.functional.relu, options=None, kind=None):
        super().__init__()
        self.register_buffer("prior", torch.ones(num_features) if prior is None else prior)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.layer, self.act, self.options, self.kind = layer(), act, options, kind

    def model(self, x, y=None):
        w = pyro.sample("w", dist.Normal(torch.zeros_like(self.prior), self.prior).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(self.act(x) @ w, self.log_scale.exp()), obs=y)

    def other_guide(self, x, y=None):
        pyro.sample("w", dist.Normal(torch.zeros_like(self.prior), self.prior).to_event(1))

    def wipe(self, x, y=None):
        """A method that no file may have run."""
        raise AssertionError("a file had a method run")


def line_fit(guide="normal", **arguments) -> Fit:
    """A fit of eight data without fitting."""
    model = Line(**arguments)
    x = torch.arange(8.0 * len(model.prior)).reshape(8, -1) / 8
    data = {"x": x, "y": x.sum(1)}
    history = DataFrame({"step": [5, 10], "bound": [-9.5, -1 / 3], "bound_per_datum": [-9.5 / 8, -1 / 24]})
    info = {"steps": 10, "seconds": 0.1, "steps_per_second": 100.0, "device": "cpu", "dtype": "torch.float32"}
    config = {"objective": {"$type": "Trace_ELBO"}, "guide": guide if isinstance(guide, str) else None, "lr": 0.1}
    made = build_guide(guide, model, data)
    return Fit("SVI", config, model, made, history, seed=3, data=data, info=info)


def write_manifest(path: Path, core: dict[str, Any]) -> None:
    """Write a manifest with the checksum that its content has."""
    core = {key: value for key, value in core.items() if key != "checksum"}
    text = json.dumps(core, sort_keys=True, separators=(",", ":"))
    path.write_text(json.dumps({**core, "checksum": digest(text.encode())}))


def forge(manifest: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Apply `change` to the body of a manifest."""
    core = json.loads(manifest.read_text())
    change(core["body"])
    write_manifest(manifest, core)


def forge_file(manifest: Path, name: str, content: bytes) -> None:
    """Give one of the bundle's files other content."""
    core = json.loads(manifest.read_text())
    entry = core["files"].setdefault(name, {"file": name})
    (manifest.parent / entry["file"]).write_bytes(content)
    entry["sha256"] = digest(content)
    write_manifest(manifest, core)


def forge_tensors(manifest: Path, name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Apply `change` to the tensors in one of the bundle's files."""
    path = manifest.parent / json.loads(manifest.read_text())["files"][name]["file"]
    tensors = parse_tensors(path.read_bytes())
    change(tensors)
    forge_file(manifest, name, dump_tensors(tensors))
