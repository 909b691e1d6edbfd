"""What every method returns: the fitted pair, how it got there, and what can be drawn from it."""

from __future__ import annotations

__all__ = ["Fit", "load"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import DataError, ModelError
from ..pair.program import Program, Structure

if TYPE_CHECKING:
    import arviz
    import pandas
    from rich.console import RenderableType


class _Copied:
    """A field that hands out a copy of its table, so that the owner cannot be changed through it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = f"_{name}"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            raise AttributeError(self.key)  # the dataclass field then has no default
        return instance.__dict__[self.key].copy()

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.key] = value.copy()


@dataclass(frozen=True, repr=False, eq=False)
class Fit:
    """A fitted model with its guide. Immutable; `history` is a copy each time it is asked for.

    Attributes:
        method: the method's name, such as ``"SVI"``.
        config: the method's whole configuration, JSON-able.
        model: the fitted copy of the model.
        guide: the fitted guide (the model's own method, a module or a callable); None for methods without one.
        history: a pandas table, one row per logging interval; bounds in nats, bigger is better. `bound_per_datum` is
            `bound` over `N`; for a model with a `row_weight`, whose bound counts each row by its weight, over the
            weights' sum (over `N` if they were streamed).
        seed: the run's seed.
        data: the training data by argument name, ``(N, …)`` each; None if they were streamed or not saved.
        data_size: `N`.
        status: ``"finished"``, ``"stopped early"`` or ``"interrupted"``.
        info: seconds, steps, steps_per_second, compile, device, dtype, versions, as far as they apply.
        draws: posterior draws ``(S, …)`` by latent, for methods that sample; chains follow one another, and their
            number is ``info["chains"]`` (1 if absent).
        prototype: the first datum (or a few), as a batch: enough to set a guide up. Taken from `data` if not given.
        program: the bound pair; made from `model` and `guide` if not given.
    """

    method: str
    config: Mapping[str, Any]
    model: Any
    guide: Callable[..., Any] | None
    history: pandas.DataFrame = _Copied()  # type: ignore[assignment]
    seed: int = 0
    data: Mapping[str, Tensor] | None = None
    data_size: int = 0
    status: str = "finished"
    info: Mapping[str, Any] = field(default_factory=dict)
    draws: Mapping[str, Tensor] | None = None
    prototype: Mapping[str, Tensor] = field(default_factory=dict)
    program: Program = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not self.prototype:
            if self.data is None:
                raise DataError("`prototype` must be given for a fit that does not hold its data: pass `data.head(1)`.")
            first = {name: value[:1].clone() for name, value in self.data.items()}
            object.__setattr__(self, "prototype", first)
        if not self.data_size and self.data is not None:
            object.__setattr__(self, "data_size", len(next(iter(self.data.values()))))
        if self.program is None:
            object.__setattr__(self, "program", Program(self.model, self.guide))
            if self.guide is None and self.draws is not None:
                from .draws import points_program

                object.__setattr__(self, "program", points_program(self.model, self.stand_in()))

    @property
    def structure(self) -> Structure:
        """The sites of the pair, as seen on the prototype (on all data, for a guide with parameters per datum)."""
        from ..pair.eval_mode import ready

        with ready(self.program, 0):
            try:
                return self.program.structure(self.stand_in(len(next(iter(self.prototype.values())))))
            except (ModelError, RuntimeError, ValueError, IndexError):  # parameters per datum: no part can be run
                return self.program.structure(self.stand_in())

    def batch(self, data: Any = None, *, observed: bool = True) -> dict[str, Tensor]:
        """`data` (the training data if None) as one batch in the fit's number type and on its device.

        Raises:
            DataError: as in :func:`jensen.inference.data.data.as_data`; if `data` is None and none are held.
        """
        from ..data.data import as_data

        dtype, device = self._place()
        if data is not None:
            return as_data(self.model, data, dtype=dtype, device=device, observed=observed).batch()
        if self.data is None:
            raise DataError("`data` must be given: this fit does not hold its training data.")
        return {name: value.to(device) for name, value in self.data.items()}

    def stand_in(self, rows: int | None = None) -> dict[str, Tensor]:
        """A batch of `rows` data to set the pair up with (all `N` if None): the first ones, repeated where not held."""
        if rows is None and self.data is not None:
            return self.batch()
        _, device = self._place()
        few = {name: value.to(device) for name, value in self.prototype.items()}
        if rows is not None and rows <= len(next(iter(few.values()))):
            return {name: value[:rows] for name, value in few.items()}
        size = self.data_size if rows is None else rows
        return {name: value[:1].expand(size, *value.shape[1:]) for name, value in few.items()}

    def _place(self) -> tuple[torch.dtype | None, torch.device]:
        tensors = [*self.program.parameters(), *self.program.buffers(), *self.prototype.values()]
        floating = [value.dtype for value in tensors if value.is_floating_point()]
        return floating[0] if floating else None, tensors[0].device

    def posterior(self, num: int = 1_000, data: Any = None, seed: int = 0) -> dict[str, Tensor]:
        r"""Draw latents, :math:`\theta \sim q(\theta \mid x)` and :math:`z \sim q(z \mid x', \theta)`.

        Discrete latents that the fit summed out are drawn too, from their exact conditional given the data and the
        other latents of the same draw (see also :func:`jensen.inference.marginals`).

        Args:
            num: number of draws.
            data: the data :math:`x'` whose latents are drawn too; None draws the global latents alone (if the model has
                only local ones: those of the training data). Global latents :math:`\theta` are always those of the
                training data (of `data` only where a guide that reads them is to be run and the fit holds none).
            seed: of the draws; the same seed gives the same draws.

        Returns:
            By latent, ``(num, *site shape)``; local latents are ``(num, N, …)`` where the data plate is at dimension
            -1, its usual place. In general a site has one axis for each plate dimension from the outermost down to -1
            (of size one where a plate between them does not hold it), and then its event: with data at -1 and 3 groups
            at -2, a site of both is ``(num, 3, N)`` and one of the groups alone ``(num, 3, 1)``. `pyro.deterministic`
            values come under their names: with global latents alone, those that do not depend on the data.

        Raises:
            ConfigurationError: if `num` is not positive, or more than a sampling method's stored draws.
            DataError: if data are needed and not held (global latents that were summed out, or whose guide reads the
                data, need the training data), or `data` are other rows than those that the guide has factors for.

        Example:
            >>> fit.posterior(1_000)["w"].shape  # doctest: +SKIP
            torch.Size([1000, 30])
        """
        from .draws import posterior_draws

        return posterior_draws(self, num, data, seed)

    def predict(self, data: Any = None, num: int = 100, seed: int = 0) -> dict[str, Tensor]:
        r"""Draw what the model observes, :math:`x^* \sim \int p(x^* \mid z, \theta)\, q(z, \theta \mid x)\, dz\,
        d\theta`.

        Latents of rows whose outcome is given are drawn from their posterior, as in :meth:`posterior`, so that each row
        is predicted from its own component, code or effect; those of new rows without an outcome from
        :math:`p(z \mid \theta)`. Global latents are always those of the training data.

        Args:
            data: inputs, and whatever the guide needs; what is observed may be left out where the guide does not read
                it. The training data if None.
            num: number of draws.
            seed: of the draws.

        Returns:
            By observed site, ``(num, *site shape)``: ``(num, N, …)`` where the data plate is at dimension -1 (other
            plates as in :meth:`posterior`). A site with an `obs_mask` comes under its own name: its observed entries
            as they are, the missing ones drawn. `pyro.deterministic` values come too.

        Raises:
            DataError, ConfigurationError: as in :meth:`posterior`.
            ModelError: if a value is not given that a given one depends on, and it cannot be summed out.

        Example:
            >>> fit.predict({"x": x_new})["y"].mean(0)  # P(y = 1)  # doctest: +SKIP
        """
        from .predict import predictive_draws

        return predictive_draws(self, data, num, seed)

    def to_arviz(
        self, num: int = 1_000, seed: int = 0, *, data: Any = None, log_likelihood: bool | None = None
    ) -> arviz.InferenceData:
        """The fit as ArviZ's InferenceData (one chain), which writes to NetCDF.

        Groups: ``posterior`` (global latents; local ones and `pyro.deterministic` values too where small),
        ``log_likelihood`` (unscaled, per datum, of the same draws; latents that are summed out in the data plate are
        summed out here), ``observed_data``, ``constant_data``. Attributes: method, objective, guide, model, seed,
        status, versions.

        Every plate is a dimension of its own name; the log likelihood has that of the data plate, ``"data"`` or else
        the plate that has the data's size, wherever it is among the others. Without a data plate it is one number a
        draw.

        Args:
            num: number of draws.
            seed: of the draws.
            data: other data than the training data, or those if the fit does not hold them.
            log_likelihood: whether to include it; by default where ``num * N`` is at most ten million.

        Raises:
            DataError: if data are needed and not held.
        """
        from .arviz import to_arviz

        return to_arviz(self, num, seed, data, log_likelihood)

    def save(self, folder: str | Path, *, data: bool | None = None) -> Path:
        """Write the fit as ``fit.json``, ``parameters.safetensors``, ``history.csv`` (and draws, data); no pickles.

        Args:
            folder: made if need be. A fit that is there already is replaced, in one atomic step, and what a save that
                was killed left there is removed; other files are left alone.
            data: whether to keep the training data with it; by default up to 16 MiB.

        Returns:
            The folder.

        Raises:
            CheckpointError: if the folder cannot be written; a fit that is there stays whole.
        """
        from .files import save_fit

        return save_fit(self, folder, data)

    def __repr__(self) -> str:
        from .display import as_text

        return as_text(self)

    def __rich__(self) -> RenderableType:
        from .display import as_table

        return as_table(self)

    def _repr_html_(self) -> str:
        from .display import as_html

        return as_html(self)


def load(
    folder: str | Path,
    model: Any = None,
    guide: Callable[..., Any] | None = None,
    *,
    trust: bool = False,
    device: torch.device | str = "cpu",
) -> Fit:
    """Read a fit that :meth:`Fit.save` wrote.

    The model is built again from its class and constructor arguments if the class is jensen's or its module is already
    imported, and the guide from its name or class. What cannot be built from a file must be passed. A file from a
    stranger is safe to load without `trust`: nothing is unpickled or imported, and of the names in it only classes of
    models, layers, distributions and autoguides are obeyed that bear the very name, and a short list of functions.

    Args:
        folder: where the fit was saved.
        model: a model of the fitted kind, whose parameters are then replaced in a copy.
        guide: a guide of the fitted kind (a module, or a callable ``model -> guide``), likewise.
        trust: whether a module named in the file may be imported to find the model's class (importing runs its code).
        device: where to put parameters and data.

    Raises:
        CheckpointError: if the files are missing, damaged or foreign, the model or guide must be passed, or `model` is
            of another class or size.

    Example:
        >>> fit.save("runs/blr"); load("runs/blr").posterior(10)  # doctest: +SKIP
    """
    from .files import load_fit

    return load_fit(folder, model, guide, trust, torch.device(device))
