"""Local latents: whether the guide computes their parameters from the data, or keeps some for every datum."""

from __future__ import annotations

__all__ = ["check_amortisation"]

import torch

from ..pair.densities.site_densities import log_prob_of
from ..pair.findings import data_frames
from ..pair.messengers.minibatch import DATA_PLATE
from ..pair.recorded_run import moved_parameters, run
from .case import Examination
from .failures import first_line


def check_amortisation(case: Examination) -> None:
    """Find latents in the data plate whose guide has parameters for each datum of its own, or ignores the data."""
    local = [name for name in case.guide.run.sites if name in case.sites.latents and case.local(name)]
    if not local or case.size < 2 or case.has("nothing-observed"):
        return
    listed = ", ".join(f"`{name}`" for name in local)
    own = list(getattr(case.built, "local_latents", ()))
    names = _per_datum_parameters(case, local)
    failed = not case.guide.small.complete and case.guide.run.complete and not case.has("plate-size")
    if own or names or failed:
        listed = ", ".join(f"`{name}`" for name in own) if own else listed
        who = "the automatic guide has" if own and case.automatic else "the guide has"
        verb = "is" if len(own or local) == 1 else "are"
        which = f" ({', '.join(f'`{name}`' for name in names)})" if names else ""
        reason = ""
        if not (own or names):
            reason = f" It fails on {case.few_size} of the {case.size} data: {first_line(case.guide.small.error)}"
        case.note(
            "per-datum-parameters",
            (own or local)[0],
            f"{listed} {verb} inside the plate `{DATA_PLATE}` without amortisation: {who} parameters for each of the "
            f"{case.size} data{which}. That is right for effects of groups and items, and costs memory and time per "
            f"step in proportion to the data; it fits the full batch only, and says nothing about other data.{reason}",
            f"Write a `guide` that computes the parameters of `{(own or local)[0]}` from the data (a network of "
            f"`{case.first}`) if you want mini-batches, or scores of other data.",
        )
        return
    for name in local:
        if not _looks_at_data(case, name):
            case.warn(
                "blind-guide",
                name,
                f"The guide gives `{name}` the same distribution for every datum: it does not look at the data.",
                f"Compute its parameters from `{case.first}`.",
            )


def _per_datum_parameters(case: Examination, local: list[str]) -> list[str]:
    """Parameters of the guide with one row per datum: row 0 of them, and no other, enters the draw of datum 0."""
    owner = case.program.guide_owner
    candidates = dict(owner.named_parameters()) if owner is not None else {}
    candidates |= dict(case.program.pyro_params.named_parameters())
    candidates = {n: p for n, p in candidates.items() if p.requires_grad and case.size in p.shape}
    if not candidates:
        return []
    record = run(case.program, case.program.guide, case.batch, grad=True)
    terms = []
    for name in local:
        if name in record.sites and data_frames(record.sites[name]):
            site = record.sites[name]
            log_q, draw = log_prob_of(site), site["value"]
            dim = data_frames(site)[0].dim
            event = site["fn"].event_dim
            terms.append(log_q.movedim(dim, 0)[0].sum() + draw.movedim(dim - event, 0)[0].sum())
    total = sum(terms)
    if not isinstance(total, torch.Tensor) or not total.requires_grad:
        return []
    gradients = torch.autograd.grad(total, list(candidates.values()), allow_unused=True)
    found = []
    for (name, parameter), gradient in zip(candidates.items(), gradients, strict=True):
        if gradient is None:
            continue
        for dim in (d for d, size in enumerate(parameter.shape) if size == case.size):
            rows = gradient.movedim(dim, 0)
            if bool((rows[0] != 0).any()) and not bool((rows[1:] != 0).any()):
                found.append(name)
                break
    return found


def _looks_at_data(case: Examination, name: str) -> bool:
    """Whether the draws change when the data are shuffled, the noise being the same."""
    order = torch.roll(torch.arange(case.size), 1)
    shuffled = {key: value[order] for key, value in case.batch.items()}
    if all(torch.equal(shuffled[key], value) for key, value in case.batch.items()):
        return True  # the data are all alike: nothing can be told
    with moved_parameters(case.program):  # a network may start at zero
        other = run(case.program, case.program.guide, shuffled)
        mine = run(case.program, case.program.guide, case.batch)
    if name not in other.sites or name not in mine.sites:
        return True
    return not torch.equal(other.sites[name]["value"], mine.sites[name]["value"])
