"""Agreement with `pyro.infer` on full batches, where Pyro is right: exactly from the same seed, or in expectation."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from torch import nn

from jensen.inference import IWAE, Renyi, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO, minibatch

X = torch.tensor([0.4, -0.7, 1.9, 1.1], dtype=torch.float64)
SUM = {"enumerate": "parallel"}


class Pair(nn.Module):
    """A global mean, local effects, and a learned noise."""

    def __init__(self):
        super().__init__()
        self.noise, self.loc = (
            nn.Parameter(torch.tensor(0.2).double()),
            nn.Parameter(torch.tensor([0.3, -0.5]).double()),
        )
        self.weight = nn.Parameter(torch.tensor(0.4).double())

    def model(self, x):
        mean = pyro.sample("mean", dist.Normal(torch.zeros(()), 2.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mean, 1.0))
            pyro.sample("x", dist.Normal(z, self.noise.exp()), obs=x)

    def guide(self, x):
        mean = pyro.sample("mean", dist.Normal(self.loc[0], self.loc[1].exp()))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.weight * x + 0.5 * mean, 0.7))


def both(ours, theirs, pair, size=4, x=X):
    """Loss and gradients of the two, each from the same seed."""
    results = []
    for objective in (ours, theirs):
        torch.manual_seed(11)
        with minibatch(size):
            loss = objective.differentiable_loss(pair.model, pair.guide, x)
        results.append((float(loss.detach()), torch.autograd.grad(loss, list(pair.parameters()), allow_unused=True)))
    return results


@pytest.mark.parametrize("size", [4, 20])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(Trace_ELBO(), pyro.infer.Trace_ELBO()), (TraceMeanField_ELBO(), pyro.infer.TraceMeanField_ELBO())],
    ids=["Trace_ELBO", "TraceMeanField_ELBO"],
)
def test_the_elbo_is_equal_draw_by_draw(ours, theirs, size):
    (loss, gradients), (their_loss, their_gradients) = both(ours, theirs, Pair(), size)
    assert loss == pytest.approx(their_loss, rel=1e-12)
    torch.testing.assert_close(gradients, their_gradients)


def test_with_several_particles_in_expectation(numerics):
    pair = Pair()
    for ours, theirs in (
        (Trace_ELBO(200), pyro.infer.Trace_ELBO),
        (TraceMeanField_ELBO(200), pyro.infer.TraceMeanField_ELBO),
    ):
        reference = theirs(num_particles=200, vectorize_particles=True, max_plate_nesting=1)
        values = [torch.tensor([each.loss(pair.model, pair.guide, X) for _ in range(25)]) for each in (ours, reference)]
        numerics.agree(*values)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_renyi_with_only_a_global_latent(alpha, numerics):
    """Pyro's weights are joint over everything, which is jensen's rule with global latents, on the full batch."""
    pair = Pair()
    reference = pyro.infer.RenyiELBO(alpha=alpha, num_particles=5, vectorize_particles=True, max_plate_nesting=1)
    values = [
        torch.tensor([each.loss(pair.model, pair.guide, X) for _ in range(300)])
        for each in (Renyi(alpha, 5), reference)
    ]
    numerics.agree(*values)


def test_renyi_of_a_single_datum(numerics):
    """With one datum the per-datum and the joint weight are the same."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * x, 0.9))

    reference = pyro.infer.RenyiELBO(alpha=0.0, num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    ours = torch.tensor([IWAE(4).loss(model, guide, X[:1]) for _ in range(300)])
    numerics.agree(ours, torch.tensor([reference.loss(model, guide, X[:1]) for _ in range(300)]))


class Mixture(nn.Module):
    """Enumerated in the model or in the guide, beside a continuous latent."""

    def __init__(self, where):
        super().__init__()
        self.where = where
        self.locs = nn.Parameter(torch.tensor([-1.0, 2.0]).double())
        self.logits, self.shift = (
            nn.Parameter(torch.tensor([0.2, -0.3]).double()),
            nn.Parameter(torch.tensor(0.1).double()),
        )

    def model(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.3, 0.7])), infer=SUM)
            z = pyro.sample("z", dist.Normal(self.locs[c], 1.0))
            pyro.sample("x", dist.Normal(z, 0.8), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            if self.where == "guide":
                pyro.sample("c", dist.Categorical(logits=self.logits.expand(len(x), 2)), infer=SUM)
            pyro.sample("z", dist.Normal(0.5 * x + self.shift, 0.7 + 0.0 * self.logits.sum()))


@pytest.mark.parametrize("size", [4, 20])
@pytest.mark.parametrize("where", ["model", "guide"])
def test_enumeration_is_equal_draw_by_draw(where, size):
    reference = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)
    (loss, gradients), (their_loss, their_gradients) = both(TraceEnum_ELBO(), reference, Mixture(where), size)
    assert loss == pytest.approx(their_loss, rel=1e-10)
    torch.testing.assert_close(gradients, their_gradients)


def test_nested_plates_are_equal_draw_by_draw():
    class Corpus(nn.Module):
        def __init__(self):
            super().__init__()
            self.topics, self.q = nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.tensor([2.0, 3.0]))

        def model(self, x):
            with pyro.plate("data", len(x), dim=-2):
                theta = pyro.sample("theta", dist.Dirichlet(torch.ones(2)))
                with pyro.plate("words", x.shape[1], dim=-1):
                    topic = pyro.sample("topic", dist.Categorical(theta), infer=SUM)
                    logits = pyro.ops.indexing.Vindex(self.topics)[topic]
                    pyro.sample("x", dist.Categorical(logits=logits), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x), dim=-2):
                pyro.sample("theta", dist.Dirichlet(self.q))

    words = torch.tensor([[0, 2, 1, 0], [2, 2, 1, 2], [0, 0, 1, 1]])
    reference = pyro.infer.TraceEnum_ELBO(max_plate_nesting=2)
    (loss, gradients), (theirs, their_gradients) = both(TraceEnum_ELBO(), reference, Corpus(), 6, words)
    assert loss == pytest.approx(theirs, rel=1e-10)
    torch.testing.assert_close(gradients, their_gradients)
