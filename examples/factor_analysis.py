"""Factors behind the chemistry of wine: how many, what they mean, where the wines lie, and missing values filled in.

python examples/factor_analysis.py --picture factors.png
"""

from __future__ import annotations

import argparse

import torch

from jensen.datasets import wine
from jensen.inference import EM
from jensen.models import PPCA, FactorAnalysis


def held_out(make: type[FactorAnalysis | PPCA], factors: int, x: torch.Tensor, method: EM, folds: int = 5) -> float:
    """Evidence of rows that the fit has not seen, in nats per wine."""
    fold = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)) % folds
    total = 0.0
    for k in range(folds):
        fit = method.fit(make(x.shape[1], factors), x[fold != k])
        with torch.no_grad():
            total += fit.model.log_evidence({"x": x[fold == k]}).sum().item()
    return total / len(x)


def main(steps: int = 500, picture: str = "") -> None:
    data, method = wine(dtype=torch.float64), EM(steps=steps, progress=False, dtype=torch.float64)
    x, names = data.train["x"], data.feature_names

    # How many factors? As many as predict best what was not seen.
    numbers = range(1, 8)
    evidence = {make: [held_out(make, number, x, method) for number in numbers] for make in (FactorAnalysis, PPCA)}
    for make, values in evidence.items():
        print(f"{make.__name__:15s}" + "".join(f"{value:9.2f}" for value in values))
    best = max(numbers, key=lambda number: evidence[FactorAnalysis][number - 1])
    print(f"held-out evidence, nats per wine, for 1 to 7 factors: best with {best} factors")

    # What are they? Varimax turns them so that each measurement loads on few.
    fit = method.fit(FactorAnalysis(len(names), best), x)
    fit.model.rotate("varimax")
    weight = fit.model.weight.detach()
    for factor, column in enumerate(weight.T, 1):
        order = column.abs().argsort(descending=True)[:4].tolist()
        print(f"factor {factor}: " + ", ".join(f"{column[d]:+.2f} {names[d]}" for d in order))

    # A fifth of the values are hidden, and filled in from the others of the same wine.
    hidden = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.2
    gaps = x.masked_fill(hidden, torch.nan)
    filled = method.fit(FactorAnalysis(len(names), best), gaps).model.impute({"x": gaps})
    error = (filled - x)[hidden].square().mean().sqrt()
    plain = (gaps.nanmean(0) - x)[hidden].square().mean().sqrt()
    print(f"error of {int(hidden.sum())} imputed values: {error:.3f} sd (column means: {plain:.3f})")

    if picture:
        from jensen.studies.pictures import save

        scores = fit.model.predict({"x": x})
        arrays = (weight, scores, data.train["y"], x[hidden], filled[hidden])
        save(draw(names, evidence, *(array.numpy() for array in arrays)), picture)
        print(f"picture: {picture}")


def draw(names, evidence, weight, scores, cultivar, truth, imputed):
    from jensen.studies.pictures import colour, figure, styled

    @styled
    def panels():
        page = figure(8.4, 6.4)
        (heat, curve), (chart, gaps) = page.subplots(2, 2)
        image = heat.imshow(weight, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        heat.set_yticks(range(len(names)), [name[:20] for name in names], fontsize=8)
        heat.set_xticks(range(weight.shape[1]), [f"{k + 1}" for k in range(weight.shape[1])])
        heat.set(title="Loadings after varimax", xlabel="factor")
        page.colorbar(image, ax=heat, label="standard deviations", aspect=40)
        for index, (make, values) in enumerate(evidence.items()):
            curve.plot(range(1, len(values) + 1), values, "os"[index] + "-", color=colour(index), label=make.__name__)
        curve.set(title="How many factors", xlabel="factors", ylabel="held-out evidence, nats per wine")
        curve.legend()
        for index in range(3):
            chart.scatter(*scores[cultivar == index, :2].T, s=14, color=colour(index), label=f"cultivar {index}")
        chart.set(title="Wines by their factors", xlabel="factor 1", ylabel="factor 2")
        chart.legend(fontsize=8, loc="upper right")
        gaps.axline((0, 0), slope=1, color="#B8B8B8", linewidth=1)
        gaps.scatter(truth, imputed, s=6, color=colour(0))
        gaps.set(title="Imputed values", xlabel="truth, standard deviations", ylabel="conditional mean")
        return page

    return panels()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--picture", default="", help="write loadings, evidence, map and imputations to this file")
    main(**vars(parser.parse_args()))
