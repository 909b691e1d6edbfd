"""Summed-out latents after the fit: exact draws, exact marginals, and predictions that use them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex
from torch import Tensor

from jensen.inference import ConfigurationError, Fit, ModelError, marginals
from jensen.inference.errors import DataError
from jensen.inference.fit.latent_draws import LatentDraws
from jensen.inference.pair.discrete.conditionals import Conditional
from jensen.inference.pair.program import Program
from jensen.inference.pair.trace import enumerated_model
from jensen.models import GaussianMixture, MultinomialMixture, PoissonMixture

NUM = 8_000
WEIGHTS = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
LOCS = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
X = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)


@pytest.fixture(autouse=True)
def _float64(float64: None) -> None:
    pass


def nothing(*args: Any, **batch: Any) -> None:
    return None


def fitted(model: Any, data: dict[str, Tensor], guide: Any = nothing, **options: Any) -> Fit:
    return Fit("by hand", {}, model, guide, pd.DataFrame({"step": [0], "bound": [0.0]}), data=data, **options)


def states(log_joint: Callable[..., Tensor], sizes: dict[str, int]) -> tuple[list[tuple[int, ...]], Tensor]:
    """Every joint state and its posterior probability, ``(states, *rest)``, by brute force."""
    found = list(itertools.product(*(range(size) for size in sizes.values())))
    return found, torch.softmax(torch.stack([log_joint(*state) for state in found]), 0)


def check_joint(draws: dict[str, Tensor], sizes: dict[str, int], log_joint: Callable[..., Tensor]) -> None:
    """The frequency of each joint state is its posterior probability, within five standard errors."""
    found, exact = states(log_joint, sizes)
    for state, probability in zip(found, exact, strict=True):
        hit = torch.ones(len(next(iter(draws.values()))), *exact.shape[1:], dtype=torch.bool)
        for name, value in zip(sizes, state, strict=True):
            hit = hit & (draws[name] == value)
        error = (probability * (1 - probability) / len(hit)).sqrt()
        assert bool(((hit.double().mean(0) - probability).abs() <= 5 * error + 1e-9).all()), state


def check_marginals(found: Any, sizes: dict[str, int], log_joint: Callable[..., Tensor]) -> None:
    listed, exact = states(log_joint, sizes)
    for position, (name, size) in enumerate(sizes.items()):
        for value in range(size):
            rows = [i for i, state in enumerate(listed) if state[position] == value]
            torch.testing.assert_close(found[name].probs[..., value], exact[rows].sum(0))
        assert float(found[name].stderr.max()) == 0.0


def normal(value: Tensor, loc: Any, scale: float = 1.0) -> Tensor:
    return dist.Normal(torch.as_tensor(loc, dtype=value.dtype), scale).log_prob(value)


def mixture(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(WEIGHTS))
        pyro.sample("x", dist.Normal(LOCS[c], 1.0), obs=x)


def test_a_mixtures_assignments() -> None:
    fit = fitted(mixture, {"x": X})
    draws = fit.posterior(NUM)
    assert draws["c"].shape == (NUM, 3)

    def log_joint(c: int) -> Tensor:
        return WEIGHTS[c].log() + normal(X, LOCS[c])

    check_joint(draws, {"c": 3}, log_joint)
    check_marginals(marginals(fit), {"c": 3}, log_joint)
    assert torch.equal(marginals(fit)["c"].mode, torch.tensor([1, 0, 2]))
    single = fit.posterior(NUM, data={"x": X[1:2]})  # other rows, and another number of them
    assert abs(float((single["c"] == 0).double().mean()) - float(marginals(fit)["c"].probs[1, 0])) < 0.03


@pytest.mark.parametrize("model", [GaussianMixture(2, 1), PoissonMixture(2, 1), MultinomialMixture(2, 2)])
def test_responsibilities_of_shipped_mixtures(model: Any) -> None:
    x = torch.tensor([[0.0], [1.0], [5.0]]).expand(3, model.num_features)
    fit = fitted(model.double(), {"x": x}, model.guide)
    torch.testing.assert_close(marginals(fit)["assignment"].probs, model.predict({"x": x}).detach())
    draws = fit.posterior(NUM)["assignment"].double()
    assert bool(((draws.mean(0) - model.predict({"x": x})[:, 1]).abs() < 5 * 0.5 / NUM**0.5).all())


def test_many_states_are_drawn_in_pieces() -> None:
    """What is run at once is bounded by the sizes of the sums, not by those of the data alone."""
    states, steps = 20, 6

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            state = torch.zeros(()).long()
            for t in pyro.markov(range(steps)):
                state = pyro.sample(f"s{t}", dist.Categorical(Vindex(torch.full((states, states), 1 / states))[state]))
                with pyro.poutine.mask(mask=t == steps - 1):
                    pyro.sample(f"x{t}", dist.Normal(state, 1.0), obs=x)

    fit = fitted(model, {"x": X})
    numbers = LatentDraws(fit, fit.data, True).num_numbers()  # type: ignore[arg-type]
    assert 4 * steps * states**2 * 3 > numbers > 4 * (steps - 1) * states**2
    found = marginals(fit)["s5"].probs
    torch.testing.assert_close(found, torch.softmax(normal(X[:, None], torch.arange(20.0)), -1))


def test_two_sites_that_are_coupled_by_the_data() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Categorical(WEIGHTS))
            b = pyro.sample("b", dist.Bernoulli(torch.tensor([0.2, 0.5, 0.7])[a]))
            pyro.sample("x", dist.Normal(LOCS[a] + 1.5 * b, 0.7), obs=x)

    def log_joint(a: int, b: int) -> Tensor:
        prior = torch.tensor([0.2, 0.5, 0.7])[a]
        return WEIGHTS[a].log() + (prior if b else 1 - prior).log() + normal(X, LOCS[a] + 1.5 * b, 0.7)

    fit, sizes = fitted(model, {"x": X}), {"a": 3, "b": 2}
    draws = fit.posterior(NUM)
    assert draws["b"].dtype == torch.float64  # the values of a Bernoulli, not their positions
    check_joint(draws, sizes, log_joint)
    check_marginals(marginals(fit), sizes, log_joint)
    torch.testing.assert_close(marginals(fit)["b"].mean, marginals(fit)["b"].probs[:, 1])


@pytest.mark.parametrize("length", [1, 4])
def test_the_states_of_a_chain(length: int) -> None:
    """`pyro.markov` uses its dimensions again; some transitions are impossible."""
    move = torch.tensor([[0.8, 0.2], [0.0, 1.0]])

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            state: Any = None
            for t in pyro.markov(range(x.shape[1])):
                weights = torch.tensor([0.9, 0.1]) if t == 0 else Vindex(move)[state]
                state = pyro.sample(f"s{t}", dist.Categorical(weights))
                pyro.sample(f"x{t}", dist.Normal(2.0 * state, 1.0), obs=x[:, t])

    x = torch.randn(2, length) + 1

    def log_joint(*path: int) -> Tensor:
        log_p = torch.tensor([0.9, 0.1])[path[0]].log() + sum(move[a, b].log() for a, b in itertools.pairwise(path))
        return log_p + sum(normal(x[:, t], 2.0 * s) for t, s in enumerate(path))

    fit, sizes = fitted(model, {"x": x}), {f"s{t}": 2 for t in range(length)}
    check_joint(fit.posterior(NUM), sizes, log_joint)
    check_marginals(marginals(fit), sizes, log_joint)


def test_nested_plates_and_a_global_latent_above_them() -> None:
    """A global kind, one latent a document (the data, at dimension -2) and one a word."""
    mix, emit = torch.tensor([[0.9, 0.1], [0.3, 0.7]]), torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    words = torch.tensor([[0.0, 2.0], [2.0, 2.0]])
    prior = torch.tensor([[0.8, 0.2], [0.4, 0.6]])

    def model(x: Tensor) -> None:
        g = pyro.sample("g", dist.Bernoulli(torch.tensor(0.3))).long()
        with pyro.plate("data", len(x), dim=-2):
            kind = pyro.sample("kind", dist.Categorical(Vindex(prior)[g]))
            with pyro.plate("words", x.shape[1], dim=-1):
                topic = pyro.sample("topic", dist.Categorical(Vindex(mix)[kind]))
                pyro.sample("x", dist.Categorical(Vindex(emit)[topic]), obs=x)

    def log_joint(g: int, k0: int, k1: int, *topics: int) -> Tensor:
        total = torch.tensor([0.7, 0.3])[g].log() + prior[g, k0].log() + prior[g, k1].log()
        for i, topic in enumerate(topics):
            document, word = divmod(i, 2)
            total = total + mix[(k0, k1)[document], topic].log() + emit[topic, int(words[document, word])].log()
        return total

    fit = fitted(model, {"x": words})
    draws = fit.posterior(NUM, data=fit.data)
    assert {name: tuple(value.shape[1:]) for name, value in draws.items()} == {"g": (), "kind": (2, 1), "topic": (2, 2)}
    flat = {"g": draws["g"], "k0": draws["kind"][:, 0, 0], "k1": draws["kind"][:, 1, 0]}
    flat |= {f"t{i}": draws["topic"].reshape(NUM, 4)[:, i] for i in range(4)}
    sizes = dict.fromkeys(flat, 2)
    check_joint(flat, sizes, log_joint)
    exact = marginals(fit)
    table = {"g": exact["g"].probs, "k0": exact["kind"].probs[0, 0], "k1": exact["kind"].probs[1, 0]}
    table |= {f"t{i}": exact["topic"].probs.reshape(4, 2)[i] for i in range(4)}
    listed, posterior = states(log_joint, sizes)
    for position, probs in enumerate(table.values()):
        rows = [i for i, state in enumerate(listed) if state[position] == 1]
        torch.testing.assert_close(probs[1], posterior[rows].sum())
    assert list(fit.posterior(4)) == ["g"]  # the global one alone, given all the data
    assert abs(float(fit.posterior(NUM)["g"].mean()) - float(exact["g"].probs[1])) < 0.03


SLAB = torch.tensor([3.0, -2.0, 0.5], dtype=torch.float64)


def spike_and_slab(x: Tensor, y: Tensor | None = None) -> None:
    """Global indicators, one site each; what is included is known, and so are the slopes."""
    gamma = [pyro.sample(f"gamma_{j}", dist.Bernoulli(torch.tensor(0.3))) for j in range(3)]
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(sum(g * SLAB[j] * x[:, j] for j, g in enumerate(gamma)), 1.0), obs=y)


def test_spike_and_slab_predicts_by_the_indicators_of_the_training_data() -> None:
    x = torch.randn(8, 3)
    y = 3.0 * x[:, 0] + 0.5 * torch.randn(8)
    fit = fitted(spike_and_slab, {"x": x, "y": y})

    def log_joint(*gamma: int) -> Tensor:
        prior = sum(torch.tensor([0.7, 0.3])[g].log() for g in gamma)
        return prior + normal(y, x @ (SLAB * torch.tensor(gamma).double())).sum()

    sizes = {f"gamma_{j}": 2 for j in range(3)}
    check_joint(fit.posterior(NUM), sizes, log_joint)
    check_marginals(marginals(fit), sizes, log_joint)
    listed, exact = states(log_joint, sizes)
    new = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    each = torch.stack([new @ (SLAB * torch.tensor(state).double()) for state in listed])
    mean = (exact[:, None] * each).sum(0)
    spread = (1 + (exact[:, None] * (each - mean).square()).sum(0)).sqrt()
    drawn = fit.predict({"x": new}, num=NUM)["y"]
    assert bool(((drawn.mean(0) - mean).abs() < 5 * spread / NUM**0.5).all())
    assert float(mean[0]) > 2.9  # the prior's answer is 0.9
    with_data = fit.posterior(NUM, data={"x": new, "y": torch.zeros(2)})  # global latents are those of the fit
    assert abs(float(with_data["gamma_0"].mean()) - float(marginals(fit)["gamma_0"].mean)) < 0.03
    bare = Fit("by hand", {}, spike_and_slab, nothing, fit.history, prototype={"x": x[:1], "y": y[:1]}, data_size=8)
    for ask in (lambda: bare.posterior(3), lambda: bare.predict({"x": new})):
        with pytest.raises(DataError, match="`gamma_0` is drawn given all the training data, which this fit does not"):
            ask()


def test_indicators_in_a_plate_given_draws_of_the_slopes() -> None:
    """P(gamma_j | w_j) for a guide of w: the average over its draws, with their standard error."""

    def model(x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("features", 2):
            gamma = pyro.sample("gamma", dist.Bernoulli(torch.tensor(0.4)))
            w = pyro.sample("w", dist.Normal(0.0, 0.1 + 2.0 * gamma))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(x @ w, 1.0), obs=y)

    loc = torch.tensor([1.5, 0.05])

    def guide(x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("features", 2):
            pyro.sample("w", dist.Normal(loc, 0.1))

    fit = fitted(model, {"x": torch.randn(5, 2), "y": torch.randn(5)}, guide)
    found = marginals(fit, num_particles=2_000)["gamma"]
    grid = loc[:, None] + 0.1 * torch.linspace(-8, 8, 4_001)
    odds = torch.tensor(0.4 / 0.6).log() + normal(grid, 0.0, 2.1) - normal(grid, 0.0, 0.1)
    weight = normal(grid, loc[:, None], 0.1).exp()
    exact = (odds.sigmoid() * weight).sum(1) / weight.sum(1)
    assert bool(((found.probs[:, 1] - exact).abs() < 5 * found.stderr[:, 1] + 1e-6).all())
    assert 0.0 < float(found.stderr[1].max()) < 0.02
    draws = fit.posterior(NUM)
    assert draws["gamma"].shape == (NUM, 2)
    assert bool(((draws["gamma"].mean(0) - exact).abs() < 5 * 0.5 / NUM**0.5).all())
    near = draws["w"][:, 1].abs() < 0.1  # drawn together: inclusion goes with the size of the slope
    assert float(draws["gamma"][near, 1].mean()) < float(draws["gamma"][~near, 1].mean())


def test_a_global_indicator_beside_local_latents_with_a_factor_each() -> None:
    """p(g | z) from all the data's draws of z; new rows have theirs from the prior given g."""

    def model(x: Tensor, y: Tensor | None = None) -> None:
        g = pyro.sample("g", dist.Bernoulli(torch.tensor(0.5)))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(4.0 * g + 0 * x, 1.0))
            pyro.sample("y", dist.Normal(z, 0.1), obs=y)

    x, y = torch.zeros(4), torch.tensor([3.0, 5.0, 4.0, 4.5])

    def guide(x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("data", 4):
            pyro.sample("z", dist.Normal(torch.tensor([3.0, 5.0, 4.0, 4.5]), 0.1))

    fit = fitted(model, {"x": x, "y": y}, guide)
    assert list(fit.posterior(5)) == ["g"]
    assert bool((fit.posterior(50)["g"] == 1).all())
    assert float(marginals(fit)["g"].mean) > 0.999
    drawn = fit.predict({"x": torch.zeros(2)}, num=2_000)["y"]
    torch.testing.assert_close(drawn.mean(0), torch.full((2,), 4.0), atol=5 * 1.01 / 2_000**0.5, rtol=0)
    torch.testing.assert_close(fit.predict(num=2_000)["y"].mean(0), y, atol=5 * 0.15 / 2_000**0.5, rtol=0)


def test_sequential_plates_and_masked_latents() -> None:
    """A loop over parts, and a latent whose own density is masked: its probabilities are still its own."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            for part in pyro.plate("parts", 2):
                with pyro.poutine.mask(mask=part == 0):
                    c = pyro.sample(f"c{part}", dist.Categorical(WEIGHTS))
                pyro.sample(f"x{part}", dist.Normal(LOCS[c], 1.0), obs=x[:, part])

    x = torch.randn(3, 2)
    found = marginals(fitted(model, {"x": x}))
    for part in (0, 1):
        exact = torch.softmax(WEIGHTS.log() + normal(x[:, part, None], LOCS), -1)
        torch.testing.assert_close(found[f"c{part}"].probs, exact)


def test_a_program_that_cannot_be_vectorised() -> None:
    def model(x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        shift = 1.0 if m.item() > 0 else -1.0
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(WEIGHTS))
            pyro.sample("x", dist.Normal(LOCS[c] + shift, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))

    fit = fitted(model, {"x": X}, guide)
    with pytest.warns(UserWarning, match="cannot be vectorised over particles"):
        draws = fit.posterior(40, data=fit.data)
    assert draws["c"].shape == (40, 3)
    found = marginals(fit, num_particles=40)["c"]
    both = [torch.softmax(WEIGHTS.log() + normal(X[:, None] - s, LOCS), -1) for s in (1.0, -1.0)]
    half = (both[0] + both[1]) / 2
    assert bool(((found.probs - half).abs() < 5 * found.stderr + 1e-9).all())


def two_groups(x: Tensor | None = None) -> None:
    with pyro.plate("data", 1 if x is None else len(x)):
        c = pyro.sample("c", dist.Categorical(torch.tensor([0.5, 0.5])))
        pyro.sample("x", dist.Normal(torch.tensor([0.0, 10.0])[c], 1.0), obs=x)


def test_a_mixture_predicts_each_datum_from_its_own_component() -> None:
    fit = fitted(two_groups, {"x": torch.tensor([0.2, 9.7])})
    for drawn in (fit.predict(num=2_000)["x"], fit.predict({"x": torch.tensor([-0.1, 10.3])}, num=2_000)["x"]):
        torch.testing.assert_close(drawn.mean(0), torch.tensor([0.0, 10.0]), atol=5 / 2_000**0.5, rtol=0)


def test_a_new_row_without_outcome_has_its_latent_from_the_prior() -> None:
    def model(x: Tensor, y: Tensor | None = None, z: Tensor | None = None) -> None:
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.3)))
            pyro.sample("y", dist.Normal(x + 10.0 * c, 1.0), obs=y)
            pyro.sample("z", dist.Normal(-10.0 * c, 1.0), obs=z)

    x = torch.zeros(2)
    fit = fitted(model, {"x": x, "y": torch.tensor([0.0, 10.0]), "z": torch.tensor([0.0, -10.0])})
    num = 4_000
    drawn = fit.predict({"x": torch.zeros(3)}, num=num)
    assert bool(((drawn["y"].mean(0) - 3.0).abs() < 5 * (1 + 21.0) ** 0.5 / num**0.5).all())
    assert float(torch.stack([drawn["y"][:, 0], drawn["z"][:, 0]]).corrcoef()[0, 1]) < -0.9  # of one latent
    half = fit.predict({"x": x, "y": torch.tensor([0.0, 10.0])}, num=num)  # z is missing, and y tells its latent
    torch.testing.assert_close(half["z"].mean(0), torch.tensor([0.0, -10.0]), atol=5 / num**0.5, rtol=0)


def test_missing_values_that_given_ones_depend_on() -> None:
    """A discrete one is summed out like a latent; a continuous one has a posterior that the fit does not know."""

    def model(a: Tensor | None = None, b: Tensor | None = None, y: Tensor | None = None) -> None:
        size = len(next(value for value in (a, b, y) if value is not None))
        with pyro.plate("data", size):
            a = pyro.sample("a", dist.Bernoulli(torch.tensor(0.3)), obs=a)
            b = pyro.sample("b", dist.Normal(a, 1.0), obs=b)
            pyro.sample("y", dist.Normal(b, 1.0), obs=y)

    one = torch.zeros(1)
    fit = fitted(model, {"a": one, "b": one, "y": one})
    odds = torch.tensor(0.3 / 0.7).log() + normal(one + 2.0, 1.0) - normal(one + 2.0, 0.0)
    drawn = fit.predict({"b": one + 2.0, "y": one}, num=NUM)["a"]
    assert float((drawn.mean(0) - odds.sigmoid()).abs()) < 5 * 0.5 / NUM**0.5
    with pytest.raises(ModelError, match="`b` is not given, and `y` depends on it"):
        fit.predict({"a": one, "y": one})


def test_values_with_events_and_supports_of_size_one() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("groups", 2, dim=-2), pyro.plate("data", len(x), dim=-1):
            only = pyro.sample("only", dist.Categorical(torch.ones(1)))
            c = pyro.sample("c", dist.OneHotCategorical(WEIGHTS))
            pyro.sample("x", dist.Normal((c * LOCS).sum(-1) + only, 1.0), obs=x.T)

    x = torch.randn(3, 2)
    fit = fitted(model, {"x": x})
    draws, found = fit.posterior(NUM), marginals(fit)
    assert draws["only"].shape == (NUM, 2, 3)
    assert draws["c"].shape == (NUM, 2, 3, 3)
    exact = torch.softmax(WEIGHTS.log() + normal(x.T.unsqueeze(-1), LOCS), -1)
    torch.testing.assert_close(found["c"].probs, exact)
    torch.testing.assert_close(found["c"].mean, exact)
    assert found["c"].mode.shape == (2, 3, 3)
    torch.testing.assert_close(found["only"].probs, torch.ones(2, 3, 1))
    torch.testing.assert_close(draws["c"].mean(0), exact, atol=5 * 0.5 / NUM**0.5, rtol=0)


def test_a_mask_hides_data_from_their_latent() -> None:
    mask = torch.tensor([True, False, True])

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(WEIGHTS))
            with pyro.poutine.mask(mask=mask):
                pyro.sample("x", dist.Normal(LOCS[c], 1.0), obs=x)

    exact = torch.softmax(WEIGHTS.log() + mask[:, None] * normal(X[:, None], LOCS), -1)
    torch.testing.assert_close(marginals(fitted(model, {"x": X}))["c"].probs, exact)


def test_latents_that_the_guide_draws_have_its_probabilities() -> None:
    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Categorical(logits=torch.stack([x, -x, 0 * x], -1)))

    fit = fitted(mixture, {"x": X}, guide)
    torch.testing.assert_close(marginals(fit)["c"].probs, torch.softmax(torch.stack([X, -X, 0 * X], -1), -1))


def test_values_outside_their_support_are_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.3)))
            pyro.sample("x", dist.Poisson(1 + 5 * c), obs=x)

    fit = fitted(model, {"x": torch.tensor([1.0, 7.0])})
    bad = {"x": torch.tensor([1.0, 2.5])}
    for ask in (fit.posterior, fit.predict, fit.to_arviz, lambda data: marginals(fit, data)):
        with pytest.raises(DataError, match=r"The observed `x` holds 2.5 in row 1, outside the support of its Poisson"):
            ask(data=bad)
    with pytest.raises(ConfigurationError, match="`fit` must be a Fit"):
        marginals(None)
    with pytest.raises(ConfigurationError, match="`num_particles` must be"):
        marginals(fit, num_particles=0)


def test_what_has_no_answer_is_refused() -> None:
    def whole(x: Tensor) -> None:
        with pyro.plate("parts", 3):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.3)))
        pyro.sample("x", dist.Normal(c.sum(-1, keepdim=True), 1.0), obs=x[:1])

    names = frozenset({"c"})
    trace = enumerated_model(Program(whole, nothing), {"x": X}, {}, names, 1)
    with pytest.raises(ModelError, match="`x` depends on all elements of the discrete latent `c` together"):
        Conditional(trace, names)
    with pytest.raises(ModelError, match="it sums, averages or shifts a discrete latent over a plate"):
        fitted(whole, {"x": X}).posterior(3)

    def continuous(x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(m, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))

    with pytest.raises(ModelError, match="`marginals` needs a model with discrete latents"):
        marginals(fitted(continuous, {"x": X}, guide))
