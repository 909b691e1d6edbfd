"""Two processes under torchrun make the fit that one process makes of the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow  # two processes import torch and make eighteen fits


def results(folder: Path, *launcher: str) -> dict[str, Any]:
    folder.mkdir()
    program = Path(__file__).with_name("parallel_fits.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, str(program), str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    root = tmp_path_factory.mktemp("parallel")
    parallel = results(root / "two", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    return results(root / "one"), parallel


FITS = (
    "logistic",
    "mini_batches",
    "importance",
    "global_latents",
    "mixture",
    "transformed",
    "loader",
    "resumed",
    "stopped",
)


@pytest.mark.parametrize("mode", ["False", "trace"])
@pytest.mark.parametrize("name", FITS)
def test_two_processes_make_the_fit_of_one(both: tuple[dict[str, Any], dict[str, Any]], name: str, mode: str) -> None:
    one, two = (result[f"{name} {mode}"] for result in both)
    assert one["status"] == two["status"] == ("stopped early" if name == "stopped" else "unknown")
    assert one["parameters"].keys() == two["parameters"].keys()
    for parameter, value in one["parameters"].items():
        np.testing.assert_allclose(two["parameters"][parameter], value, rtol=1e-8, atol=1e-10, err_msg=parameter)
    np.testing.assert_allclose(np.array(two["history"], float), np.array(one["history"], float), rtol=1e-8, atol=1e-9)


def test_batches_that_two_processes_cannot_share_are_refused(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    odd, ragged, whole, loader, opaque = both[1]["refusals"]
    assert "A batch of 15 cannot be divided evenly among 2 processes" in odd
    assert "A data-parallel run needs batches of one size: 48 data do not divide into batches of 32" in ragged
    assert "A batch of 47 cannot be divided evenly among 2 processes" in whole
    assert "A data-parallel run needs batches of one size" in loader
    assert "cannot share draws made by `_standard_gamma`, and the model has the global latent `rate`" in opaque
    assert both[0]["refusals"] == ["nothing"] * 5
