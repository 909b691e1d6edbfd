"""Programs that assign through a boolean mask are vectorised over particles, torch's own Multinomial among them."""

from __future__ import annotations

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference.pair.program import Program
from jensen.inference.pair.terms import evaluate

X = torch.tensor([[3.0, 3.0, 4.0], [0.0, 4.0, 6.0]], dtype=torch.float64)


def counts(x):
    p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Multinomial(10, p, validate_args=False), obs=x)


def clipped(x):
    """A program's own assignment, through a mask of fewer dimensions than the tensor."""
    p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
    logits = p.log().expand(len(x), 3).clone()
    logits[p[:1] > 0.2 if p.dim() > 1 else (p[0] > 0.2).expand(len(x))] = -1.0
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(logits, 1.0).to_event(1), obs=x)


def guide(x):
    pyro.sample("p", dist.Dirichlet(torch.tensor([2.0, 3.0, 4.0])))


@pytest.mark.parametrize("model", [counts, clipped])
def test_all_particles_at_once(model, float64):
    program = Program(model, guide)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        terms = evaluate(program, {"x": X}, num_particles=6, seed=0)
    assert not program.loop_over_particles
    for k in range(6):
        one = evaluate(program, {"x": X}, values={"p": terms.values["p"][k : k + 1]})
        torch.testing.assert_close(terms.sites["x"].log_p[k], one.sites["x"].log_p[0])
