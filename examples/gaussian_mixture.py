"""A Gaussian mixture on wine: assignments summed out exactly, clusters compared with the cultivars, and drawn.

python examples/gaussian_mixture.py --picture wine.png
"""

from __future__ import annotations

import argparse

import torch

from jensen.datasets import wine
from jensen.inference import EM, SVI, TraceEnum_ELBO
from jensen.models import GaussianMixture


def main(steps: int = 1_000, picture: str = "") -> None:
    data = wine()
    model, x = GaussianMixture(num_components=3, num_features=13), data.select("x").train

    # Two ways up the same likelihood: gradients, and closed-form steps.
    gradients = SVI(TraceEnum_ELBO(), steps=steps, lr=1e-2).fit(model, x, seed=0)
    fit = EM(restarts=3).fit(model, x, seed=0)
    print(fit)
    for one in (gradients, fit):
        bound = one.history.bound_per_datum.iloc[-1]
        print(f"{one.method}: {bound:.4f} nats per datum after {one.info['steps']} steps, {one.info['seconds']:.2f} s")

    # The bound is the likelihood itself: nothing is approximated.
    with torch.no_grad():
        exact = fit.model.log_evidence({"x": data.train["x"]}).mean()
        cluster = fit.model.predict({"x": data.train["x"]}).argmax(-1)
    print(f"exact log likelihood: {exact:.4f} nats per datum")

    print("wines of each cultivar in each cluster:")
    counts = torch.zeros(3, 3, dtype=torch.long)
    counts.index_put_((data.train["y"], cluster), torch.tensor(1), accumulate=True)
    for name, row in zip(data.target_names, counts.tolist(), strict=True):
        print(f"  {name}  " + "".join(f"{count:5d}" for count in row))

    if picture:
        from jensen.studies.pictures import mixture_ellipses, save

        model = fit.model
        with torch.no_grad():
            drawn = mixture_ellipses(data.train["x"], model.means, model.covariance, model.weights, data.train["y"])
        save(drawn, picture)
        print(f"picture: {picture}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--picture", default="", help="write the mixture's picture to this file")
    main(**vars(parser.parse_args()))
