"""Scales that a program sets by hand: they make bounds and importance weights those of another model."""

from __future__ import annotations

__all__ = ["check_scales"]

from collections.abc import Iterator
from typing import Any

import torch

from ..messengers.minibatch import DATA_PLATE
from .finding import Finding, Use
from .pair_sites import PairSites, plate_cure, subsamples

_SCORES: frozenset[Use] = frozenset(("score",))  # a fit may want a tempered bound; no score means anything with it


def check_scales(pair: PairSites) -> Iterator[Finding]:
    """Subsampling plates and `poutine.scale`."""
    for name, (node, guide_node) in pair.shared.items():
        scales = [_own_scale(node), _own_scale(guide_node)]
        here, there = (torch.as_tensor(scale, dtype=torch.float64) for scale in scales)
        if not torch.allclose(here, there, rtol=1e-6, atol=0.0):
            yield Finding(
                "unequal-scale",
                name,
                f"The site `{name}` is scaled by {_shown(scales[0])} in the model and by {_shown(scales[1])} in the "
                f"guide.",
                "Scale both alike (`poutine.scale` around the pair's latents), or neither.",
            )
    for who, sites in (("model", pair.model), ("guide", pair.guide)):
        subsampled: dict[str, Finding] = {}
        scaled: dict[str, list[str]] = {}
        for name, site in sites.items():
            frames = [frame for frame in site["cond_indep_stack"] if subsamples(frame)]
            for frame in frames:
                subsampled.setdefault(frame.name, _subsampling(pair, who, frame))
            scale = _own_scale(site)
            if not frames and (isinstance(scale, torch.Tensor) or abs(float(scale) - 1.0) > 1e-12):
                scaled.setdefault(_shown(scale), []).append(name)
        yield from subsampled.values()
        for shown, names in scaled.items():
            yield Finding(
                "hand-set-scale",
                names[0],
                f"The {who} scales {', '.join(f'`{name}`' for name in names)} by {shown} itself: the bound is then no "
                f"bound on the evidence, and importance weights, `log_evidence` and k-hat are wrong.",
                "Remove `poutine.scale`. `SVI(batch_size=…)` scales mini-batches; `BetaELBO` weights the KL.",
                stops=_SCORES,
            )


def _subsampling(pair: PairSites, who: str, frame: Any) -> Finding:
    rows = f"{frame.size} of {frame.full_size}"
    owner = f"The plate `{frame.name}` in the {who} subsamples {rows}, which scales its sites by hand"
    cure = "Declare it with all that it is given"
    if frame.name == DATA_PLATE:
        return Finding(
            "hand-set-scale",
            DATA_PLATE,
            f"{owner}; mini-batches are scaled once more by the fit.",
            f"{cure}, {plate_cure(pair)}, and pass `SVI(batch_size={frame.size})`.",
            stops=_SCORES if frame.size == pair.size else _SCORES | {"fit"},
        )
    return Finding(
        "hand-set-scale",
        frame.name,
        f"{owner}: importance weights are wrong with it.",
        f"{cure}, without subsampling.",
        stops=_SCORES,
    )


def _own_scale(site: Any) -> Any:
    """What the program itself scales the site by; a mini-batch's factor is not its own."""
    return site["scale"] / site.get("minibatch_scale", 1.0)


def _shown(scale: Any) -> str:
    return "a tensor" if isinstance(scale, torch.Tensor) and scale.numel() != 1 else f"{float(scale):g}"
