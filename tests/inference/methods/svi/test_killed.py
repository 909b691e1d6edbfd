"""A process killed with SIGKILL at random moments goes on to exactly the fit that it would have made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_killed_fit_resumes_bit_for_bit(tmp_path: Path) -> None:
    program = Path(__file__).with_name("killed_fits.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), "8", "7"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["killed"] == 8
    assert not report["different"]
    assert len(set(report["resumed_from"])) > 3, "the kills should strike at different steps"
