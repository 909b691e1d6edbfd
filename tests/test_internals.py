"""What jensen uses of its dependencies' insides: each is listed, and there on every release that the suite runs on."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

PACKAGES = ("models", "inference", "studies", "datasets")
LIBRARIES = ("torch", "pyro", "zuko", "arviz", "xarray", "sklearn", "rich", "typer", "joblib")

# name: what breaks without it
NAMES = {
    "pyro.poutine.subsample_messenger:_Subsample": "plates' index sites are told from others by it",
    "torch._C.DisableTorchFunction": "draws are recorded below torch's function modes",
    "torch._C._functorch": "advice about vmap's fallbacks is switched off",
    "torch._guards:TracingContext": "a step is compiled under it",
    "torch._guards:tracing": "a step is compiled under it",
    "torch._inductor.exc:InductorError": "a step that cannot be compiled is interpreted",
    "torch._inductor.utils:fresh_cache": "a damaged cache is left out",
    "torch._inductor:compile": "steps are compiled",
    "torch._ops.OpOverload": "the operations of a traced step are told apart",
    "torch._standard_gamma": "gamma draws by a generator of their own",
    "torch._subclasses:FakeTensorMode": "a step is compiled without its data",
    "torch.optim.optimizer:_global_optimizer_post_hooks": "hooks of a user's run at every step",
    "torch.optim.optimizer:_global_optimizer_pre_hooks": "hooks of a user's run at every step",
    "torch.utils._python_dispatch:TorchDispatchMode": "operations are counted, and steps recorded",
    "torch.utils._pytree:tree_leaves": "tensors in nested values",
    "torch.utils._pytree:tree_map": "tensors in nested values",
}


def _names_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            parts = node.module.split(".")
            hidden = any(part.startswith("_") for part in parts)
            if parts[0] in LIBRARIES:
                yield from (f"{node.module}:{a.name}" for a in node.names if hidden or a.name.startswith("_"))
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in LIBRARIES and "._" in a.name)
        elif isinstance(node, ast.Attribute):
            parts, inner = [], node
            while isinstance(inner, ast.Attribute):
                parts.append(inner.attr)
                inner = inner.value  # type: ignore[assignment]
            if isinstance(inner, ast.Name) and inner.id in LIBRARIES:
                if any(part.startswith("_") and not part.startswith("__") for part in parts):
                    yield ".".join([inner.id, *reversed(parts)])


def _used(repository: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for package in PACKAGES:
        for path in sorted((repository / package).rglob("*.py")):
            found.update({name: str(path.relative_to(repository)) for name in _names_in(path)})
    return found


def test_no_internal_of_a_dependency_is_used_that_is_not_listed(repository):
    known = {*NAMES, "torch.ops.mkldnn._linear_pointwise"}
    unknown = {n: f for n, f in _used(repository).items() if not any(n == k or k.startswith(f"{n}.") for k in known)}
    unknown = {n: f for n, f in unknown.items() if not any(n.startswith(f"{k}.") for k in known)}
    assert not unknown, f"use a public name, or list it here with a test: {unknown}"


def test_nothing_is_listed_that_is_not_used(repository):
    used = _used(repository)
    assert {name for name in NAMES if not any(u == name or u.startswith(f"{name}.") for u in used)} == set()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_there(name):
    module, _, attribute = name.partition(":")
    if attribute:
        assert getattr(importlib.import_module(module), attribute) is not None
        return
    value = torch
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    assert value is not None


def test_attributes_of_objects_that_are_read():
    """Private attributes, on objects made here as they are made there."""
    assert dist.Normal(0.0, 1.0).mask(False)._mask is False
    layer = nn.BatchNorm1d(2)
    assert set(layer._parameters) == {"weight", "bias"} and "running_mean" in layer._buffers
    assert callable(torch._C._functorch._set_vmap_fallback_warning_enabled)
    assert torch.ops.aten.add.Tensor._schema.name == "aten::add"
    assert torch.ops.aten.add_.Tensor._overloadname == "Tensor"
    assert isinstance(torch.zeros(3).untyped_storage()._cdata, int)
    assert torch.zeros(3)[1:]._base is not None
    assert hasattr(AutoNormal, "_setup_prototype")
    assert dist.Normal(torch.zeros(2), 1.0)._batch_shape == (2,)
    optimizer = torch.optim.Adam([torch.zeros(1)])
    for register in (optimizer.register_step_pre_hook, optimizer.register_step_post_hook):
        handle = register(lambda *_: None)
        assert len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks) == 1
        handle.remove()
    with pyro.settings.context(module_local_params=True):
        assert hasattr(pyro.nn.PyroModule(), "_pyro_context")
