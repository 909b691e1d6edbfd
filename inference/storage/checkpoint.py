"""The state of a run on disk: whole at every instant, checked when read, with the previous one kept."""

from __future__ import annotations

__all__ = ["Checkpoint", "CheckpointStore"]

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, ConfigurationError
from ..warn import warn_user
from .atomic import discard, dump_tensors, parse_tensors, prepare_folder
from .bundle import read_bundle, write_bundle
from .json_values import differences, from_json, to_json

_NAME = re.compile(r"checkpoint-(\d{12})\.json")
_FILE = r"checkpoint-\d{12}(\.json|(-[0-9a-f]{8})?\.safetensors)"
_OWN, _TORN = re.compile(_FILE), re.compile(rf"\.{_FILE}(\.[0-9a-f]{{8}})?\.tmp")


@dataclass(frozen=True)
class Checkpoint:
    """What was saved at one step.

    Attributes:
        step: how many steps had been made.
        tensors: parameters, optimiser and generator state by name, on the CPU.
        state: the JSON part.
        history: the rows logged so far.
        finished: whether the run had ended.
    """

    step: int
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False


class CheckpointStore:
    """Keeps the newest states of one run in a folder, each a JSON file and a safetensors file.

    A save becomes visible in one atomic rename after its tensors are on disk, so a process killed at any instant leaves
    the previous state or the new one. Nothing is ever unpickled. One process at a time may write to a folder.

    Args:
        folder: made if need be; tried for writing at once.
        config: everything that determines the run (JSON-able). A folder that holds a run of another configuration is
            an error.
        keep: how many states to keep, at least 2.

    Raises:
        CheckpointError: if the folder cannot be written.
        ConfigurationError: if `keep` is less than 2.

    Example:
        >>> import tempfile
        >>> store = CheckpointStore(tempfile.mkdtemp(), {"lr": 0.1})
        >>> store.latest() is None
        True
        >>> store.save(10, {"loc": torch.zeros(2)}, {"best": -1.5})
        >>> store.latest().step
        10
    """

    def __init__(self, folder: str | Path, config: Mapping[str, Any], keep: int = 2) -> None:
        if keep < 2:
            raise ConfigurationError(f"`keep` must be at least 2, so that the previous state survives, got {keep}.")
        self.folder = prepare_folder(folder)
        self.config: dict[str, Any] = to_json(config)
        self.keep = keep

    def save(
        self,
        step: int,
        tensors: Mapping[str, torch.Tensor],
        state: Mapping[str, Any],
        history: Sequence[Mapping[str, Any]] = (),
        finished: bool = False,
    ) -> None:
        """Write the state of `step`, then remove what is older than the newest `keep`.

        Raises:
            CheckpointError: if it cannot be written; the earlier states are then still whole.
        """
        stem = f"checkpoint-{step:012d}"
        body = {"step": step, "finished": finished, "config": self.config, "state": state, "history": list(history)}
        files = {f"{stem}.safetensors": dump_tensors(tensors)}
        write_bundle(self.folder, stem, "checkpoint", body, files, tidy=False)
        self._prune(step)

    def latest(self, check: Callable[[Checkpoint], object] | None = None) -> Checkpoint | None:
        """The newest state that is whole, or None if the folder holds none.

        A damaged or foreign file is passed over for the one before it, with a warning.

        Args:
            check: called with a state, to raise whatever it likes if the run cannot go on from it.

        Raises:
            CheckpointError: if the state belongs to a run of another configuration (the fields are named), or if there
                are states but none can be read.
        """
        manifests = self._manifests()
        faults: list[str] = []
        for manifest in reversed(manifests):
            try:
                checkpoint, config = _read(manifest)
            except CheckpointError as error:
                faults.append(str(error))
                continue
            lines = differences(config, from_json(self.config))
            if lines:
                raise CheckpointError(
                    f"{self.folder} holds a run with another configuration: {'; '.join(lines)}. Pass the same "
                    f"configuration to go on with that run, or another folder."
                )
            if check is not None:
                try:
                    check(checkpoint)
                except Exception as error:  # what a forged state may lead to
                    kind = "" if isinstance(error, CheckpointError) else f"{type(error).__name__}: "
                    faults.append(f"{manifest} holds no state of this run: {kind}{error}.")
                    continue
            if faults:
                warn_user(
                    f"Going on from the state of step {checkpoint.step}, because a newer one cannot be used: "
                    f"{faults[0]}",
                    RuntimeWarning,
                )
            return checkpoint
        if faults:
            raise CheckpointError(f"{faults[0]} No other state is left in {self.folder}: remove it to start again.")
        return None

    def _manifests(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def _prune(self, newest: int) -> None:
        """Keep the newest states up to this step; drop older ones, later ones (an abandoned branch) and leftovers."""
        names = [path.name for path in self._manifests()]
        steps = [int(name[11:23]) for name in names]
        kept = {f"checkpoint-{step:012d}" for step in [step for step in steps if step <= newest][-self.keep :]}
        for path in sorted(self.folder.iterdir(), key=lambda path: path.suffix != ".json"):
            stale = _OWN.fullmatch(path.name) and path.name[:23] not in kept
            if stale or _TORN.fullmatch(path.name):
                discard(path)


def _read(manifest: Path) -> tuple[Checkpoint, dict[str, Any]]:
    name = f"{manifest.stem}.safetensors"
    body, files = read_bundle(manifest, "checkpoint", (name,))
    types = {"step": int, "finished": bool, "config": dict, "state": dict, "history": list}
    if wrong := [key for key, kind in types.items() if not isinstance(body.get(key), kind)]:
        raise CheckpointError(f"{manifest} is damaged: its `{wrong[0]}` is {body.get(wrong[0])!r:.60}.")
    if body["step"] != int(manifest.stem[11:]):
        raise CheckpointError(f"{manifest} is damaged: its `step` is {body['step']}.")
    if not all(isinstance(row, dict) and all(map(_is_number, row.values())) for row in body["history"]):
        raise CheckpointError(f"{manifest} is damaged: its `history` is not rows of numbers.")
    tensors = parse_tensors(files[name], manifest.with_suffix(".safetensors"))
    return Checkpoint(body["step"], tensors, body["state"], body["history"], body["finished"]), body["config"]


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, (int, float))
