"""Compatibility of a pair, an objective and a way of batching, checked before the first step."""

from __future__ import annotations

__all__ = ["check_observed", "check_pair", "nothing_observed"]

from collections.abc import Iterator
from typing import Any

from ..errors import ModelError
from ..pair.coupling import examine_coupling, few_rows
from ..pair.findings import Finding, PairSites, raise_first
from ..pair.findings.rows import check_rows
from ..pair.messengers.minibatch import DATA_PLATE
from ..pair.program import Program
from ..pair.recorded_run import run
from ..pair.signature import read_signature
from ..tensors import Batch, num_rows
from .base import Objective
from .importance import Renyi


def check_pair(program: Program, objective: Objective, batch: Batch, mini: bool, guide: Any, parallel: bool) -> None:
    """Raise a ModelError that says what to change if the parts of a fit do not go together.

    Args:
        program: the bound pair.
        objective: the objective.
        batch: the first step's batch.
        mini: whether steps see less than all the data.
        guide: the guide, asked for `local_latents` (an automatic guide's parameters per datum).
        parallel: whether several processes share each batch.
    """
    structure = program.structure(batch)
    raise_first(structure.findings, "fit")
    if not structure.select("observed"):
        raise nothing_observed(program.model_owner, batch).error()
    objective.check(structure)
    if isinstance(objective, Renyi) and not structure.global_latents:
        _check_independent(program, objective, batch)
    if not (mini or parallel):
        return
    for finding in _outside_rows(program, batch):
        raise ModelError(f"Mini-batches are not possible with this model. {finding}")
    if structure.batch_size is None:
        raise ModelError(
            f"Mini-batches need to know which sites belong to single data, and the model has no plate named "
            f'`{DATA_PLATE}`. Put the data in `with pyro.plate("{DATA_PLATE}", len(x)):`, or drop `batch_size`.'
        )
    local = list(getattr(guide, "local_latents", ()))
    if local:
        raise ModelError(
            f"The automatic guide has parameters of its own for every datum of `{local[0]}`, so it cannot be fitted on "
            f"mini-batches. Write an amortised `guide` (its parameters computed from the data), or drop `batch_size`."
        )
    tied = examine_coupling(program, few_rows(program, batch)).of_draws
    if tied:
        raise ModelError(
            f"The density of `{tied[0]}` depends on the draws of other data, of which a mini-batch has a part only: it "
            f"would be that of another model. Drop `batch_size`."
        )
    if isinstance(objective, Renyi) and structure.global_latents:
        names = ", ".join(f"`{site.name}`" for site in structure.global_latents)
        raise ModelError(
            f"`{type(objective).__name__}` with global latents ({names}) is a bound only on the full batch: the log "
            f"of an average of joint weights cannot be estimated from a mini-batch. Drop `batch_size`, or use "
            f"`Trace_ELBO` or `TraceMeanField_ELBO`."
        )
    shared = [s for s in structure.sites.values() if s.enumerated == "model" and not s.local]
    if shared:
        raise ModelError(
            f"The global discrete latent `{shared[0].name}` is summed out together with all the data, which a "
            f"mini-batch cannot do without bias. Drop `batch_size`, or sample it in the guide with `Trace_ELBO`."
        )
    if parallel and not objective.is_sum_over_data:
        raise ModelError(f"`{type(objective).__name__}` is not a sum over the data, so processes cannot share a batch.")


def _outside_rows(program: Program, batch: Batch) -> Iterator[Finding]:
    """What holds the rows of the batch, and lies outside of the data plate."""
    size = num_rows(batch)
    part = {name: value[: max(size // 2, 1)] for name, value in batch.items()}
    full, small = run(program, program.model, batch), run(program, program.model, part)
    if size > 1 and full.complete and small.complete:
        yield from check_rows(PairSites(full.sites, {}, batch), small.sites, max(size // 2, 1))


def _check_independent(program: Program, objective: Objective, batch: Batch) -> None:
    """Weights per datum are those of independent data."""
    rows = examine_coupling(program, few_rows(program, batch)).rows
    if rows:
        raise ModelError(
            f"`{type(objective).__name__}` weights each datum by itself, but the density of `{rows[0]}` at one datum "
            f"depends on the draws of others, so the product of the averages is no bound. Use `Trace_ELBO`, or make "
            f"all that belongs together one datum."
        )


def check_observed(model: Any, batch: Batch) -> None:
    """Raise a DataError if a method of closed forms, which runs no program, is given nothing that the model observes.

    Args:
        model: one that may name what it observes.
        batch: the data, or some of them.
    """
    observed = getattr(model, "observed", ())
    if observed and not any(name in batch for name in observed):
        raise nothing_observed(model, batch).error()


def nothing_observed(model: Any, batch: Batch) -> Finding:
    """What to say of a model that observes none of the data: they lack what it draws by itself, or it has no `obs=`."""
    observed = getattr(model, "observed", None) or read_signature(model).observed
    drawn = [f"`{name}`" for name in observed if name not in batch]
    code, cure = "nothing-observed", f"Give a site of the model its data: `pyro.sample(…, obs={list(batch)[-1]})`."
    if drawn:
        code, cure = "data", f"Pass {' or '.join(drawn)} in the data, with values."
    return Finding(code, "", "Nothing is observed: every site of the model is drawn.", cure, about_data=True)
