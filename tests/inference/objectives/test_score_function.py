"""Score-function gradients of discrete draws, against enumeration by hand."""

from __future__ import annotations

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import IWAE, Renyi, Trace_ELBO, TraceEnum_ELBO, minibatch
from jensen.inference.objectives.score_function import leave_one_out
from jensen.inference.pair.program import Program


class Discrete(nn.Module):
    """c ~ Categorical, x | c ~ Normal(mean_c, 1); every row is a copy with parameters of its own."""

    def __init__(self, rows, logits, means):
        super().__init__()
        self.prior = torch.log_softmax(torch.linspace(-0.5, 0.5, len(logits)), 0)
        self.logits = nn.Parameter(torch.tensor(logits).expand(rows, -1).clone())
        self.means = nn.Parameter(torch.tensor(means).expand(rows, -1).clone())

    def model(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(logits=self.prior))
            means = self.means.gather(-1, c.unsqueeze(-1))[:, 0]
            pyro.sample("x", dist.Normal(means, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Categorical(logits=self.logits))


def expected_gradient(module, x, count, value):
    """The gradient of E[bound] with respect to (logits, means) of one row, by a sum over all tuples of draws."""
    logits = module.logits[0].detach().clone().requires_grad_()
    means = module.means[0].detach().clone().requires_grad_()
    log_q = torch.log_softmax(logits, 0)
    log_w = module.prior + dist.Normal(means, 1.0).log_prob(x[0]) - log_q
    total = torch.zeros(())
    for draws in itertools.product(range(len(logits)), repeat=count):
        index = torch.tensor(draws)
        total = total + log_q[index].sum().exp() * value(log_w[index])
    return torch.cat(torch.autograd.grad(total, [logits, means]))


def iwae(log_weights):
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


CASES = [
    (Trace_ELBO, (), lambda w: w.mean()),
    (IWAE, (), iwae),
    (Renyi, (0.5,), lambda w: 2.0 * iwae(0.5 * w)),
]


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize(("cls", "arguments", "value"), CASES, ids=["elbo", "iwae", "renyi"])
@pytest.mark.parametrize("states", [2, 3])
def test_local_gradients_are_unbiased(cls, arguments, value, count, states, numerics):
    rows = 20_000
    module = Discrete(rows, [0.4, -0.3, 0.9][:states], [-1.0, 0.5, 2.0][:states])
    x = torch.full((rows,), 0.8)
    objective = cls(*arguments, count)
    objective.check(Program(module.model, module.guide).structure({"x": x}))
    found = numerics.gradient(objective, Program(module.model, module.guide), {"x": x}, [module.logits, module.means])
    samples = torch.cat(found, -1)
    numerics.agree(samples, expected_gradient(module, x, count, value))
    assert float(samples[:, :states].std()) > 0.0  # trap 3: Pyro's Renyi gives the guide no gradient at all


def test_the_baseline_lowers_the_variance(numerics):
    rows = 4000
    module = Discrete(rows, [0.4, -0.3], [-1.0, 0.5])
    x = torch.full((rows,), 3.0)
    program = Program(module.model, module.guide)
    spread = {k: numerics.gradient(Trace_ELBO(k), program, {"x": x}, [module.logits])[0].var(0).sum() for k in (1, 4)}
    assert float(spread[4]) < float(spread[1]) / 8  # four draws alone would give 1/4


def test_impossible_draws_have_weight_zero(numerics):
    """A state of probability zero under the model: only a datum whose draws are all impossible has no gradient."""
    rows, count = 2000, 2
    module = Discrete(rows, [0.4, -0.3, 0.9], [-1.0, 0.5, 2.0])
    module.prior = torch.tensor([0.7, 0.3, 0.0]).log()
    program, batch = Program(module.model, module.guide), {"x": torch.full((rows,), 0.8)}
    torch.manual_seed(1)
    draws = numerics.terms(IWAE(count), program, batch, count).values["c"]
    torch.manual_seed(1)
    gradient = numerics.gradient(IWAE(count), program, batch, [module.logits])[0]
    impossible = (draws == 2).all(0)
    assert 100 < int(impossible.sum()) < 1000
    assert bool(torch.isfinite(gradient[~impossible]).all())


def test_leave_one_out():
    values = torch.tensor([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]])
    torch.testing.assert_close(leave_one_out(values), torch.tensor([[4.0, 40.0], [3.5, 35.0], [1.5, 15.0]]))
    assert float(leave_one_out(values[:1]).abs().sum()) == 0.0


class Shared(nn.Module):
    """A global coin that shifts all data."""

    def __init__(self, infer=None):
        super().__init__()
        self.logit, self.shift, self.infer = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor(1.2)), infer

    def model(self, x):
        b = pyro.sample("b", dist.Bernoulli(torch.tensor(0.4)))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(self.shift * b, 1.0), obs=x)

    def guide(self, x):
        pyro.sample("b", dist.Bernoulli(logits=self.logit), infer=self.infer)


@pytest.mark.parametrize(("cls", "value"), [(Trace_ELBO, lambda w: w.mean()), (IWAE, iwae)], ids=["elbo", "iwae"])
@pytest.mark.parametrize("count", [1, 3])
def test_global_gradients_are_unbiased(cls, value, count, numerics):
    module, x, repeats = Shared(), torch.tensor([0.4, 1.5, 0.9]), 4000
    objective, program = cls(count), Program(module.model, module.guide)
    terms = numerics.terms(objective, program, {"x": x}, count * repeats)
    q, p, like = terms.sites["b"].log_q, terms.sites["b"].log_p, terms.sites["x"].log_p
    pieces = [numerics.slice(terms, slice(i * count, (i + 1) * count), count) for i in range(repeats)]
    total = torch.stack([objective.reduce(piece, 1.0).surrogate for piece in pieces]).sum()
    by_q, by_like = torch.autograd.grad(total, [q, like])
    b = terms.values["b"].detach()
    logit, shift = module.logit.detach().clone().requires_grad_(), module.shift.detach().clone().requires_grad_()
    by_logit = by_q * (b - torch.sigmoid(logit.detach()))  # d log q / d logit
    by_shift = (by_like * (x - shift.detach() * b.unsqueeze(-1)) * b.unsqueeze(-1)).sum(-1)
    samples = torch.stack([by_logit, by_shift], -1).reshape(repeats, count, 2).sum(1)
    assert p is not None
    states = torch.tensor([0.0, 1.0])
    log_q = dist.Bernoulli(logits=logit).log_prob(states)
    log_w = dist.Bernoulli(torch.tensor(0.4)).log_prob(states) - log_q
    log_w = log_w + dist.Normal(shift * states.unsqueeze(-1), 1.0).log_prob(x).sum(-1)
    exact = torch.zeros(())
    for draws in itertools.product((0, 1), repeat=count):
        index = torch.tensor(draws)
        exact = exact + log_q[index].sum().exp() * value(log_w[index])
    numerics.agree(samples, torch.stack(torch.autograd.grad(exact, [logit, shift])))


def test_mini_batches_scale_the_learning_signal_of_a_global_draw(numerics):
    """The average over a partition is the full gradient, for the same coin."""
    module, x = Shared(), torch.tensor([0.4, 1.5, 0.9, -0.3])
    program, parameters = Program(module.model, module.guide), list(module.parameters())

    def gradient(rows):
        torch.manual_seed(2)
        return numerics.flat(numerics.gradient(Trace_ELBO(4), program, {"x": rows}, parameters, data_size=4))

    torch.testing.assert_close(torch.stack([gradient(x[:2]), gradient(x[2:])]).mean(0), gradient(x))


def test_the_share_of_a_process_weighs_global_terms_once(numerics):
    """Two processes with half of the global terms and half of the data each add up to one process."""
    module, x = Shared(), torch.tensor([0.4, 1.5, 0.9, -0.3])
    program, parameters = Program(module.model, module.guide), list(module.parameters())

    def gradient(rows, share):
        torch.manual_seed(2)
        with minibatch(4, batch_size=4):
            bound = Trace_ELBO(4).bound(program, {"x": rows}, share=share)
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(bound.surrogate, parameters)])

    torch.testing.assert_close(gradient(x[:2], 0.5) + gradient(x[2:], 0.5), gradient(x, 1.0))


def test_enumerated_and_sampled_coins_agree(numerics):
    x = torch.tensor([0.4, 1.5, 0.9])
    sampled, exact = Shared(), Shared({"enumerate": "parallel"})
    results = []
    for module, objective in ((sampled, Trace_ELBO(20_000)), (exact, TraceEnum_ELBO()), (sampled, TraceEnum_ELBO())):
        program = Program(module.model, module.guide)
        results.append(numerics.flat(numerics.gradient(objective, program, {"x": x}, module.parameters())))
    torch.testing.assert_close(results[1], results[2])
    torch.testing.assert_close(results[0], results[1], atol=0.05, rtol=0.0)


def test_a_discrete_draw_beside_one_that_the_model_sums_out(numerics):
    """The guide samples `b`, the model sums `c` out: the score function must still be there."""
    rows = 20_000
    logits = nn.Parameter(torch.full((rows,), 0.3))

    def model(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Bernoulli(torch.tensor(0.4)))
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.2, 0.8])), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(b + 2.0 * c, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.Bernoulli(logits=logits))

    x = torch.full((rows,), 1.4)
    program = Program(model, guide)
    for objective in (Trace_ELBO(1), Trace_ELBO(3), IWAE(1)):
        samples = numerics.gradient(objective, program, {"x": x}, [logits])[0].unsqueeze(-1)
        exact = numerics.gradient(TraceEnum_ELBO(), program, {"x": x}, [logits])[0]
        numerics.agree(samples, exact[:1])


def test_a_local_draw_that_a_global_site_depends_on(numerics):
    """The learning signal of `b` includes the global site `total`, which follows it."""
    rows = 4
    logits = nn.Parameter(torch.tensor([0.3, -0.2, 0.5, 0.1]))

    def model(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Bernoulli(torch.tensor(0.4)))
            pyro.sample("x", dist.Normal(b, 1.0), obs=x)
        pyro.sample("total", dist.Normal(b.sum(), 0.5), obs=torch.tensor(3.5))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.Bernoulli(logits=logits))

    x, program = torch.tensor([0.2, 1.0, -0.5, 0.4]), Program(model, guide)
    samples = numerics.gradients(Trace_ELBO(10), program, {"x": x}, [logits], 300)
    value = torch.zeros(())
    for draws in itertools.product((0.0, 1.0), repeat=rows):
        b = torch.tensor(draws)
        log_q = dist.Bernoulli(logits=logits).log_prob(b).sum()
        log_p = dist.Bernoulli(torch.tensor(0.4)).log_prob(b).sum() + dist.Normal(b, 1.0).log_prob(x).sum()
        log_p = log_p + dist.Normal(b.sum(), 0.5).log_prob(torch.tensor(3.5))
        value = value + log_q.exp() * (log_p - log_q)
    numerics.agree(samples, torch.autograd.grad(value, logits)[0])
