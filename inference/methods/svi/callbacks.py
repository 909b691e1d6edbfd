"""The callbacks of a running fit: what they set in the model counts from the next step on, and after a resume."""

from __future__ import annotations

__all__ = ["Callbacks"]

from typing import Any

from ...errors import ConfigurationError
from ...pair.plain_state import GENERATORS, Place, restore
from ...run.progress import Callback, Progress
from ...step.engine import Engine
from ...step.tracing import python_state, warn_set_by_hand

_TRACED_AGAIN = 2  # times that what a callback changes is worth a new trace


class Callbacks:
    """Call every callback of a run, and carry on with what it changed.

    Python values that the program reads (``model.tau``), parameters and buffers may be set. With a moving average a
    callback sees the averages, so parameters may only be read.

    Args:
        callbacks: functions of a `Progress`.
        engine: whose steps go on afterwards.
    """

    def __init__(self, callbacks: tuple[Callback, ...], engine: Engine) -> None:
        self.callbacks, self.engine = callbacks, engine
        self._set: dict[str, Place] = {}
        self._changes = 0

    def __call__(self, progress: Progress) -> bool:
        """Call all of them on the pair that holds the present parameters; whether one asks to stop.

        Raises:
            ConfigurationError: if one sets a parameter whose moving average the fit returns.
        """
        engine = self.engine
        before, held = python_state(engine), engine.function.held()
        answers = [callback(progress) for callback in self.callbacks]  # every one is called
        after = python_state(engine)
        names = [name for name in after.changed(before, tensors=True) if name not in GENERATORS]
        self._set.update({name: after.places[name] for name in names if name in after.places})
        if names:
            self._trace_again(names[0])
        changed = engine.function.changed_since(held)
        if engine.update.average is not None and (parameters := [n for n in changed if n in engine.function.names]):
            raise ConfigurationError(
                f"A callback sets the parameter `{parameters[0]}`, and with `average` it sees the moving average, "
                f"which the steps do not go on from. Leave out `average`, or do not set parameters."
            )
        if changed:
            state, buffers = engine.state, list(engine.function.buffers.values())
            present = state.parameters if engine.update.average is not None else engine.function.initial()
            engine.state = state.with_tensors([*present, *state.optimizer, *state.average, *buffers]).clone()
        return any(answer is True for answer in answers)

    def _trace_again(self, name: str) -> None:
        """The program reads other values than its trace holds: trace it anew, or not at all if that happens often."""
        self._changes += 1
        if self.engine.backend == "eager" and self.engine.prepared:
            return
        self.engine.leave_traces(again=self._changes <= _TRACED_AGAIN)
        if self._changes > _TRACED_AGAIN:
            warn_set_by_hand(name)

    def values(self) -> dict[str, Any]:
        """Python values that runs or callbacks have changed, by path, as far as a checkpoint can hold them."""
        places = {**self.engine.function.program.restless, **self._set}
        values = {name: place.get() for name, place in places.items()}
        return {name: value for name, value in values.items() if isinstance(value, (bool, int, float, str))}

    def load(self, values: dict[str, Any]) -> None:
        """Set what :meth:`values` returned."""
        places = python_state(self.engine).places
        self._set |= {name: places[name] for name in values if name in places}
        restore([(places[name], value) for name, value in values.items() if name in places])
