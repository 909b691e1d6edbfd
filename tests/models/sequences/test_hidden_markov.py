"""Hidden Markov models: densities, paths, EM, recovery and bad input, against enumeration, Pyro and hmmlearn."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import EM, SVI, Trace_ELBO
from jensen.models import EMModel, HasExactEvidence, HasPrediction, HiddenMarkovModel
from jensen.models.sequences.hmm import CategoricalEmission, best_path, expectations, log_evidence
from jensen.models.sequences.hmm.forward_backward import log_evidence_sequential, smooth
from jensen.models.sequences.hmm.scan import log_evidence_scan

KINDS = {
    "diagonal": {"num_features": 2},
    "full": {"num_features": 2, "covariance": "full"},
    "categorical": {"num_categories": 4},
}


def rough(kind: str, num_states: int = 3, seed: int = 0, **options: Any) -> HiddenMarkovModel:
    """A model with nothing symmetric about it."""
    torch.manual_seed(seed)
    model = HiddenMarkovModel(num_states, **KINDS[kind], **options)
    model.initial = torch.rand(num_states).softmax(-1)
    model.transition = (2 * torch.rand(num_states, num_states)).softmax(-1)
    if kind == "diagonal":
        model.scale = 0.5 + torch.rand(num_states, 2)
    elif kind == "full":
        factor = torch.randn(num_states, 2, 2).tril(-1)
        model.scale_tril = factor + torch.diag_embed(0.5 + torch.rand(num_states, 2))
    return model


def by_enumeration(model: HiddenMarkovModel, x: torch.Tensor) -> tuple[torch.Tensor, list[tuple[int, ...]]]:
    """log p(s, x) of every path of one sequence."""
    pi, change, log_p = model.initial, model.transition, model.emission.log_prob(x)
    paths = list(itertools.product(range(model.num_states), repeat=len(x)))
    joint = []
    for path in paths:
        total = pi[path[0]].log() + log_p[0, path[0]]
        for step in range(1, len(path)):
            total = total + change[path[step - 1], path[step]].log() + log_p[step, path[step]]
        joint.append(total)
    return torch.stack(joint), paths


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_the_sum_over_all_paths(kind: str, float64: None) -> None:
    model = rough(kind)
    lengths = torch.tensor([5, 3, 1])
    data = {"x": model.generate(3, seed=1, lengths=lengths)["x"], "lengths": lengths}
    evidence, states = model.log_evidence(data), model.smooth(data)
    path, best = model.viterbi(data)
    counts, total = model.e_step(data)
    first, transitions = torch.zeros(3), torch.zeros(3, 3)
    for row, length in enumerate(lengths.tolist()):
        joint, paths = by_enumeration(model, data["x"][row, :length])
        torch.testing.assert_close(evidence[row], joint.logsumexp(0), rtol=0, atol=1e-12)
        torch.testing.assert_close(best[row], joint.max(), rtol=0, atol=1e-12)
        assert path[row, :length].tolist() == list(paths[int(joint.argmax())])
        assert (path[row, length:] == -1).all() and (states[row, length:] == 0).all()
        share = joint.detach().softmax(0)
        expected = torch.zeros(length, 3)
        for weight, states_ in zip(share, paths, strict=True):
            for step, state in enumerate(states_):
                expected[step, state] += weight
                if step:
                    transitions[states_[step - 1], state] += weight
        first += expected[0]
        torch.testing.assert_close(states[row, :length], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(total, evidence.detach().sum())
    torch.testing.assert_close(counts.initial, first)
    torch.testing.assert_close(counts.transitions, transitions)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", [log_evidence_sequential, log_evidence_scan])
def test_the_gradient_is_that_of_the_sum_over_all_paths(kind: str, algorithm: Any, float64: None) -> None:
    model = rough(kind)
    x = model.generate(1, seed=2, lengths=torch.tensor([5]))["x"]
    wanted = torch.autograd.grad(by_enumeration(model, x[0])[0].logsumexp(0), list(model.parameters()))
    frames = model.emission.log_prob(x.transpose(0, 1))
    value = algorithm(model.initial, model.transition, frames, None).sum()
    for found, expected in zip(torch.autograd.grad(value, list(model.parameters())), wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("algorithm", [log_evidence_sequential, log_evidence_scan])
def test_first_and_second_derivatives_are_exact(algorithm: Any, float64: None) -> None:
    torch.manual_seed(0)
    logits, change = torch.randn(2, requires_grad=True), torch.randn(2, 2, requires_grad=True)
    frames = torch.randn(5, 2, 2, requires_grad=True)
    mask = torch.tensor([[1, 1], [1, 1], [1, 1], [1, 0], [1, 0]]).bool()

    def value(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return algorithm(a.softmax(-1), b.softmax(-1), c, mask)

    assert torch.autograd.gradcheck(value, (logits, change, frames))
    assert torch.autograd.gradgradcheck(value, (logits, change, frames))


def test_the_density_is_pyros(float64: None) -> None:
    model = rough("diagonal")
    x = model.generate(4, seed=3, lengths=torch.full((4,), 9))["x"]
    # Pyro's first transition comes before the first frame, so it starts one step earlier, at the state that leads here.
    change = torch.cat([model.initial.expand(1, 3, 3), model.transition.expand(8, 3, 3)]).log()
    peer = dist.DiscreteHMM(torch.zeros(3), change, dist.Normal(model.means, model.scale).to_event(1))
    torch.testing.assert_close(model.log_evidence({"x": x}), peer.log_prob(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("zeros", [False, True])
def test_the_scan_is_the_recursion(zeros: bool, float64: None) -> None:
    generator = torch.Generator().manual_seed(0)
    for steps, num, states in [(1, 2, 3), (2, 1, 2), (17, 3, 4), (1_000, 2, 3)]:
        change = torch.rand(states, states, generator=generator)
        if zeros:  # left to right, so every path is a staircase
            change = change.triu()
        change = change / change.sum(-1, keepdim=True)
        frames = 50 * torch.randn(steps, num, states, generator=generator)
        initial = torch.eye(states)[0]
        lengths = torch.randint(1, steps + 1, (num,), generator=generator)
        for mask in (None, torch.arange(steps).unsqueeze(-1) < lengths):
            step_by_step = log_evidence_sequential(initial, change, frames, mask)
            torch.testing.assert_close(
                log_evidence_scan(initial, change, frames, mask), step_by_step, rtol=1e-12, atol=1e-10
            )
            assert step_by_step.isfinite().all()


def test_the_scans_derivatives_are_the_posteriors(float64: None) -> None:
    torch.manual_seed(0)
    change = torch.rand(3, 3).triu()
    change = change / change.sum(-1, keepdim=True)
    arguments = (torch.tensor([0.7, 0.3, 0.0]), change, 20 * torch.randn(60, 2, 3))
    for mask in (None, torch.arange(60).unsqueeze(-1) < torch.tensor([60, 37])):
        scanned, stepped = expectations(*arguments, mask), smooth(*arguments, mask)
        for name in ("log_evidence", "states", "transitions"):
            torch.testing.assert_close(getattr(scanned, name), getattr(stepped, name), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_unequal_lengths_are_separate_sequences(kind: str, float64: None) -> None:
    model = rough(kind, 4)
    lengths = torch.tensor([30, 7, 1, 22])
    x = model.generate(4, seed=4, lengths=lengths)["x"]
    inside = torch.arange(30) < lengths.unsqueeze(-1)
    x[~inside] = math.nan if x.is_floating_point() else -7  # the padding may hold any number or NaN
    data = {"x": x, "lengths": lengths}
    evidence, states, (path, best) = model.log_evidence(data), model.smooth(data), model.viterbi(data)
    totals = []
    for row, length in enumerate(lengths.tolist()):
        alone = {"x": x[row : row + 1, :length]}
        torch.testing.assert_close(evidence[row : row + 1], model.log_evidence(alone))
        torch.testing.assert_close(states[row, :length], model.smooth(alone)[0])
        torch.testing.assert_close(best[row], model.viterbi(alone)[1][0])
        assert torch.equal(path[row, :length], model.predict(alone)[0])
        totals.append(model.e_step(alone)[0])
    counts = model.e_step(data)[0]
    torch.testing.assert_close(counts.initial, sum(one.initial for one in totals))
    torch.testing.assert_close(counts.transitions, sum(one.transitions for one in totals))
    fit = EM(steps=5).fit(model, data)
    assert all(parameter.isfinite().all() for parameter in fit.model.parameters())
    gradients = torch.autograd.grad(evidence.sum(), list(model.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


def peer(model: HiddenMarkovModel, steps: int = 1) -> Any:
    """hmmlearn's model at the same parameters, with its priors neutral (its covariance prior is 0.01 by default)."""
    hmm = pytest.importorskip("hmmlearn.hmm")
    options = {"n_iter": steps, "tol": -math.inf, "init_params": "", "startprob_prior": 1.0, "transmat_prior": 1.0}
    if model.num_categories is not None:
        found = hmm.CategoricalHMM(model.num_states, n_features=model.num_categories, emissionprob_prior=1.0, **options)
        found.emissionprob_ = model.probs.detach().numpy()
    else:
        kind = {"diagonal": "diag"}.get(model.covariance_type, model.covariance_type)
        found = hmm.GaussianHMM(model.num_states, kind, covars_prior=0.0, covars_weight=1.0, min_covar=0.0, **options)
        found.means_ = model.means.detach().numpy().copy()
        full = model.covariance_type == "full"
        covariance = model.scale_tril @ model.scale_tril.mT if full else model.scale.square()
        found.covars_ = covariance.detach().numpy()
    found.startprob_, found.transmat_ = model.initial.detach().numpy(), model.transition.detach().numpy()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_likelihood_paths_and_em_are_hmmlearns(kind: str, float64: None) -> None:
    truth = rough(kind, 3, seed=5)
    lengths = torch.tensor([40, 17, 1, 33, 60])
    data = {"x": truth.generate(5, seed=5, lengths=lengths)["x"], "lengths": lengths}
    inside = torch.arange(60) < lengths.unsqueeze(-1)
    rows = data["x"][inside].numpy()
    rows = rows if rows.ndim == 2 else rows[:, None]
    model = rough(kind, 3, seed=6, min_scale=1e-8)
    other = peer(model)
    assert other.score(rows, lengths.tolist()) == pytest.approx(model.log_evidence(data).sum().item(), abs=1e-6)
    log_p, path = other.decode(rows, lengths.tolist())
    states, best = model.viterbi(data)
    assert log_p == pytest.approx(best.sum().item(), abs=1e-6)
    assert np.array_equal(path, states[inside].numpy())
    np.testing.assert_allclose(
        other.predict_proba(rows, lengths.tolist()), model.smooth(data)[inside].numpy(), atol=1e-8
    )
    other = peer(model, steps=15).fit(rows, lengths.tolist())
    history = []
    for _ in range(15):
        statistics, likelihood = model.e_step(data)
        history.append(likelihood.item())
        model.m_step(statistics)
    np.testing.assert_allclose(list(other.monitor_.history)[-15:], history[-len(other.monitor_.history) :], atol=1e-6)
    np.testing.assert_allclose(other.transmat_, model.transition.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(other.startprob_, model.initial.detach().numpy(), atol=1e-6)
    if kind == "categorical":
        np.testing.assert_allclose(other.emissionprob_, model.probs.detach().numpy(), atol=1e-6)
    else:
        np.testing.assert_allclose(other.means_, model.means.detach().numpy(), atol=1e-6)


def separated(kind: str) -> HiddenMarkovModel:
    model = rough(kind)
    model.transition = torch.tensor([[0.9, 0.07, 0.03], [0.1, 0.8, 0.1], [0.05, 0.15, 0.8]])
    if kind == "categorical":
        model.probs = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.05, 0.05, 0.45, 0.45]])
    else:
        model.means.data.copy_(torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 5.0]]))
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_em_rises_and_recovers_the_model(kind: str, float64: None) -> None:
    truth = separated(kind)
    lengths = torch.randint(20, 101, (100,), generator=torch.Generator().manual_seed(0))
    drawn = truth.simulate(100, seed=7, lengths=lengths)
    data = {"x": drawn["x"], "lengths": lengths}
    fit = EM(steps=150, tolerance=1e-4, restarts=2).fit(HiddenMarkovModel(3, **KINDS[kind]), data, seed=0)
    assert (fit.history.bound.diff().dropna() > -1e-8).all()
    assert fit.history.bound.iloc[-1] >= truth.log_evidence(data).sum().item() - 0.5
    path, inside = fit.model.predict(data), drawn["states"] >= 0
    # The order of the states is free: the one in which most steps agree.
    orders = list(itertools.permutations(range(3)))
    order = max(orders, key=lambda order: int((torch.tensor(order)[path] == drawn["states"])[inside].sum()))
    right = (torch.tensor(order)[path] == drawn["states"])[inside].double().mean()
    best = (truth.predict(data) == drawn["states"])[inside].double().mean()
    assert right > best - 0.02
    back = torch.tensor(order).argsort()
    found = fit.model.transition.detach()[back][:, back]
    torch.testing.assert_close(found, truth.transition.detach(), atol=0.05, rtol=0)
    if kind == "categorical":
        torch.testing.assert_close(fit.model.probs.detach()[back], truth.probs.detach(), atol=0.05, rtol=0)
    else:
        torch.testing.assert_close(fit.model.means.detach()[back], truth.means.detach(), atol=0.25, rtol=0)


def test_svi_climbs_the_same_likelihood(float64: None) -> None:
    truth = separated("diagonal")
    lengths = torch.arange(60) % 6 + 5
    data = {"x": truth.generate(60, seed=8, lengths=lengths)["x"], "lengths": lengths}
    model = HiddenMarkovModel(3, 2)
    best = EM(tolerance=1e-8).fit(model, data, seed=0)
    fit = SVI(Trace_ELBO(), steps=150, lr=6e-2, compile="trace").fit(model, data, seed=0)
    start, end = fit.history.bound_per_datum.iloc[[0, -1]]
    assert end > start
    assert end == pytest.approx(best.history.bound_per_datum.iloc[-1], abs=0.05)


def test_a_long_sequence_neither_underflows_nor_drifts(float64: None) -> None:
    model = rough("diagonal", 2)
    x = 3 * torch.randn(1, 100_000, 2, generator=torch.Generator().manual_seed(0))
    evidence = model.log_evidence({"x": x})
    shares = model.emission.log_prob(x)
    assert shares.min(-1).values.sum() < evidence < shares.max(-1).values.sum()
    part = model.log_evidence({"x": x[:, :4_000]}).item()
    frames = model.emission.log_prob(x[:, :4_000].transpose(0, 1)).detach()
    sequential = log_evidence_sequential(model.initial.detach(), model.transition.detach(), frames, None)
    assert part == pytest.approx(sequential.item(), abs=1e-6)
    states = smooth(model.initial.detach(), model.transition.detach(), frames, None).states
    torch.testing.assert_close(states.sum(-1), torch.ones(4_000, 1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_impossible_transitions_stay_impossible(kind: str, float64: None) -> None:
    model = rough(kind)
    model.initial = torch.tensor([1.0, 0.0, 0.0])
    model.transition = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.8, 0.2], [0.0, 0.0, 1.0]])
    data = {"x": model.generate(20, seed=10, lengths=torch.full((20,), 30))["x"]}
    gradients = torch.autograd.grad(model.log_evidence(data).sum(), list(model.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)
    last = -math.inf
    for _ in range(10):
        statistics, likelihood = model.e_step(data)
        assert likelihood.item() > last - 1e-9
        last = likelihood.item()
        model.m_step(statistics)
    assert model.initial.tolist() == [1.0, 0.0, 0.0]
    assert (model.transition.detach().tril(-1) == 0).all() and model.transition[0, 2] == 0
    path, log_p = model.viterbi(data)
    assert (path.diff(dim=1) >= 0).all() and log_p.isfinite().all()


def test_what_cannot_happen_has_probability_zero(float64: None) -> None:
    model = HiddenMarkovModel(2, num_categories=2)
    model.probs, model.transition = torch.eye(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    x = torch.tensor([[0, 1, 0, 1], [0, 0, 1, 1]])
    evidence = model.log_evidence({"x": x})
    torch.testing.assert_close(evidence.exp().detach(), torch.tensor([0.5, 0.0]))
    gradients = torch.autograd.grad(evidence[0], list(model.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert model.viterbi({"x": x})[1].exp().tolist() == pytest.approx([0.5, 0.0])
    # A state that fits far better but cannot be reached takes nothing from the one that can.
    frames = torch.tensor([[[0.0, 0.0]], [[-2_000.0, 0.0]]])
    only = log_evidence(torch.tensor([1.0, 0.0]), torch.eye(2), frames, None)
    assert only.item() == pytest.approx(-2_000.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_that_is_never_visited_keeps_its_place(kind: str, float64: None) -> None:
    model = rough(kind)
    data = {"x": model.generate(5, seed=11, lengths=torch.full((5,), 20))["x"]}
    model.initial = torch.tensor([0.5, 0.5, 0.0])
    model.transition = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    emission = model.emission
    before = emission.log_prob(data["x"])[..., 2].detach()
    model.m_step(model.e_step(data)[0])
    torch.testing.assert_close(model.emission.log_prob(data["x"])[..., 2].detach(), before, rtol=0, atol=1e-8)
    torch.testing.assert_close(model.transition[2].detach(), torch.tensor([0.2, 0.3, 0.5]))
    assert all(value.isfinite().all() for value in (model.initial, model.transition))


def test_draws_follow_the_model(float64: None) -> None:
    model = separated("categorical")
    drawn = model.simulate(4_000, seed=12, lengths=torch.full((4_000,), 6))
    states, x = drawn["states"], drawn["x"]
    first = torch.bincount(states[:, 0], minlength=3) / 4_000
    torch.testing.assert_close(first, model.initial.detach(), atol=0.04, rtol=0)
    pairs = torch.bincount((states[:, :-1] * 3 + states[:, 1:]).flatten(), minlength=9).reshape(3, 3).double()
    torch.testing.assert_close(pairs / pairs.sum(-1, keepdim=True), model.transition.detach(), atol=0.03, rtol=0)
    codes = torch.bincount(states.flatten() * 4 + x.flatten(), minlength=12).reshape(3, 4).double()
    torch.testing.assert_close(codes / codes.sum(-1, keepdim=True), model.probs.detach(), atol=0.03, rtol=0)
    assert torch.equal(model.simulate(3, seed=1)["x"], model.simulate(3, seed=1)["x"])
    ragged = rough("full").simulate(2, seed=0, lengths=torch.tensor([2, 4]))
    assert ragged["states"][0].tolist()[2:] == [-1, -1] and (ragged["x"][0, 2:] == 0).all()


@pytest.mark.parametrize("draw", ["simulate", "generate"])
@pytest.mark.parametrize(
    ("num", "lengths", "message"),
    [
        (5, [2, 3], "`lengths` must have `num` = 5 rows, got 2"),
        (0, None, "`num` must be a positive whole number of data to draw, got 0"),
        (-1, None, "`num` must be a positive whole number of data to draw, got -1"),
        (2, [0, -1], "`lengths` must be 0 or more, got -1 for sequence 1"),
        (2, [[1], [2]], r"`lengths` must have shape \(N,\)"),
    ],
)
def test_what_cannot_be_drawn_is_said(draw: str, num: int, lengths: Any, message: str) -> None:
    given = {} if lengths is None else {"lengths": torch.tensor(lengths)}
    with pytest.raises(ValueError, match=message):
        getattr(HiddenMarkovModel(2, 1), draw)(num, **given)


def test_the_protocols_are_met() -> None:
    model = HiddenMarkovModel(2, 1)
    assert isinstance(model, EMModel) and isinstance(model, HasExactEvidence) and isinstance(model, HasPrediction)


def test_in_single_precision_a_fit_is_finite() -> None:
    model = separated("diagonal").float()
    data = {"x": model.generate(20, seed=13, lengths=torch.full((20,), 50))["x"]}
    fit = EM(steps=20, tolerance=1e-3).fit(HiddenMarkovModel(3, 2), data)
    assert fit.history.bound.is_monotonic_increasing or fit.history.bound.diff().min() > -1e-2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Give one of `num_features`"),
        ({"num_features": 2, "num_categories": 3}, "Give one of `num_features`"),
        ({"num_features": 0}, "`num_features` must be positive"),
        ({"num_features": 2, "covariance": "ful"}, "`covariance` must be one of .* Did you mean 'full'"),
        ({"num_features": 2, "min_scale": 0.0}, "`min_scale` must be positive"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HiddenMarkovModel(2, **options)


GOOD = torch.zeros(2, 5, 2)
CODES = torch.zeros(2, 5)
HOLE = torch.zeros(2, 5, 2)
HOLE[1, 3, 0] = math.nan


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        (
            "diagonal",
            {"x": GOOD, "lengths": torch.tensor([5, -1])},
            r"`lengths` must be 0, ..., 5 .* got -1 for sequence 1",
        ),
        (
            "diagonal",
            {"x": GOOD, "lengths": torch.tensor([6, 1])},
            r"`lengths` must be 0, ..., 5 .* got 6 for sequence 0",
        ),
        ("diagonal", {"x": GOOD, "lengths": torch.tensor([5, 5, 5])}, r"`lengths` must have shape \(2,\)"),
        ("diagonal", {"x": torch.zeros(2, 5)}, r"`x` must have shape \(N, T, 2\)"),
        ("diagonal", {"x": torch.zeros(2, 0, 2)}, "`x` must have one or more steps"),
        ("diagonal", {"x": HOLE}, "`x` must be finite up to each sequence's length, got NaN in sequence 1, step 3"),
        ("categorical", {"x": GOOD}, r"`x` must have shape \(N, T\)"),
        ("categorical", {"x": CODES + 4}, r"`x` must hold codes 0, ..., 3, got 4 in sequence 0, step 0"),
        ("categorical", {"x": CODES - 1}, "`x` must hold codes"),
        ("categorical", {"x": CODES + 0.5}, "`x` must hold codes"),
    ],
)
def test_bad_data_are_named(kind: str, data: dict[str, torch.Tensor], message: str) -> None:
    model = HiddenMarkovModel(3, **KINDS[kind])
    with pytest.raises(ValueError, match=message):
        model.check_data(**data)
    if len({len(value) for value in data.values()}) == 1 and data["x"].numel():
        with pytest.raises(ValueError, match=message):
            EM(steps=2).fit(model, data)


@pytest.mark.parametrize("kind", KINDS)
def test_more_states_than_steps_are_refused(kind: str) -> None:
    x = torch.zeros(1, 2) if kind == "categorical" else torch.zeros(1, 2, 2)
    with pytest.raises(ValueError, match="`num_states` = 3 needs at least as many steps of data, got 2"):
        EM(steps=2).fit(HiddenMarkovModel(3, **KINDS[kind]), x)


def test_a_nan_in_the_padding_is_no_matter() -> None:
    EM(steps=2).fit(HiddenMarkovModel(2, 2), {"x": HOLE + torch.randn(2, 5, 2), "lengths": torch.tensor([5, 3])})


def test_emissions_of_codes_that_never_come_are_impossible(float64: None) -> None:
    emission = CategoricalEmission(torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.2, 0.6]]))
    log_p = emission.log_prob(torch.tensor([[2], [0]]))
    assert log_p[0, 0, 0] == -math.inf
    path, _ = best_path(torch.tensor([0.5, 0.5]), torch.full((2, 2), 0.5), log_p, None)
    assert path[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_collinear_columns_are_fitted(scale):
    z = scale * torch.randn(20, 30, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.cat([z, 2 * z, -z], -1)
    fit = EM(steps=30, dtype=torch.float64, progress=False).fit(HiddenMarkovModel(2, 3, covariance="full"), {"x": x})
    assert (fit.history.bound.diff().dropna() > -1e-6).all()
