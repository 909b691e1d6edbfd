"""Topics of Reuters news: held-out completion against scikit-learn and collapsed Gibbs, and ProdLDA's coherence."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from statistics import mean
from typing import Any

import numpy as np
import torch

from jensen.datasets import reuters
from jensen.inference import CAVI, SVI, TraceMeanField_ELBO, document_completion, npmi_coherence
from jensen.models import LatentDirichletAllocation, ProdLDA

__all__ = ["run"]

Row = dict[str, Any]
TOPICS, ALPHA = 20, 0.1


def _peers(x: np.ndarray, seed: int) -> dict[str, Callable[[], np.ndarray]]:
    """Each peer at its own defaults, and at jensen's priors (0.1 and 0.1)."""
    import lda
    from sklearn.decomposition import LatentDirichletAllocation as Peer

    def sklearn(method: str, passes: int, prior: float | None) -> np.ndarray:
        peer = Peer(
            TOPICS,
            learning_method=method,
            max_iter=passes,
            random_state=seed,
            doc_topic_prior=prior,
            topic_word_prior=prior,
        )
        return peer.fit(x).components_  # type: ignore[no-any-return]

    def gibbs(eta: float) -> np.ndarray:
        return lda.LDA(TOPICS, n_iter=500, alpha=ALPHA, eta=eta, random_state=seed + 1).fit(x).topic_word_  # type: ignore[no-any-return]

    return {
        "scikit-learn online, 20 passes": lambda: sklearn("online", 20, None),
        "scikit-learn online, 20 passes, same priors": lambda: sklearn("online", 20, ALPHA),
        "scikit-learn batch, 50 passes": lambda: sklearn("batch", 50, None),
        "scikit-learn batch, 50 passes, same priors": lambda: sklearn("batch", 50, ALPHA),
        "collapsed Gibbs, 500 sweeps": lambda: gibbs(0.01),
        "collapsed Gibbs, 500 sweeps, same priors": lambda: gibbs(ALPHA),
    }


def _jensen(x: torch.Tensor, seed: int) -> torch.Tensor:
    method = CAVI(steps=10, progress=False, device="cpu")
    fit = method.fit(LatentDirichletAllocation(TOPICS, x.shape[1], alpha=ALPHA, eta=0.1), x, seed=seed)
    return fit.guide.topics  # type: ignore[no-any-return]


def run(quick: bool) -> list[Row]:
    """The rows of the table."""
    logging.getLogger("lda").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="sklearn")
    torch.set_default_dtype(torch.float32)
    seeds = range(1 if quick else 3)
    perplexities: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    coherences: dict[str, list[float]] = {"LDA": [], "ProdLDA": []}
    for seed in seeds:
        data = reuters(test_size=79, seed=seed)
        assert data.test is not None
        x, test = data.train["x"], data.test["x"]
        arms = {"jensen": lambda x=x, seed=seed: _jensen(x, seed), **_peers(x.numpy().astype(np.int64), seed)}
        for name, arm in arms.items():
            begin = time.perf_counter()
            topics = torch.as_tensor(arm(), dtype=torch.float32)
            seconds.setdefault(name, []).append(time.perf_counter() - begin)
            score = document_completion(topics, test, alpha=ALPHA, seed=seed)
            perplexities.setdefault(name, []).append(score.value)
            if name == "jensen":
                coherences["LDA"].append(npmi_coherence(topics, x).value)
        coherences["ProdLDA"].append(npmi_coherence(_prod_lda(x, seed), x).value)
    average = {name: mean(values) for name, values in perplexities.items()}
    clock = {name: mean(values) for name, values in seconds.items()}
    best = min((name for name in average if name.startswith("scikit")), key=average.__getitem__)
    gibbs = min((name for name in average if name.startswith("collapsed")), key=average.__getitem__)
    about = f"Reuters, {TOPICS} topics, {len(seeds)} splits and seeds"
    others = "; ".join(
        f"{name} {value:.0f} ({clock[name]:.1f} s)" for name, value in average.items() if name != "jensen"
    )
    ours, gap = average["jensen"], coherences["ProdLDA"]
    return [
        {
            "check": f"LDA, {about}: perplexity of held-out document completion, per word",
            "jensen": f"{ours:.0f}, CAVI of 10 sweeps",
            "peer": others,
            "target": f"at most the best of scikit-learn, {average[best]:.0f}",
            "met": ours <= average[best],
        },
        {
            "check": "the same against collapsed Gibbs",
            "jensen": f"{ours:.0f}",
            "peer": f"{average[gibbs]:.0f}, {gibbs}",
            "target": "at most 3% above",
            "met": ours <= 1.03 * average[gibbs],
        },
        {
            "check": "the same fits: seconds",
            "jensen": f"{clock['jensen']:.2f}",
            "peer": f"{clock[best]:.2f}, {best}",
            "target": "at most the peer's",
            "met": clock["jensen"] <= clock[best],
        },
        {
            "check": f"ProdLDA, {about}: NPMI of 10 words, training documents",
            "jensen": f"{mean(gap):.3f}",
            "peer": f"{mean(coherences['LDA']):.3f}, LDA by CAVI",
            "target": "above LDA's",
            "met": mean(gap) > mean(coherences["LDA"]),
        },
    ]


def _prod_lda(x: torch.Tensor, seed: int) -> torch.Tensor:
    method = SVI(
        TraceMeanField_ELBO(), steps=600, lr=2e-3, batch_size=100, compile="trace", progress=False, device="cpu"
    )
    return method.fit(ProdLDA(TOPICS, x.shape[1]), x, seed=seed).model.topics  # type: ignore[no-any-return]
