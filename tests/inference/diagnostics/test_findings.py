"""Scores refuse the programs that objectives refuse: with hand-set scales they would be those of another model."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from jensen.inference import IWAE, SVI, elbo_terms, log_evidence, pareto_k
from jensen.inference.errors import ModelError

X = torch.linspace(-1.0, 1.0, 12)


def subsampled(x):
    """A plate that takes its 12 data for a part of 36, scaled by hand."""
    w = pyro.sample("w", dist.Normal(0.0, 1.0))
    with pyro.plate("data", 36, subsample=torch.arange(len(x))):
        pyro.sample("x", dist.Normal(w, 1.0), obs=x)


def features_subsampled(x):
    """A plate of another name that shows 4 data."""
    w = pyro.sample("w", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(x), subsample=torch.arange(4)) as rows:
        pyro.sample("x", dist.Normal(w, 1.0), obs=x[rows])


def tempered(x):
    w = pyro.sample("w", dist.Normal(0.0, 1.0))
    with poutine.scale(scale=0.5), pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(w, 1.0), obs=x)


@pytest.mark.parametrize("score", [log_evidence, pareto_k, elbo_terms])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (subsampled, r"plate `data` in the model subsamples \d+ of 36.*pass `SVI\(batch_size=\d+\)`"),
        (features_subsampled, "plate `rows` in the model subsamples 4 of 12.*without subsampling"),
        (tempered, r"scales `x` by 0\.5 itself.*Remove `poutine.scale`"),
    ],
)
def test_scales_set_by_hand(model, message, score):
    fit = SVI(steps=2, progress=False).fit(model, X)
    with pytest.raises(ModelError, match=message):
        score(fit)


def test_importance_weighted_bounds_refuse_them_too():
    with pytest.raises(ModelError, match="scales the site `x` itself"):
        SVI(IWAE(3), steps=2, progress=False).fit(tempered, X)
