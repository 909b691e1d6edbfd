"""Customer segments from a store's purchases: two mixtures of counts by EM, their number by BIC, and their profiles.

python examples/customer_segments.py --picture segments.png
"""

from __future__ import annotations

import argparse
import math

import torch
from sklearn.metrics import adjusted_rand_score

from jensen.datasets import purchases
from jensen.inference import EM
from jensen.models import MultinomialMixture, PoissonMixture


def main(steps: int = 300, customers: int = 2_000, picture: str = "", volumes: str = "") -> None:
    # One store where customers of a segment buy alike, and one where they differ in how much they buy.
    stores = {"equal volumes": purchases(customers), "varied volumes": purchases(customers, volume_spread=0.6)}
    chosen = {}
    for store, data in stores.items():
        x, segment = data.train["x"], data.truth["assignment"]
        print(f"{store}: {len(x):,} customers of {len(data.target_names)} segments, {x.sum(1).mean():.0f} items each")
        for family in (PoissonMixture, MultinomialMixture):
            fits = {
                number: EM(steps=steps, restarts=5, progress=False).fit(family(number, x.shape[1]), x, seed=0)
                for number in range(2, 10)
            }
            best = min(fits, key=lambda number: bic(fits[number].model, x))
            label = fits[best].model.predict({"x": x}).argmax(-1)
            rand = adjusted_rand_score(segment, label)
            print(f"  {family.__name__}: {best} segments by BIC, adjusted Rand index {rand:.3f}")
            chosen[store, family] = fits[best].model

    for file, store, family in (
        (picture, "equal volumes", PoissonMixture),
        (volumes, "varied volumes", MultinomialMixture),
    ):
        if file:
            draw_profiles(chosen[store, family], stores[store], file)
            print(f"picture: {file}")


@torch.no_grad()
def bic(model: PoissonMixture | MultinomialMixture, x: torch.Tensor) -> float:
    """Schwarz's criterion, lower is better: the shares of a multinomial sum to 1, the rates of a Poisson are free."""
    free = x.shape[1] - isinstance(model, MultinomialMixture)
    parameters = model.num_components - 1 + model.num_components * free
    return parameters * math.log(len(x)) - 2 * float(model.log_evidence({"x": x}).sum())


@torch.no_grad()
def draw_profiles(model: PoissonMixture | MultinomialMixture, data, file: str) -> None:
    """A panel for each segment found: its profile as bars, the nearest true segment's as ticks."""
    from jensen.studies.pictures import colour, figure, save

    kind = "rates" if isinstance(model, PoissonMixture) else "probs"
    truth = data.truth["rates" if kind == "rates" else "tastes"]
    profiles = getattr(model, kind)
    order = model.weights.argsort(descending=True).tolist()
    drawn = figure(1.3 + 1.75 * len(order), 3.4)
    for number, (axes, k) in enumerate(zip(drawn.subplots(1, len(order), sharey=True), order, strict=True)):
        nearest = int((truth.sqrt() - profiles[k].sqrt()).square().sum(1).argmin())
        rows = range(len(data.feature_names))
        axes.barh(rows, profiles[k].numpy(), color=colour(number), alpha=0.75)
        axes.plot(truth[nearest].numpy(), rows, "|", color="black", markersize=9)
        axes.set_yticks(rows, data.feature_names)
        axes.set_title(f"{model.weights[k]:.0%}: {data.target_names[nearest]}", fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    drawn.axes[0].invert_yaxis()
    drawn.supxlabel("items a month" if kind == "rates" else "share of the basket", fontsize=10)
    save(drawn, file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--picture", default="", help="write the Poisson mixture's profiles to this file")
    parser.add_argument("--volumes", default="", help="write the multinomial mixture's of varied volumes to this file")
    main(**vars(parser.parse_args()))
