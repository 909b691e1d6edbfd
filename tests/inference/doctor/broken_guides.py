"""Pairs whose guide, parameters or modules are at fault, one fault each, for the tests of the doctor."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn

from jensen.models import LatentVariableModel

N = 12


class Local(LatentVariableModel):
    """A sound model with a local latent; the others spoil it."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(3, 4)
        self.decoder = nn.Linear(2, 3)

    def model(self, x=None):
        with pyro.plate("data", 1 if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            self.draw(*self.encoder(x).chunk(2, -1))

    def draw(self, loc, log_scale):
        pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Misnamed(Local):
    def draw(self, loc, log_scale):
        pyro.sample("zz", dist.Normal(loc, log_scale.exp()).to_event(1))


class EmptyGuide(Local):
    def guide(self, x):
        return self.encoder(x)


class ExtraSite(Local):
    def draw(self, loc, log_scale):
        super().draw(loc, log_scale)
        pyro.sample("u", dist.Normal(loc, 1.0).to_event(1))


class SamplesData(Local):
    def draw(self, loc, log_scale):
        super().draw(loc, log_scale)
        pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))


class ObservesInTheGuide(Local):
    def draw(self, loc, log_scale):
        super().draw(loc, log_scale)
        pyro.sample("u", dist.Normal(loc, 1.0).to_event(1), obs=loc)


class NoEvent(Local):
    def draw(self, loc, log_scale):
        pyro.sample("z", dist.MultivariateNormal(loc[:, :1], torch.eye(1)))


class WrongSplit(LatentVariableModel):
    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(3))

    def model(self, x=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", 1 if x is None else len(x)):
            return pyro.sample("x", dist.Normal(w, 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.sample("w", dist.Normal(self.loc, 1.0))


class GammaScale(LatentVariableModel):
    """A positive latent, and a normal guide for it."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(5.0))

    def model(self, x=None):
        scale = pyro.sample("scale", dist.Gamma(2.0, 1.0))
        with pyro.plate("data", 1 if x is None else len(x)):
            return pyro.sample("x", dist.Normal(torch.zeros(3), scale).to_event(1), obs=x)

    def guide(self, x):
        pyro.sample("scale", dist.Normal(self.loc, 0.1))


class Weights(LatentVariableModel):
    """Proportions on the simplex, guided by a normal."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(3))

    def model(self, x=None):
        p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
        with pyro.plate("data", 1 if x is None else len(x)):
            return pyro.sample("x", dist.Normal(p, 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.sample("p", dist.Normal(self.loc, 0.1).to_event(1))


class RandomEffects(LatentVariableModel):
    """A latent for every datum, and no guide that computes it from the data."""

    def model(self, x=None):
        with pyro.plate("data", 1 if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).expand([*z.shape, 3]).to_event(1), obs=x)


class RowsOfItsOwn(RandomEffects):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(N))

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.table[: len(x)], 1.0))


class RowsByStatement(RandomEffects):
    def guide(self, x):
        loc = pyro.param("loc", torch.zeros(N))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 1.0))


class UnusedParameter(Local):
    def __init__(self):
        super().__init__()
        self.forgotten = nn.Parameter(torch.zeros(3))


class Detached(Local):
    def draw(self, loc, log_scale):
        super().draw(loc.detach(), log_scale.detach())


class DeadUnit(Local):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(-5.0))

    def draw(self, loc, log_scale):
        super().draw(loc + self.shift.relu(), log_scale)


class ScaleOfZero(Local):
    def draw(self, loc, log_scale):
        pyro.sample("z", dist.Normal(loc, 0.0 * log_scale.exp()).to_event(1))


class SampledAssignment(LatentVariableModel):
    def __init__(self):
        super().__init__()
        self.means = nn.Parameter(torch.randn(2, 3))
        self.classifier = nn.Linear(3, 2)

    def model(self, x=None):
        with pyro.plate("data", 1 if x is None else len(x)):
            c = pyro.sample("c", dist.Categorical(torch.ones(2) / 2))
            return pyro.sample("x", dist.Normal(self.means[c], 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Categorical(logits=self.classifier(x)))


class CountLatent(LatentVariableModel):
    def __init__(self):
        super().__init__()
        self.rate = nn.Parameter(torch.zeros(()))

    def model(self, x=None):
        with pyro.plate("data", 1 if x is None else len(x)):
            n = pyro.sample("n", dist.Poisson(self.rate.exp()))
            return pyro.sample("x", dist.Normal(n.unsqueeze(-1), 1.0).expand([*n.shape, 3]).to_event(1), obs=x)

    def guide(self, x):
        pass


class PlainTensor(Local):
    def __init__(self):
        super().__init__()
        self.shift = torch.ones(3)

    def model(self, x=None):
        return super().model(None if x is None else x - self.shift)


class Dropout(Local):
    def __init__(self):
        super().__init__()
        self.decoder = nn.Sequential(nn.Dropout(0.5), self.decoder)


class SharedName(RandomEffects):
    def model(self, x=None):
        shift = pyro.param("loc", torch.zeros(()))
        with pyro.plate("data", 1 if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(shift, 1.0))
            return pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).expand([*z.shape, 3]).to_event(1), obs=x)

    def guide(self, x):
        loc = pyro.param("loc", torch.zeros(()))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc * x[:, 0], 1.0))


class GuideTakesLess(LatentVariableModel):
    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(3))

    def model(self, x, y=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(x @ w, 1.0), obs=y)

    def guide(self, x):
        pyro.sample("w", dist.Normal(self.loc, 1.0).to_event(1))


class OutsideInTheGuide(Local):
    def guide(self, x):
        self.draw(*self.encoder(x).chunk(2, -1))


class ManyFaults(Local):
    """Four faults at once: a misnamed site, a scale, an unused parameter, a device."""

    def __init__(self):
        super().__init__()
        self.forgotten = nn.Parameter(torch.zeros(3))

    def model(self, x=None):
        with poutine.scale(scale=3.0):
            return super().model(x)

    def draw(self, loc, log_scale):
        pyro.sample("zed", dist.Normal(loc, log_scale.exp()).to_event(1))

    def helper(self):
        return torch.zeros(3, device="cuda:0")
