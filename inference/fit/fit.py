"""`Fit`, the result of every method: the fitted pair, its history, and draws from it."""

from __future__ import annotations

__all__ = ["Fit"]

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .arviz import to_arviz
from .display import as_html, as_table, as_text
from .draws import posterior_draws
from .predict import predictive_draws
from .record import FitRecord
from .save import save_fit
from .summary import summary

if TYPE_CHECKING:
    import arviz
    import pandas
    from rich.console import RenderableType


@dataclass(frozen=True, repr=False, eq=False)
class Fit(FitRecord):
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
        status: ``"converged"``, ``"not converged"`` or ``"unknown"`` (``info["convergence"]`` has the test, its number
            and what to do); ``"stopped early"`` by a callback or for want of patience; or ``"interrupted"``.
        info: seconds, steps, steps_per_second, compile, device, dtype, versions, as far as they apply; for a default
            guide over global latents also ``"reliability"``: what importance weights of its draws say of its means and
            standard deviations (:class:`jensen.inference.diagnostics.reliability.Reliability`, as a dict).
        draws: posterior draws ``(S, …)`` by latent, for methods that sample; chains follow one another, and their
            number is ``info["chains"]`` (1 if absent).
        sample_stats: of each of `draws`, ``(S,)``, under ArviZ's names: acceptance, energy, divergences, …
        prototype: the first datum (or a few), as a batch: enough to set a guide up. Taken from `data` if not given.
        program: the bound pair; made from `model` and `guide` if not given.
    """

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
        return predictive_draws(self, data, num, seed)

    def to_arviz(
        self, num: int = 1_000, seed: int = 0, *, data: Any = None, log_likelihood: bool | None = None
    ) -> arviz.InferenceData:
        r"""The fit as ArviZ's InferenceData, which writes to NetCDF; from ArviZ 1 on, the DataTree in its place.

        Groups: ``posterior`` (global latents; local ones and `pyro.deterministic` values too where small),
        ``log_likelihood`` (unscaled, per datum, of the same draws; latents that are summed out in the data plate are
        summed out here), ``sample_stats`` (of a sampling method what it says of its draws; of a guide, beside a log
        likelihood of the training data, ``log_p`` and ``log_q``: the log densities of each draw of all latents, with
        the data, under the model, :math:`\log p(x, z)`, and under the guide, whose difference are log importance
        weights), ``observed_data``, ``constant_data``. Attributes: method, objective, guide, model, seed,
        status, versions.

        ``arviz.loo`` takes the draws for those of the posterior. For those of a guide, :func:`jensen.inference.loo`
        weighs them, and in ArviZ 1 ``arviz.loo_approximate_posterior(tree, log_p, log_q)`` does. Each row counts once,
        whatever weight the fit gave it.

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
        return to_arviz(self, num, seed, data, log_likelihood)

    def summary(self, num: int | None = None, seed: int = 0, *, data: Any = None, **options: Any) -> pandas.DataFrame:
        """Means, standard deviations and intervals of the latents, a row per number: ``arviz.summary``.

        Chains of a sampling method have R-hat and effective sample sizes too. Draws of a guide are independent, which
        R-hat would call converged whatever they are: theirs is no column, and whether they can be relied on is what
        :func:`jensen.inference.pareto_k` says.

        Args:
            num: number of draws; by default all stored ones, or 4,000 of the guide.
            seed: of the draws.
            data: the data whose local latents have rows too, as in :meth:`to_arviz`.
            options: of ``arviz.summary``.

        Raises:
            ConfigurationError, DataError: as in :meth:`to_arviz`.

        Example:
            >>> fit.summary(var_names=["w"])  # doctest: +SKIP
        """
        return summary(self, num, seed, data, **options)

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
        return save_fit(self, folder, data)

    def __repr__(self) -> str:
        return as_text(self)

    def __rich__(self) -> RenderableType:
        return as_table(self)

    def _repr_html_(self) -> str:
        return as_html(self)
