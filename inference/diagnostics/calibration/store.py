"""Simulations that are done, kept in a folder, so that none is run twice."""

from __future__ import annotations

__all__ = ["Store", "identity_of"]

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from ...data.base import MemoryData
from ...errors import CheckpointError
from ...run.identity import plain, run_identity
from ...storage.atomic import fingerprint, prepare_folder
from ...storage.bundle import read_bundle, write_bundle
from ...storage.json_values import differences, to_plain
from ...warn import warn_user
from .simulation import Record, Simulation

_KIND, _STEM = "calibration", "calibration"


def identity_of(simulation: Simulation) -> dict[str, Any]:
    """What makes simulations these, in plain values: all but how many there are."""
    method, model = simulation.method, simulation.model
    configuration = method.configuration() if hasattr(method, "configuration") else {"method": plain(method)}
    run = run_identity(configuration, model, MemoryData(simulation.batch), None, simulation.seed, {})
    state = fingerprint(model.state_dict()) if isinstance(model, nn.Module) else None
    own = {
        "num_draws": simulation.num_draws,
        "latents": list(simulation.latents),
        "quantities": list(simulation.quantities),
        "state": state,
    }
    found: dict[str, Any] = to_plain({**run, **own}, non_finite=str)
    return found


class Store:
    """Records in a folder, one file each, written whole as its simulation ends.

    Raises:
        CheckpointError: if the folder cannot be written, or holds simulations of something else.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = prepare_folder(folder)
        manifest = self.folder / f"{_STEM}.json"
        if manifest.exists():
            there = read_bundle(manifest, _KIND)[0].get("identity")
            if lines := differences(there, identity):
                raise CheckpointError(
                    f"{self.folder} holds simulations of something else: {'; '.join(lines[:3])}. Choose another folder."
                )
        else:
            write_bundle(self.folder, _STEM, _KIND, {"identity": identity}, {}, tidy=False)

    def keep(self, record: Record) -> None:
        """Write a record."""
        body = {"record": dataclasses.asdict(record)}
        write_bundle(self.folder, self._stem(record.simulation), "simulation", body, {}, tidy=False)

    def read(self, numbers: Iterable[int]) -> dict[int, Record]:
        """The records of these simulations that are there. One that is damaged is said, and is to be run again."""
        found = {}
        for number in numbers:
            path = self.folder / f"{self._stem(number)}.json"
            if not path.exists():
                continue
            try:
                record = Record.read(read_bundle(path, "simulation")[0]["record"])
            except (CheckpointError, KeyError, TypeError) as error:
                warn_user(f"Simulation {number} is run again. {error}")
                path.unlink()
                continue
            if record.simulation == number:
                found[number] = record
        return found

    @staticmethod
    def _stem(number: int) -> str:
        return f"simulation-{number:06d}"
