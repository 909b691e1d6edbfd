"""Models that are at fault whatever their guide, one fault each, for the tests of the doctor."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroSample
from torch import nn

from jensen.models import LatentVariableModel

N = 12


class Mean(LatentVariableModel):
    """A sound model without a guide of its own."""

    def model(self, x=None):
        m = pyro.sample("m", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", 1 if x is None else len(x)):
            return self.observe(m, x)

    def observe(self, m, x):
        return pyro.sample("x", dist.Normal(m, 1.0).to_event(1), obs=x)


class PlateOfAnotherSize(Mean):
    def model(self, x=None):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 100):
            return pyro.sample("x", dist.Normal(m, 1.0), obs=None if x is None else x[:1, 0])


class PlateOfFixedSize(Mean):
    def model(self, x=None):
        m = pyro.sample("m", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", N):
            return self.observe(m, x)


class NoPlate(Mean):
    def model(self, x):
        m = pyro.sample("m", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        return pyro.sample("x", dist.Normal(m.expand(len(x), 3), 1.0).to_event(2), obs=x)


class PlateNamedOtherwise(Mean):
    def model(self, x=None):
        m = pyro.sample("m", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("observations", 1 if x is None else len(x)):
            return self.observe(m, x)


class OutsideThePlate(Mean):
    def model(self, x, y):
        m = pyro.sample("m", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            self.observe(m, x)
        pyro.sample("y", dist.Normal(x @ m, 1.0).to_event(1), obs=y)


class Loop(Mean):
    def model(self, x):
        m = pyro.sample("m", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        for i in pyro.plate("data", len(x)):
            pyro.sample(f"x_{i}", dist.Normal(m, 1.0).to_event(1), obs=x[i])


class PythonLoop(Mean):
    def model(self, x):
        m = pyro.sample("m", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        for i in range(len(x)):
            pyro.sample(f"x_{i}", dist.Normal(m, 1.0).to_event(1), obs=x[i])


class ScaledByHand(Mean):
    def observe(self, m, x):
        with poutine.scale(scale=10.0):
            return super().observe(m, x)


class Subsampled(Mean):
    def model(self, x):
        m = pyro.sample("m", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x), subsample_size=4) as index:
            return self.observe(m, x[index])


class LogOfNegative(Mean):
    def observe(self, m, x):
        return pyro.sample("x", dist.Normal(m, torch.log(torch.tensor(-1.0))).to_event(1), obs=x)


class HiddenDimension(LatentVariableModel):
    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(3))

    def model(self, x=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(5), 1.0))
        with pyro.plate("data", 1 if x is None else len(x)):
            c = pyro.sample("c", dist.Categorical(logits=self.logits))
            return pyro.sample("x", dist.Normal(w[c].unsqueeze(-1), 1.0).expand([*c.shape, 3]).to_event(1), obs=x)


class FeaturesInTheBatch(Mean):
    def observe(self, m, x):
        return pyro.sample("x", dist.Normal(m, 1.0), obs=x)


class ColumnOfLabels(LatentVariableModel):
    """Observes (N, 1) where the distribution has (N,)."""

    def model(self, x, y=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(x @ w, 1.0), obs=None if y is None else y.unsqueeze(-1))


class OnCuda(Mean):
    def model(self, x=None):
        if x is not None and x.shape[0] > 10**9:
            x = x.to("cuda")
        return super().model(x)


class Double(Mean):
    def model(self, x=None):
        m = pyro.sample("m", dist.Normal(torch.zeros(3, dtype=torch.float64), 1.0).to_event(1))
        with pyro.plate("data", 1 if x is None else len(x)):
            return self.observe(m, x)


class SingleOnly(LatentVariableModel):
    def model(self, x, y=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(3, dtype=torch.float32), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(x @ w, 1.0), obs=y)


class BuiltInSingle(LatentVariableModel):
    """A prior that is built in the constructor, and stays in its precision."""

    def __init__(self):
        super().__init__()
        self.w = PyroSample(dist.Normal(torch.zeros(3), 1.0).to_event(1))

    def model(self, x, y=None):
        mean = x @ self.w
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


class PlateTwice(LatentVariableModel):
    def model(self, x=None):
        with pyro.plate("data", 1 if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 1 if x is None else len(x)):
            return pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).expand([*z.shape, 3]).to_event(1), obs=x)

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(3, 1)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x)[:, 0], 1.0))


class UnusedArgument(LatentVariableModel):
    def model(self, x, y=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(w, 1.0), obs=y)


class NothingObserved(LatentVariableModel):
    def model(self, x):
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(x @ w, 1.0))


class ChangingSites(Mean):
    def model(self, x=None):
        if pyro.sample("coin", dist.Normal(0.0, 1.0)).abs() < 0.5:
            pyro.sample("more", dist.Normal(0.0, 1.0))
        return super().model(x)


class TwiceTheSame(Mean):
    def model(self, x=None):
        pyro.sample("m", dist.Normal(0.0, 1.0))
        return super().model(x)


class Raises(Mean):
    def observe(self, m, x):
        return super().observe(self.missing * m, x)


class Untraceable(Mean):
    def observe(self, m, x):
        shift = 1.0 if m.sum().item() > 0 else 0.0
        return super().observe(m + shift, x)


class Counting(Mean):
    calls = 0

    def observe(self, m, x):
        self.calls += 1
        return super().observe(m / (1.0 + 0.01 * self.calls), x)


class Counts(LatentVariableModel):
    def model(self, x=None):
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("data", 1 if x is None else len(x)):
            return pyro.sample("x", dist.Poisson(rate).expand([1 if x is None else len(x)]), obs=x)


class NothingToFit(Mean):
    def guide(self, x):
        pyro.sample("m", dist.Normal(torch.zeros(3), 1.0).to_event(1))
