"""Three irises told apart, with probabilities that say how sure they are, and drawn.

python examples/classification.py --picture irises.png
"""

from __future__ import annotations

import argparse

import torch

from jensen.datasets import iris
from jensen.inference import SVI, TraceMeanField_ELBO, log_evidence
from jensen.models import BayesianLogisticRegression


def main(steps: int = 3_000, picture: str = "") -> None:
    data = iris(test_size=0.3, seed=0)
    train, test = ({"x": part["x"][:, 2:], "y": part["y"]} for part in (data.train, data.test))  # the petals alone

    # The scale of the weights is learned with them, so none has to be chosen.
    model = BayesianLogisticRegression(num_features=2, num_classes=3, hierarchical=True)
    method = SVI(TraceMeanField_ELBO(num_particles=8), steps=steps, lr=1e-2, guide="multivariate_normal")
    fit = method.fit(model, train, seed=0)
    print(fit)
    print(f"log evidence: {log_evidence(fit).per_datum} nats per datum")

    # The posterior's draws of the weights give draws of each flower's probabilities.
    draws = fit.posterior(1_000, seed=0)
    probability = model.probabilities(test["x"], **draws)  # (draws, flowers, classes)
    mean, deviation = probability.mean(0), probability.std(0)
    right = (mean.argmax(-1) == test["y"]).float().mean()
    print(f"accuracy on {len(test['y'])} held-out irises: {right:.1%}")
    print("the three least certain of them (probability of each species, mean ± standard deviation):")
    for row in mean.max(-1).values.argsort()[:3]:
        species = "  ".join(
            f"{name} {m:.2f} ± {s:.2f}" for name, m, s in zip(data.target_names, mean[row], deviation[row], strict=True)
        )
        print(f"  {species}   (it is {data.target_names[test['y'][row]]})")

    if picture:
        draw(model, draws, data, picture)


def draw(model, draws, data, picture):
    """Left the species that is likeliest at each petal; right how much the posterior's draws disagree there."""
    from jensen.studies.pictures import PALETTE, figure, save, styled

    @styled
    def regions():
        side = torch.linspace(-3, 3, 121)
        grid = torch.cartesian_prod(side, side)
        probability = model.probabilities(grid, **draws)
        mean = probability.mean(0).reshape(121, 121, 3)
        best = mean.argmax(-1, keepdim=True)
        spread = probability.std(0).reshape(121, 121, 3).gather(-1, best)[..., 0]
        picture = figure(10.0, 4.2)
        axes = picture.subplots(1, 2)
        axes[0].contourf(side, side, best[..., 0].T, levels=[-0.5, 0.5, 1.5, 2.5], colors=list(PALETTE[:3]), alpha=0.25)
        axes[0].contour(side, side, mean.max(-1).values.T, levels=[0.6, 0.9], colors="#555555", linewidths=0.8)
        axes[0].set_title("likeliest species (lines: 60% and 90%)")
        shades = axes[1].contourf(side, side, spread.T, levels=12, cmap="Greys")
        picture.colorbar(shades, ax=axes[1])
        axes[1].set_title("standard deviation of its probability")
        for axis in axes:
            for index, name in enumerate(data.target_names):
                x = data.train["x"][data.train["y"] == index][:, 2:]
                axis.scatter(*x.T, s=10, color=PALETTE[index], label=name)
            axis.set_xlabel("petal length, standardised")
            axis.set_ylabel("petal width, standardised")
        axes[0].legend(loc="upper left")
        return picture

    save(regions(), picture)
    print(f"picture: {picture}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--picture", default="", help="write the picture to this file")
    main(**vars(parser.parse_args()))
