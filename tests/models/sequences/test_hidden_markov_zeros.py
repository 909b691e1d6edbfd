"""Hidden Markov models with impossible transitions: nothing underflows, and left-to-right models are fitted."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine

from jensen.inference import EM, SVI, Trace_ELBO
from jensen.models import HiddenMarkovModel
from jensen.models.sequences.hmm import expectations, log_evidence
from jensen.models.sequences.hmm.forward_backward import log_evidence_sequential
from jensen.models.sequences.hmm.log_space import needs_logs, scan_in_logs, sequential_in_logs, smooth_in_logs
from jensen.models.sequences.hmm.scan import log_evidence_scan

DTYPES = [torch.float32, torch.float64]


def absorbing(outlier: float = 15.0, steps: int = 20) -> tuple[HiddenMarkovModel, dict[str, torch.Tensor]]:
    """State 1 is never left, and one early frame looks like it."""
    model = HiddenMarkovModel(2, 1, min_scale=1e-8)
    model.initial, model.transition = torch.tensor([1.0, 0.0]), torch.tensor([[0.9, 0.1], [0.0, 1.0]])
    model.means.data.copy_(torch.tensor([[0.0], [15.0]]))
    model.scale = torch.ones(2, 1)
    x = 0.1 * torch.randn(1, steps, 1, generator=torch.Generator().manual_seed(0))
    x[:, 5] = outlier
    return model, {"x": x}


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request: Any) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


@pytest.mark.parametrize("outlier", [15.0, 60.0])  # mass of exp(-112) and exp(-790): below float32's, and float64's
@pytest.mark.parametrize("copies", [1, 200])  # by the scan, and step by step
@pytest.mark.parametrize("steps", [20, 40])
def test_an_outlier_does_not_lose_the_only_way(dtype: Any, outlier: float, copies: int, steps: int) -> None:
    hmm = pytest.importorskip("hmmlearn.hmm")
    model, data = absorbing(outlier, steps)
    peer = hmm.GaussianHMM(2, "diag", init_params="")
    peer.startprob_, peer.transmat_ = np.array([1.0, 0.0]), np.array([[0.9, 0.1], [0.0, 1.0]])
    peer.means_, peer.covars_ = np.array([[0.0], [15.0]]), np.ones((2, 1))
    rows = data["x"][0].double().numpy()
    many = {"x": data["x"].expand(copies, -1, -1)}
    close = 1e-5 if dtype == torch.float32 else 1e-10
    evidence = model.log_evidence(many)
    np.testing.assert_allclose(evidence.detach().numpy(), np.full(copies, peer.score(rows)), rtol=close)
    assert (evidence >= model.viterbi(many)[1] - 1e-3).all()
    np.testing.assert_allclose(model.smooth(many)[0].numpy(), peer.predict_proba(rows), atol=100 * close)
    counts, total = model.e_step(many)
    assert total.item() == pytest.approx(copies * peer.score(rows), rel=close)
    assert counts.transitions.sum().item() == pytest.approx(copies * (steps - 1), rel=close)
    # The program of an objective is the same density, with the derivatives of state 0.
    own = poutine.trace(model.model).get_trace(**data).nodes["x"]["fn"].log_prob(data["x"])
    (gradient,) = torch.autograd.grad(own.sum(), model.means)
    wanted = (peer.predict_proba(rows) * (rows - peer.means_.T)).sum(0)
    np.testing.assert_allclose(gradient[:, 0].numpy(), wanted, rtol=1e-4, atol=1e-4)


def hard_case(seed: int, num_states: int = 3, steps: int = 6) -> tuple[torch.Tensor, ...]:
    """Zeros and near zeros anywhere, and log densities hundreds of nats apart."""
    generator = torch.Generator().manual_seed(seed)
    change = torch.rand(num_states, num_states, generator=generator)
    change = torch.where(torch.rand(num_states, num_states, generator=generator) < 0.4, 0.0, change)
    change = torch.where(torch.rand(num_states, num_states, generator=generator) < 0.2, 1e-33 * change, change)
    change = change + torch.eye(num_states).roll(1, 1)  # no row is empty
    change = change / change.sum(-1, keepdim=True)
    initial = torch.tensor([0.3, 0.7, 0.0])
    frames = 300 * torch.randn(steps, 2, num_states, generator=generator)
    frames[2, 0, 1] = -math.inf
    return initial, change, frames


def by_enumeration(initial: torch.Tensor, change: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """log p of one sequence, ``(T, C)``, over the paths that are possible."""
    joint = []
    for path in itertools.product(range(len(initial)), repeat=len(frames)):
        chances = [initial[path[0]], *(change[a, b] for a, b in itertools.pairwise(path))]
        logs = [frames[step, state] for step, state in enumerate(path)]
        if all(value > 0 for value in chances) and all(value > -math.inf for value in logs):
            joint.append(sum(value.log() for value in chances) + sum(logs))
    return torch.stack(joint).logsumexp(0)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("algorithm", [sequential_in_logs, scan_in_logs])
def test_in_logs_all_is_the_sum_over_the_possible_paths(dtype: Any, seed: int, algorithm: Any) -> None:
    arguments = [value.requires_grad_() for value in hard_case(seed)]
    initial, change, frames = arguments
    assert needs_logs(change)
    lengths = [6, 4]
    mask = torch.arange(6).unsqueeze(-1) < torch.tensor(lengths)
    wanted = torch.stack([by_enumeration(initial, change, frames[:n, row]) for row, n in enumerate(lengths)])
    found = algorithm(initial, change, frames, mask)
    close = {"rtol": 1e-4, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(found, wanted, **close)
    smoothed = smooth_in_logs(initial, change, frames, mask)
    torch.testing.assert_close(smoothed.log_evidence, wanted, **close)
    ours = torch.autograd.grad(found.sum(), arguments)
    theirs = torch.autograd.grad(wanted.sum(), arguments)
    for name, ours_, theirs_ in zip(("initial", "change", "frames"), ours, theirs, strict=True):
        weight = 1.0 if name == "frames" else {"initial": initial, "change": change}[name].detach()
        torch.testing.assert_close(weight * ours_, weight * theirs_, rtol=1e-3, atol=1e-3, msg=name)
    torch.testing.assert_close(smoothed.states, theirs[2], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(smoothed.transitions, change.detach() * theirs[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("algorithm", [sequential_in_logs, scan_in_logs])
def test_first_and_second_derivatives_in_logs(algorithm: Any, float64: None) -> None:
    torch.manual_seed(0)
    frames = torch.randn(5, 2, 2, requires_grad=True)
    logits, change = torch.randn(2, requires_grad=True), torch.randn(2, 2, requires_grad=True)
    closed = torch.tensor([[0.0, 0.0], [-math.inf, 0.0]])

    def value(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return algorithm(a.softmax(-1), (b + closed).softmax(-1), c, None)

    assert torch.autograd.gradcheck(value, (logits, change, frames))
    assert torch.autograd.gradgradcheck(value, (logits, change, frames))


@pytest.mark.parametrize("shape", [(40, 2, 4), (40, 60, 4), (1, 2, 3), (2, 1, 3)])
def test_logs_and_scaled_probabilities_agree_where_both_can(shape: tuple[int, ...], float64: None) -> None:
    steps, num, states = shape
    generator = torch.Generator().manual_seed(1)
    change = torch.rand(states, states, generator=generator).triu() + torch.eye(states)
    change = change / change.sum(-1, keepdim=True)
    initial, frames = torch.eye(states)[0], torch.randn(steps, num, states, generator=generator)
    for algorithm in (log_evidence, sequential_in_logs, scan_in_logs, log_evidence_scan):
        torch.testing.assert_close(
            algorithm(initial, change, frames, None), log_evidence_sequential(initial, change, frames, None)
        )
    found, stepped = expectations(initial, change, frames, None), smooth_in_logs(initial, change, frames, None)
    torch.testing.assert_close(found.states, stepped.states)
    torch.testing.assert_close(found.transitions, stepped.transitions)


def test_what_cannot_happen_has_probability_zero_in_logs(dtype: Any) -> None:
    frames = torch.tensor([[[0.0, -math.inf]], [[-math.inf, 0.0]]])
    change = torch.eye(2)
    initial = torch.tensor([1.0, 0.0])
    logs = frames.requires_grad_()
    for algorithm in (sequential_in_logs, scan_in_logs):
        assert algorithm(initial, change, logs, None).tolist() == [-math.inf]
        (gradient,) = torch.autograd.grad(algorithm(initial, change, logs, None).sum(), logs)
        assert gradient.isfinite().all()
    assert smooth_in_logs(initial, change, frames, None).transitions.isfinite().all()


def test_the_way_is_seen_wherever_the_transitions_come_from() -> None:
    model, _ = absorbing()
    assert model._in_logs
    other = HiddenMarkovModel(2, 1)
    assert not other._in_logs
    other.load_state_dict(model.state_dict())
    assert other._in_logs
    with torch.no_grad():  # by hand, past every setter: a fit looks again
        other.transition_unconstrained.zero_()
    other.prepare({})
    assert not other._in_logs


def test_gradients_climb_past_an_outlier() -> None:
    """The compiled step has the same density: in float32 it was 900 nats below the best path's."""
    model, data = absorbing()
    model.fitted = True  # start at these parameters
    many = {"x": data["x"].expand(4, -1, -1).contiguous()}
    best = model.viterbi(many)[1].sum().item()
    for compiled in (False, "trace"):
        fit = SVI(Trace_ELBO(), steps=3, lr=1e-30, compile=compiled, progress=False).fit(model, many)
        assert fit.history.bound.iloc[-1] > best - 1e-2
        assert fit.model.transition[1, 0] == 0
    em = EM(steps=10, progress=False).fit(model, many)
    assert em.history.bound.iloc[0] == pytest.approx(model.log_evidence(many).sum().item(), rel=1e-5)
    assert em.history.bound.diff().min() > -1e-2


def left_to_right(kind: str, num_states: int = 4) -> HiddenMarkovModel:
    """From each state to itself or the next one, from the first to the last."""
    sizes = {"num_categories": 4} if kind == "categorical" else {"num_features": 2, "covariance": kind}
    model = HiddenMarkovModel(num_states, **sizes)
    model.initial = torch.eye(num_states)[0]
    stay = torch.eye(num_states)
    steps = stay + torch.ones(num_states, num_states).triu(1).tril(1)
    model.transition = steps / steps.sum(-1, keepdim=True)
    return model


def stages(kind: str) -> tuple[HiddenMarkovModel, dict[str, torch.Tensor]]:
    """Sequences that go through four states, about ten steps each; the features do not tell their order."""
    truth = left_to_right(kind)
    stay = torch.eye(4)
    truth.transition = 0.9 * stay + 0.1 * torch.ones(4, 4).triu(1).tril(1) + 0.1 * torch.diag(stay[3])
    if kind == "categorical":
        truth.probs = 0.04 + 0.84 * stay.roll(2, 1)
    else:
        truth.means.data.copy_(torch.tensor([[5.0, 0.0], [-5.0, 0.0], [0.0, 5.0], [0.0, -5.0]]))
    lengths = torch.randint(40, 61, (30,), generator=torch.Generator().manual_seed(0))
    return truth, {"x": truth.simulate(30, seed=3, lengths=lengths)["x"], "lengths": lengths}


@pytest.mark.parametrize("kind", ["diagonal", "full", "categorical"])
@pytest.mark.parametrize("restarts", [1, 2])
def test_em_fits_a_left_to_right_model(kind: str, restarts: int, float64: None) -> None:
    truth, data = stages(kind)
    fit = EM(steps=100, tolerance=1e-6, restarts=restarts, progress=False).fit(left_to_right(kind), data)
    assert fit.model.initial.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert torch.equal(fit.model.transition > 0, truth.transition > 0)
    assert fit.history.bound.iloc[-1] > truth.log_evidence(data).sum().item()
    torch.testing.assert_close(fit.model.transition.detach(), truth.transition.detach(), rtol=0, atol=0.06)
    found, true = fit.model.predict(data), truth.predict(data)  # in this order, without a permutation
    assert (found == true).double().mean() > 0.97


@pytest.mark.parametrize("kind", ["diagonal", "categorical"])
def test_svi_fits_a_left_to_right_model(kind: str, float64: None) -> None:
    truth, data = stages(kind)
    fit = SVI(Trace_ELBO(), steps=150, lr=3e-2, compile="trace", average=0.5, progress=False).fit(
        left_to_right(kind), data
    )
    assert fit.model.initial.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert torch.equal(fit.model.transition > 0, truth.transition > 0)
    best = EM(progress=False).fit(left_to_right(kind), data).history.bound.iloc[-1]
    assert fit.model.log_evidence(data).sum().item() > best - 0.02 * abs(best)
    assert (fit.model.predict(data) == truth.predict(data)).double().mean() > 0.97


def test_zeros_anywhere_are_kept_and_no_row_is_empty(float64: None) -> None:
    model = HiddenMarkovModel(3, 2)
    model.initial = torch.tensor([0.5, 0.0, 0.5])
    model.transition = torch.eye(3).roll(1, 1)  # a cycle: nothing to learn about it
    x = model.generate(10, seed=0, lengths=torch.full((10,), 12))["x"]
    for method in (EM(steps=3, progress=False), SVI(steps=3, progress=False)):
        found = method.fit(model, x).model
        assert torch.equal(found.transition, torch.eye(3).roll(1, 1))
        assert found.initial[1] == 0 and found.initial.sum().item() == pytest.approx(1.0)
    assert model.transition_unconstrained.requires_grad  # the fit's copy alone holds it constant
    later = found
    later.transition = torch.full((3, 3), 1 / 3)
    assert SVI(steps=3, lr=1e-2, progress=False).fit(later, x).model.transition.std() > 0
