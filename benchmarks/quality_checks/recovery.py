"""Recovery: models of the other checks' kinds, and all autoencoders, fitted to data of a known law, over seeds.

A network's weights have no true values, its law has: there the error is what the fit loses of the truth's log evidence
on new data, an estimate of KL(truth || fit). A fit of p free parameters to N data loses about p / (2 N) by chance.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from jensen.datasets import RandomMasks
from jensen.inference import (
    CAVI,
    IWAE,
    SVI,
    AuxiliaryELBO,
    LossMinimization,
    TraceEnum_ELBO,
    log_evidence,
)
from jensen.models import (
    VAE,
    VQVAE,
    AlignmentVAE,
    ConditionalVAE,
    FactorAnalysis,
    HierarchicalVAE,
    InpaintingVAE,
    LatentDirichletAllocation,
    ProdLDA,
    SemiSupervisedVAE,
)

__all__ = ["run"]

Row = dict[str, Any]
Batch = dict[str, Tensor]
TRAIN, TEST, FEATURES = 4_000, 1_000, 16


def _labels(generator: torch.Generator, num: int) -> Batch:
    return {"y": torch.randint(3, (num,), generator=generator)}


def _few_labels(batch: Batch) -> Batch:
    """A tenth of the labels are shown."""
    shown = torch.arange(len(batch["y"])) % 10 == 0
    return {**batch, "y": torch.where(shown, batch["y"], -1)}


@dataclass(frozen=True)
class Family:
    """How to build one, what its guide's parameters start with, and what it is given."""

    build: Callable[[], Any]
    guide: tuple[str, ...] = ("encoder",)
    inputs: Callable[[torch.Generator, int], Batch] = lambda generator, num: {}
    keys: tuple[str, ...] = ("x",)
    shown: Callable[[Batch], Batch] = lambda batch: batch
    objective: Any = field(default_factory=lambda: IWAE(8))
    guided: Any = field(default_factory=lambda: IWAE(8))


FAMILIES = {
    "VAE": Family(lambda: VAE(FEATURES, 2, hidden=(16,))),
    "HierarchicalVAE": Family(
        lambda: HierarchicalVAE(FEATURES, (3, 1), hidden=(16,), upper_hidden=(8,)), ("encoder", "upper_encoder")
    ),
    "ConditionalVAE": Family(
        lambda: ConditionalVAE(FEATURES, 2, num_classes=3, hidden=(16,)), inputs=_labels, keys=("x", "y")
    ),
    "SemiSupervisedVAE, a tenth labelled": Family(
        lambda: SemiSupervisedVAE(FEATURES, 3, 2, hidden=(16,)),
        ("encoder", "classifier"),
        inputs=_labels,
        keys=("x", "y"),
        shown=_few_labels,
        objective=AuxiliaryELBO(weight=0.1),
        guided=TraceEnum_ELBO(),
    ),
    "AlignmentVAE": Family(lambda: AlignmentVAE(8, hidden=(16,), letters="ACDE-")),
    "ProdLDA": Family(
        lambda: ProdLDA(3, FEATURES, hidden=(16, 16), dropout=0.0, batch_norm=False),
        ("encoder", "loc", "log_variance"),
    ),
}


@torch.no_grad()
def _sharpen(model: Any) -> None:
    """Make a start drawn at random a law with something to find: three times the weights from latent to data."""
    for name, value in model.named_parameters():
        if name.startswith(("decoder", "weights")):
            value.mul_(3.0)


def _dropping(fraction: float) -> float:
    """The learning rate: a tenth of it for the last 30% of the steps."""
    return 1.0 if fraction < 0.7 else 0.1


def _lost(family: Family, seed: int, steps: int) -> tuple[float, float]:
    """Nats of log evidence a new datum that a fit has less than the truth, and the paired standard error."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    truth = family.build()
    _sharpen(truth)
    inputs = family.inputs(generator, TRAIN + TEST)
    drawn = {**inputs, **truth.generate(TRAIN + TEST, seed=seed, **inputs)}
    data = {name: drawn[name] for name in family.keys}
    train = family.shown({name: value[:TRAIN] for name, value in data.items()})
    test = {name: value[TRAIN:] for name, value in data.items()}
    if "classifier" in family.guide:  # what is compared is the distribution of x
        test["y"] = torch.full_like(test["y"], -1)

    # The truth's evidence, by a guide fitted to it as it stands.
    known = copy.deepcopy(truth)
    known.fitted = True  # a fit starts from these parameters
    for name, value in known.named_parameters():
        value.requires_grad_(name.startswith(family.guide))
    options: dict[str, Any] = {"steps": steps, "lr": 5e-3, "batch_size": 256, "progress": False}
    options["lr_schedule"] = _dropping
    reference = SVI(family.guided, **options).fit(known, train, seed=seed)
    torch.manual_seed(seed + 1_000)
    fit = SVI(family.objective, **options).fit(family.build(), train, seed=seed)
    true, found = (
        log_evidence(each, test, num_particles=500, seed=seed).details["per_datum"] for each in (reference, fit)
    )
    loss = (true - found).double()
    return loss.mean().item(), loss.std().item() / TEST**0.5


def _law(name: str, family: Family, seeds: int, steps: int) -> Row:
    found = [_lost(family, seed, steps) for seed in range(seeds)]
    average, worst = mean(loss for loss, _ in found), max(loss for loss, _ in found)
    error = mean(error for _, error in found)
    return {
        "check": f"{name}, N = {TRAIN:,}, {steps:,} steps, {seeds} seeds: log evidence lost on new data, nats a datum",
        "jensen": f"{average:.3f}, at most {worst:.3f} (standard error of each {error:.3f})",
        "peer": "truth",
        "target": "0.15 on average, 0.3 at most",
        "met": average <= 0.15 and worst <= 0.3,
    }


def _topics(seeds: int) -> Row:
    errors = []
    for seed in range(seeds):
        model = LatentDirichletAllocation(5, 100, alpha=0.2, eta=0.1)
        drawn = model.generate(1_000, seed=seed)
        fit = CAVI(steps=60, restarts=2, tolerance=1e-5, progress=False).fit(model, drawn["x"], seed=seed)
        distance = 0.5 * torch.cdist(drawn["topics"], fit.guide.topics, p=1)
        rows, columns = linear_sum_assignment(distance.numpy())
        errors.append(float(distance[rows, columns].max()))
    return {
        "check": f"LDA, 5 topics, 1,000 documents, {seeds} seeds: total variation between a topic and its estimate",
        "jensen": f"{mean(errors):.3f} for the worst topic on average, at most {max(errors):.3f}",
        "peer": "truth",
        "target": "at most 0.1",
        "met": max(errors) <= 0.1,
    }


def _completions(seeds: int, steps: int) -> Row:
    """Gaussian data of two factors: what is hidden has a law in closed form given what is seen."""
    masks = RandomMasks(("pixels",), image_shape=(1, 8))
    losses = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        truth = FactorAnalysis(8, 2)
        with torch.no_grad():
            truth.weight.copy_(torch.randn(8, 2))
        x = truth.generate(TRAIN + TEST, seed=seed)["x"]
        method = SVI(
            IWAE(8),
            steps=steps,
            lr=5e-3,
            batch_size=256,
            transform=masks,
            lr_schedule=_dropping,
            progress=False,
        )
        model = InpaintingVAE(8, 2, likelihood="gaussian", hidden=(32,))
        fit = method.fit(model, masks({"x": x[:TRAIN]}, seed), seed=seed)
        test = masks({"x": x[TRAIN:]}, seed)
        seen = torch.where(test["mask"] > 0.5, test["x"], torch.nan)
        exact = truth.log_evidence({"x": test["x"]}) - truth.log_evidence({"x": seen})
        found = log_evidence(fit, test, num_particles=500, seed=seed).details["per_datum"]
        losses.append((exact - found).mean().item())
    return {
        "check": f"InpaintingVAE on two-factor Gaussians, N = {TRAIN:,}, {steps:,} steps, {seeds} seeds: "
        "log p(hidden | seen) lost on new data, nats a datum",
        "jensen": f"{mean(losses):.3f}, at most {max(losses):.3f}",
        "peer": "truth, in closed form",
        "target": "0.15 on average, 0.3 at most",
        "met": mean(losses) <= 0.15 and max(losses) <= 0.3,
    }


def _codes(seeds: int, steps: int) -> Row:
    found = []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        kinds = (torch.rand(8, 64, generator=generator) < 0.5).float()
        kind = torch.randint(8, (TRAIN,), generator=generator)
        flipped = (torch.rand(TRAIN, 64, generator=generator) < 0.05).float()
        x = (kinds[kind] - flipped).abs()
        fit = LossMinimization(steps=steps, batch_size=256, progress=False).fit(
            VQVAE(64, num_codes=8, codes_per_datum=1, hidden=(64,)), x, seed=seed
        )
        found.append(adjusted_rand_score(kind, fit.model.encode(x)[:, 0]))
    return {
        "check": f"VQVAE of 8 codes on 8 kinds of 64 bits, {steps:,} steps, {seeds} seeds: adjusted Rand index of code "
        "and kind",
        "jensen": f"{mean(found):.3f}, at least {min(found):.3f}",
        "peer": "truth",
        "target": "0.9 on average",
        "met": mean(found) >= 0.9,
    }


def run(quick: bool) -> list[Row]:
    """The rows of the table."""
    torch.set_default_dtype(torch.float32)
    seeds, steps = (2, 1_000) if quick else (10, 4_000)
    laws = [_law(name, family, seeds, steps) for name, family in FAMILIES.items()]
    return [_topics(seeds), *laws, _completions(seeds, steps), _codes(seeds, 2_000)]
