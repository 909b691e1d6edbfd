"""The hidden Markov model against hmmlearn: likelihood, paths, EM and its time; long sequences; recovery."""

from __future__ import annotations

import itertools
import math
import time
from statistics import median
from typing import Any

import numpy as np
import torch

from jensen.inference import EM, SVI, Trace_ELBO
from jensen.models import HiddenMarkovModel
from jensen.models.sequences.hmm.forward_backward import log_evidence_sequential
from jensen.models.sequences.hmm.scan import log_evidence_scan

__all__ = ["run"]

Row = dict[str, Any]


def _truth(kind: str, states: int = 8, steps: int = 200) -> HiddenMarkovModel:
    """Emissions that overlap; a state lasts for five steps or so."""
    torch.manual_seed(0)
    options = {"num_categories": 6} if kind == "categorical" else {"num_features": 4, "covariance": kind}
    model = HiddenMarkovModel(states, num_steps=steps, min_scale=1e-6, **options)
    model.transition = 0.8 * torch.eye(states) + 0.2 * torch.rand(states, states).softmax(-1)
    if kind == "categorical":
        model.probs = (2 * torch.randn(states, 6)).softmax(-1)
    else:
        model.means.data.mul_(2.0)
    return model


def _peer(model: HiddenMarkovModel, steps: int) -> Any:
    """hmmlearn's model at the same parameters, with neutral priors (its covariance prior is 0.01 by default)."""
    from hmmlearn import hmm

    options = {"n_iter": steps, "tol": -math.inf, "init_params": "", "startprob_prior": 1.0, "transmat_prior": 1.0}
    if model.num_categories is not None:
        peer = hmm.CategoricalHMM(model.num_states, n_features=model.num_categories, emissionprob_prior=1.0, **options)
        peer.emissionprob_ = model.probs.detach().numpy()
    else:
        full = model.covariance_type == "full"
        kind = "full" if full else "diag"
        peer = hmm.GaussianHMM(model.num_states, kind, covars_prior=0.0, covars_weight=1.0, min_covar=0.0, **options)
        peer.means_ = model.means.detach().numpy().copy()
        peer.covars_ = (model.scale_tril @ model.scale_tril.mT if full else model.scale.square()).detach().numpy()
    peer.startprob_, peer.transmat_ = model.initial.detach().numpy(), model.transition.detach().numpy()
    return peer


def _against_hmmlearn(kind: str, sequences: int, steps: int, iterations: int) -> list[Row]:
    truth = _truth(kind, steps=steps)
    lengths = torch.randint(steps // 2, steps + 1, (sequences,), generator=torch.Generator().manual_seed(1))
    lengths[0] = steps
    data = {"x": truth.simulate(sequences, seed=2, lengths=lengths)["x"], "lengths": lengths}
    inside = torch.arange(steps) < lengths.unsqueeze(-1)
    rows = data["x"][inside].numpy()
    rows = rows if rows.ndim == 2 else rows[:, None]
    model = HiddenMarkovModel(**(truth.init_arguments))
    model.initialize(data, 0)
    peer = _peer(model, 1)
    score = abs(peer.score(rows, lengths.tolist()) - model.log_evidence(data).sum().item())
    best, path = peer.decode(rows, lengths.tolist())
    states, log_p = model.viterbi(data)
    viterbi = max(abs(best - log_p.sum().item()), float(np.sum(path != states[inside].numpy())))
    ours, theirs, history = [], [], []
    peers = {count: _peer(model, count) for count in (1, 1 + iterations)}
    for count in (1, 1 + iterations):
        begin = time.perf_counter()
        peers[count].fit(rows, lengths.tolist())
        theirs.append(time.perf_counter() - begin)
    statistics, likelihood = model.e_step(data)
    for _ in range(iterations):
        begin = time.perf_counter()
        history.append(likelihood.item())
        model.m_step(statistics)
        statistics, likelihood = model.e_step(data)
        ours.append(time.perf_counter() - begin)
    history.append(likelihood.item())
    gap = float(np.abs(np.array(peers[1 + iterations].monitor_.history)[-3:] - history[-3:]).max()) / abs(history[-1])
    each = (theirs[1] - theirs[0]) / iterations
    name = f"{kind}, {sequences:,} sequences of up to {steps} steps, C = 8, float64"
    return [
        _row(f"{name}: log likelihood of all, difference", f"{score:.1e}", "hmmlearn", "at most 1e-6", score <= 1e-6),
        _row(
            f"{name}: Viterbi, difference of log p and steps that differ",
            f"{viterbi:.1e}",
            "hmmlearn",
            "at most 1e-6",
            viterbi <= 1e-6,
        ),
        _row(f"{name}: log likelihood along EM, relative", f"{gap:.1e}", "hmmlearn", "at most 1e-9", gap <= 1e-9),
        _row(
            f"{name}: ms an EM iteration",
            f"{1e3 * median(ours):.0f} ({median(ours) / each:.2f} of the peer's)",
            f"{1e3 * each:.0f}, hmmlearn",
            "less than the peer",
            median(ours) < each,
        ),
    ]


def _row(check: str, jensen: str, peer: str, target: str, met: bool | None) -> Row:
    return {"check": check, "jensen": jensen, "peer": peer, "target": target, "met": met}


def _long(steps: int) -> list[Row]:
    """One long sequence: the scan against the recursion, and an EM iteration against hmmlearn's."""
    truth = _truth("diagonal", states=4, steps=steps)
    x = truth.simulate(1, seed=3)["x"]
    with torch.no_grad():
        arguments = (truth.initial, truth.transition, truth.emission.log_prob(x.transpose(0, 1)), None)
        begin = time.perf_counter()
        scan = log_evidence_scan(*arguments).item()
        middle = time.perf_counter()
        step_by_step = log_evidence_sequential(*arguments).item()
        end = time.perf_counter()
    difference = abs(scan - step_by_step) / abs(scan)
    begin_em = time.perf_counter()
    truth.m_step(truth.e_step({"x": x})[0])
    em = time.perf_counter() - begin_em
    begin_peer = time.perf_counter()
    _peer(truth, 1).fit(x[0].numpy())
    peer = time.perf_counter() - begin_peer
    name = f"one sequence of {steps:,} steps, C = 4, float64"
    return [
        _row(f"{name}: scan and recursion, relative", f"{difference:.1e}", "each other", "1e-10", difference <= 1e-10),
        _row(
            f"{name}: ms of the scan",
            f"{1e3 * (middle - begin):.0f}",
            f"{1e3 * (end - middle):.0f}, the recursion",
            "less",
            middle - begin < end - middle,
        ),
        _row(f"{name}: ms an EM iteration", f"{1e3 * em:.0f}", f"{1e3 * peer:.0f}, hmmlearn", "-", None),
    ]


def _recovery(seeds: int) -> list[Row]:
    rights, rises, gaps = [], [], []
    for seed in range(seeds):
        truth = HiddenMarkovModel(3, 2)
        truth.means.data.copy_(torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]]))
        truth.transition = torch.tensor([[0.9, 0.07, 0.03], [0.1, 0.8, 0.1], [0.05, 0.15, 0.8]])
        drawn = truth.simulate(200, seed=seed, lengths=torch.full((200,), 50))
        data = {"x": drawn["x"]}
        fit = EM(restarts=2, progress=False).fit(HiddenMarkovModel(3, 2), data, seed=seed)
        path = fit.model.predict(data)
        orders = [torch.tensor(order) for order in itertools.permutations(range(3))]
        right = max((order[path] == drawn["states"]).double().mean().item() for order in orders)
        rights.append(right - (truth.predict(data) == drawn["states"]).double().mean().item())
        rises.append(fit.history.bound_per_datum.iloc[-1] - truth.log_evidence(data).mean().item())
        if seed < 2:
            other = SVI(Trace_ELBO(), steps=300, lr=3e-2, progress=False).fit(HiddenMarkovModel(3, 2), data, seed=seed)
            gaps.append(fit.history.bound_per_datum.iloc[-1] - other.model.log_evidence(data).mean().item())
    accurate, higher = min(rights) > -0.01, min(rises) >= 0
    return [
        _row(
            f"recovery, 3 states, 200 sequences of 50, {seeds} seeds: accuracy of the path, less that of the truth's",
            f"{min(rights):.4f} or more; likelihood a sequence above the truth's by {min(rises):.4f} or more",
            "truth",
            "-0.01; at least the truth's",
            accurate and higher,
        ),
        _row("SVI below EM, nats a sequence", f"{max(gaps):.4f}", "EM", "at most 0.05", max(gaps) <= 0.05),
    ]


def run(quick: bool) -> list[Row]:
    """The rows of the table."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        rows = []
        for kind in ("diagonal", "full", "categorical"):
            rows += _against_hmmlearn(kind, 100 if quick else 1_000, 200, 4)
        return [*rows, *_long(10_000 if quick else 100_000), *_recovery(2 if quick else 10)]
    finally:
        torch.set_default_dtype(before)
