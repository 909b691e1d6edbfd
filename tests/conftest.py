"""What all tests share: float64, a watched global parameter store, GPU and data skips."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # inherited of a shell that runs the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Data that a test file draws at its top are the same in every process, whatever was imported before."""
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def float64() -> Iterator[torch.dtype]:
    """Default dtype float64 inside the test."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch.float64
    torch.set_default_dtype(before)


@pytest.fixture(autouse=True)
def unchanged_global_state() -> Iterator[None]:
    """No test leaves anything in Pyro's global parameter store, on its handler stack, or another default dtype."""
    import pyro
    from pyro.poutine.runtime import _PYRO_STACK

    pyro.clear_param_store()
    local_params = pyro.settings.get("module_local_params")
    dtype = torch.get_default_dtype()
    yield
    leaked, handlers, after = list(pyro.get_param_store().keys()), len(_PYRO_STACK), torch.get_default_dtype()
    changed = pyro.settings.get("module_local_params") != local_params
    pyro.clear_param_store()
    _PYRO_STACK.clear()
    pyro.settings.set(module_local_params=local_params)
    torch.set_default_dtype(dtype)
    assert not leaked, f"the global parameter store holds {leaked}"
    assert not handlers, f"{handlers} effect handlers were left on Pyro's stack"
    assert not changed, "the test left `module_local_params` changed"
    assert after == dtype, f"the test left the default dtype at {after}"


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same global random state."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder named by JENSEN_DATA; skips the test where there is none."""
    root = os.environ.get("JENSEN_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("JENSEN_DATA names no folder")
    return Path(root)


@pytest.fixture(scope="session")
def mnist_root(data_root: Path) -> Path:
    """A root with MNIST's files; skips the test where there is none."""
    if not any((data_root / "MNIST" / "raw").glob("train-images-idx3-ubyte*")):
        pytest.skip(f"no MNIST files in {data_root / 'MNIST' / 'raw'}")
    return data_root
