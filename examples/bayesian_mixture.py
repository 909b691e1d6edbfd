"""A Bayesian Gaussian mixture that starts with ten components on wines, and keeps those that the data ask for.

python examples/bayesian_mixture.py --picture wine.png
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from jensen.datasets import wine
from jensen.inference import CAVI, align_labels, log_evidence
from jensen.models import BayesianGaussianMixture


def main(steps: int = 1_000, picture: str = "") -> None:
    data = wine()
    cultivar = data.train["y"]
    # The 13 measurements on their first two principal axes: where the mixture lives is where it is drawn.
    centred = data.train["x"] - data.train["x"].mean(0)
    x = centred @ torch.linalg.svd(centred, full_matrices=False)[2][:2].mT

    # Ten components, of which the prior leaves those without data almost no weight.
    model = BayesianGaussianMixture(num_components=10, num_features=2)
    fit = CAVI(steps=steps, restarts=10, dtype=torch.float64).fit(model, x, seed=0)
    print(fit)
    draws = fit.posterior(2_000, seed=0)
    order = draws["weights"].mean(0).argsort(descending=True)
    draws = {name: value[:, order] for name, value in draws.items()}
    mean, spread = draws["weights"].mean(0), draws["weights"].std(0)
    kept = int((mean > 0.01).sum())
    print(f"components that keep some weight: {kept} of 10")
    for k in range(kept):
        print(f"  {mean[k]:.3f} +- {spread[k]:.3f}")

    # The cultivars were not shown to the fit; its labels are given their names as well as they agree.
    label = align_labels(fit.guide.predict(fit.data).argmax(-1), cultivar)
    print(f"wines in the component of their cultivar: {int((label == cultivar).sum())} of {len(x)}")
    bound, evidence = fit.history.bound.iloc[-1], log_evidence(fit, num_particles=5_000)
    print(f"bound {bound:.2f}, log evidence {evidence} (nats, total, one labelling of the components)")

    if picture:
        from jensen.studies.pictures import save

        save(draw(x, cultivar, list(data.target_names), draws, kept), picture)
        print(f"picture: {picture}")


def draw(x: torch.Tensor, cultivar: torch.Tensor, names: list[str], draws: dict[str, torch.Tensor], kept: int) -> Any:
    """Wines, posterior draws of each component's ellipse, and the posterior of all ten weights."""
    from jensen.studies.pictures import colour, figure, styled

    @styled
    def drawn() -> Any:
        angle = torch.linspace(0, 2 * torch.pi, 100, dtype=draws["means"].dtype)
        circle = torch.stack([angle.cos(), angle.sin()], -1)
        picture = figure(6.8, 3.4)
        left, right = picture.subplots(1, 2, gridspec_kw={"width_ratios": [5, 3]})
        # An ellipse of 2 sd: the points m + 2 L^-T u, whose precision is L L^T.
        away = torch.linalg.solve_triangular(draws["precision_tril"].mT, 2 * circle.mT, upper=True).mT
        ellipses = draws["means"].unsqueeze(2) + away
        for k in range(kept):
            for ellipse in ellipses[:10, k]:
                left.plot(*ellipse.mT, color=colour(k), linewidth=0.5, alpha=0.4)
        for number, name in enumerate(names):
            left.scatter(*x[cultivar == number].mT, s=12, marker="osD"[number], facecolor="#666666", lw=0, label=name)
        for k in range(kept):
            box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colour(k)}
            text = f"{draws['weights'][:, k].mean():.0%}"
            left.text(*draws["means"][:, k].mean(0), text, color=colour(k), weight="bold", ha="center", bbox=box)
        left.set(xlabel="first principal axis", ylabel="second principal axis")
        left.set_title("Components: 2 sd, 10 draws each")
        left.set_aspect("equal", adjustable="datalim")
        left.legend(fontsize=8, title="cultivar", title_fontsize=8, loc="upper left")
        shades = [colour(k) if k < kept else "#B8B8B8" for k in range(draws["weights"].shape[1])]
        places = range(1, len(shades) + 1)
        parts = right.violinplot(draws["weights"].numpy(), showextrema=False, widths=0.9)
        for body, shade in zip(parts["bodies"], shades, strict=True):
            body.set(facecolor=shade, alpha=0.5)
        right.scatter(places, draws["weights"].mean(0), color=shades, s=14)
        right.set(xlabel="component", ylabel="weight", ylim=(-0.01, None), xticks=places)
        right.set_title("Posterior of the weights")
        return picture

    return drawn()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--picture", default="", help="write the picture of components and weights to this file")
    main(**vars(parser.parse_args()))
