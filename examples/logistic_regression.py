"""Your own model: Bayesian logistic regression as a Pyro program, fitted, scored and read.

python examples/logistic_regression.py --steps 5000
"""

from __future__ import annotations

import argparse

import pyro
import pyro.distributions as dist
import torch

from jensen.datasets import breast_cancer
from jensen.inference import SVI, TraceMeanField_ELBO, log_evidence
from jensen.models import LatentVariableModel


class LogisticRegression(LatentVariableModel):
    def __init__(self, num_features):
        super().__init__()
        self.num_features = num_features

    def model(self, x, y=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(self.num_features), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


def main(steps: int = 5_000) -> None:
    data = breast_cancer(test_size=0.25, seed=0)

    fit = SVI(TraceMeanField_ELBO(), steps=steps, lr=1e-2).fit(LogisticRegression(30), data.train, seed=0)
    print(fit)

    print(f"log evidence of the training data: {log_evidence(fit).per_datum} nats per datum")

    probability = fit.predict({"x": data.test["x"]}, num=1_000)["y"].mean(0)
    correct = (probability > 0.5).float() == data.test["y"]
    print(f"accuracy on {len(correct)} held-out tumours: {correct.float().mean():.1%}")

    w = fit.posterior(1_000)["w"]
    print("the five weights that are surest to differ from zero (posterior mean and standard deviation):")
    strength = w.mean(0).abs() / w.std(0)
    for index in strength.argsort(descending=True)[:5]:
        print(f"  {data.feature_names[index]:<24} {w[:, index].mean():6.2f} ± {w[:, index].std():.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5_000)
    main(**vars(parser.parse_args()))
