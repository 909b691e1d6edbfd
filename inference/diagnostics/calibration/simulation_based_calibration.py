"""Whether a method's posteriors are calibrated: the truth must rank uniformly among the draws of its posterior."""

from __future__ import annotations

__all__ = ["simulation_based_calibration"]

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...data.base import MemoryData
from ...data.data import as_data
from ...errors import ConfigurationError, DataError, ModelError, nearest_or_all
from ...options import check_count, check_seed
from ...pair.signature import name_of
from ...processes import in_processes
from ...run.progress import progress_bar
from ...storage.folders import as_path, no_empty_folder
from .calibration import Calibration
from .generative import GenerativeModel
from .one_fit import one_fit_records
from .ranks import TestQuantity
from .simulation import FAILED, Record, Simulation
from .store import Store, identity_of

_FITS, _ROWS = 200, 1_000  # simulations by default, of fits each and of rows of one
_TRIES = 3  # simulations that fail, the first ones, before the rest is given up


def simulation_based_calibration(
    model: Any,
    method: Any,
    data: Any,
    *,
    seed: int = 0,
    num_simulations: int | None = None,
    num_draws: int = 99,
    latents: Sequence[str] | None = None,
    quantities: Mapping[str, TestQuantity] | None = None,
    amortised: bool | None = None,
    jobs: int = 1,
    store: str | Path | None = None,
    progress: bool | None = None,
) -> Calibration:
    r"""Rank what data were simulated from among the draws of the posterior that `method` finds for them.

    .. math:: (\theta_s, x_s) \sim p(\theta)\, p(x \mid \theta),\quad \theta_s^1, \dots, \theta_s^L \sim
       q(\theta \mid x_s),\quad r_s = \#\{l : f(\theta_s^l, x_s) < f(\theta_s, x_s)\}

    With :math:`q(\theta \mid x) = p(\theta \mid x)` every rank is uniform on :math:`0, \dots, L`, for every `f`: each
    number of each latent (at most 100 of one, evenly spaced), the log likelihood of the data, and `quantities`. It is
    the method on this model that is examined, not a fit: `data` give the shape and the inputs alone.

    A model whose latents all belong to a datum, with a guide of its own or with parameters, is fitted once, to `data`;
    the rows of data drawn from the fitted model are then the simulations. What is examined is :math:`q(z \mid x)`.

    Chains are thinned to as many draws as they are worth by their effective sample size, and ranks are spread over
    their cells, so that fits with fewer draws count like others.

    Args:
        model: a `LatentVariableModel` or Pyro program with proper priors, as for a fit. With global latents, parameters
            of it keep their present values in the simulation and are fitted anew in each fit.
        method: an object with ``fit(model, data, *, seed)``: `SVI`, `Laplace`, `Pathfinder`, `NUTS`, `CAVI`, …
        data: as for a fit, in memory. What the model observes is drawn in its place; inputs, masked entries and missing
            values (NaN) stay.
        seed: of everything; a simulation is a function of the seed and its number.
        num_simulations: `S`; by default 200 fits, or 1,000 rows of one fit.
        num_draws: `L`.
        latents: names of those whose numbers are ranked; all by default. Leave out what only has a meaning up to a
            relabelling, such as the components of a mixture, and rank `quantities` that do not depend on it.
        quantities: further numbers to rank, ``{name: f(latents, data)}``, each called for one draw at a time.
        amortised: whether one fit is to serve all simulations; None decides by the model.
        jobs: simulations run at a time, in processes that share the cores; -1 for all cores.
        store: folder for what is done. A call that finds simulations of its own there runs only the others, also with
            another `num_simulations`, and returns the same.
        progress: whether to show a bar; None shows it in terminals.

    Returns:
        A :class:`~jensen.inference.diagnostics.calibration.calibration.Calibration`: print it, or see its `table`,
        `ranks`, `coverage()` and `ecdf()`; `jensen.studies.pictures.calibration_bands` draws it. Fits that fail are
        counted and said, and are in no rank.

    Raises:
        ModelError: for a model that cannot be simulated (improper priors, `pyro.factor`, scales), or if the first three
            fits all fail.
        DataError: if the data cannot be used, are streamed, or have row weights.
        ConfigurationError: for arguments that do not go together.
        CheckpointError: if `store` cannot be written or holds simulations of something else.

    References: S. Talts et al., *Validating Bayesian inference algorithms with simulation-based calibration*, 2018,
    https://arxiv.org/abs/1804.06788; M. Modrák et al., *Simulation-based calibration checking for Bayesian computation:
    the choice of test quantities shapes sensitivity*, 2023, https://arxiv.org/abs/2211.02383; T. Säilynoja et al.,
    *Graphical test for discrete uniformity*, 2022, https://arxiv.org/abs/2103.10522

    Example:
        >>> from jensen.inference import Laplace
        >>> from jensen.models import BayesianLinearRegression
        >>> x = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
        >>> found = simulation_based_calibration(
        ...     BayesianLinearRegression(2), Laplace(), {"x": x, "y": torch.zeros(10)}, num_simulations=10
        ... )
        >>> found.quantities
        ['w[0]', 'w[1]', 'log p(x | z)']
    """
    check_seed(seed)
    if not callable(getattr(method, "fit", None)) or isinstance(method, type):
        raise ConfigurationError(f"`method` must be an object with `fit`, such as `NUTS()`, got {method!r}.")
    if num_simulations is not None:
        num_simulations = check_count("num_simulations", num_simulations, 2)
    num_draws = check_count("num_draws", num_draws)
    if jobs != -1:
        jobs = check_count("jobs", jobs)
    asked = _check_quantities(quantities)
    place = None if store is None else as_path("store", store)
    if callable(check := getattr(method, "check_model", None)):
        check(model)
    batch = _batch(model, method, data)
    generative = GenerativeModel(model, batch)
    generative.draw(seed)  # what cannot be simulated is said at once
    ranked = _check_latents(latents, generative)
    simulation = Simulation(model, _silent(method), generative.batch, seed, num_draws, ranked, asked)
    name, kind = name_of(model), type(method).__name__
    with no_empty_folder(place):
        if amortised or (amortised is None and not asked and _is_amortised(generative, model, method)):
            records = _of_one_fit(simulation, generative, num_simulations or _ROWS, place, bool(amortised))
            if records is not None:
                note = "of the guide at the fitted parameters, one datum a simulation"
                return Calibration(name, kind, num_draws, tuple(records), amortised=True, notes=(note,))
        records = _of_many_fits(simulation, num_simulations or _FITS, jobs, place, progress)
    return Calibration(name, kind, num_draws, tuple(records), notes=_notes(generative))


def _of_one_fit(
    simulation: Simulation, generative: GenerativeModel, count: int, place: Path | None, insist: bool
) -> list[Record] | None:
    """Records of one fit; None if it has no draws for other data and none are insisted on."""
    if not generative.is_local:
        raise ConfigurationError(
            "`amortised`: one fit can serve only latents that all belong to a datum (inside the plate `data`), and "
            "this model has global ones, whose posterior is that of all the data. Leave `amortised` out."
        )
    if insist and simulation.quantities:
        raise ConfigurationError("`quantities` are of whole data sets, and one fit is asked about single data.")
    checkpoint = {} if place is None else {"checkpoint": place / "fit"}
    fit = simulation.method.fit(simulation.model, dict(simulation.batch), seed=simulation.seed, **checkpoint)
    if fit.status == "interrupted":
        raise KeyboardInterrupt
    try:
        return one_fit_records(fit, count, simulation.num_draws, simulation.latents, simulation.seed)
    except (DataError, ConfigurationError):
        if insist:
            raise
        return None


def _of_many_fits(
    simulation: Simulation, count: int, jobs: int, place: Path | None, progress: bool | None
) -> list[Record]:
    store = None if place is None else Store(place, identity_of(simulation))
    done = {} if store is None else store.read(range(count))
    with progress_bar("calibration", count, progress) as update:
        update(len(done), "")
        for record in _run(simulation, [n for n in range(count) if n not in done], jobs, store, bool(done)):
            done[record.simulation] = record
            update(len(done), f"{_num_failed(done)} failed" if _num_failed(done) else "")
    if _num_failed(done) == count:
        _give_up(done)
    return [done[number] for number in range(count)]


def _run(
    simulation: Simulation, waiting: Sequence[int], jobs: int, store: Store | None, begun: bool
) -> Iterator[Record]:
    """The records as they are made. The first ones are made here: if none of them ends, no others are begun."""
    piece = functools.partial(_run_and_keep, simulation, store)
    first: dict[int, Record] = {}
    for number in () if begun else waiting[:_TRIES]:
        first[number] = piece(number)
        yield first[number]
        if first[number].status != FAILED:
            break
    if first and _num_failed(first) == _TRIES:
        _give_up(first)
    rest = [number for number in waiting if number not in first]
    if jobs == 1:
        yield from map(piece, rest)
    elif rest:
        for _, record in in_processes(piece, rest, jobs, piece="simulation", whole="calibration"):
            yield record


def _run_and_keep(simulation: Simulation, store: Store | None, number: int) -> Record:
    record = simulation.run(number)
    if store is not None:
        store.keep(record)
    return record


def _num_failed(records: Mapping[int, Record]) -> int:
    return sum(record.status == FAILED for record in records.values())


def _give_up(records: Mapping[int, Record]) -> None:
    first = records[min(records)]
    raise ModelError(
        f"None of {len(records)} simulations could be fitted and ranked; the first: {first.error} Draw data from the "
        f"model and fit them once by hand."
    )


def _check_quantities(given: Mapping[str, TestQuantity] | None) -> dict[str, TestQuantity]:
    if given is not None and not isinstance(given, Mapping):
        raise ConfigurationError(f"`quantities` must be a dict of functions of latents and data, got {given!r}.")
    for label, function in (given or {}).items():
        if not callable(function):
            raise ConfigurationError(
                f"`quantities`: `{label}` must be a function of latents and data, got {function!r}."
            )
    return dict(given or {})


def _check_latents(given: Sequence[str] | None, generative: GenerativeModel) -> tuple[str, ...]:
    if isinstance(given, str):
        raise ConfigurationError(f"`latents` must be a list of names, got the text {given!r}: put it in a list.")
    for name in given or ():
        if name not in generative.sites.latents:
            hint = nearest_or_all(name, generative.sites.latents)
            raise ConfigurationError(f"`latents`: `{generative.name}` has no latent {name!r}.{hint}")
    return tuple(generative.sites.latents if given is None else given)


def _batch(model: Any, method: Any, data: Any) -> dict[str, torch.Tensor]:
    dtype = getattr(method, "dtype", None) or torch.get_default_dtype()
    found = as_data(model, data, dtype=dtype, device="cpu")
    if not isinstance(found, MemoryData):
        raise DataError("`data` must be in memory to be simulated, got a stream. Pass tensors of as many rows.")
    return found.batch()


def _silent(method: Any) -> Any:
    """The method without progress bars of its own."""
    fields = {field.name for field in dataclasses.fields(method)} if dataclasses.is_dataclass(method) else set()
    return dataclasses.replace(method, progress=False) if "progress" in fields else method


def _is_amortised(generative: GenerativeModel, model: Any, method: Any) -> bool:
    guide = getattr(method, "guide", None)
    own = callable(getattr(model, "guide", None)) or (callable(guide) and not isinstance(guide, type))
    return generative.is_local and (own or generative.has_parameters)


def _notes(generative: GenerativeModel) -> tuple[str, ...]:
    if not generative.has_parameters:
        return ()
    return (
        "the model has parameters: simulated at their present values, fitted anew each time, whose error counts too",
    )
