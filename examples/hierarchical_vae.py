"""Two stochastic layers against one, on handwritten digits: evidence, dimensions in use, and what they draw.

python examples/hierarchical_vae.py --picture digits.png
"""

from __future__ import annotations

import argparse

import torch

from jensen.datasets import digits, threshold
from jensen.inference import IWAE, SVI, active_units, log_evidence
from jensen.models import VAE, HierarchicalVAE


def main(steps: int = 4_000, picture: str = "", particles: int = 500) -> None:
    data = threshold(digits(test_size=0.2, seed=0)).select("x")
    torch.manual_seed(0)  # of the start of the networks
    models = {
        "one layer": VAE(64, latent_dim=8, hidden=(100,)),
        "two layers": HierarchicalVAE(64, latent_dims=(16, 8), hidden=(100,), upper_hidden=(50,)),
    }
    method = SVI(IWAE(5), steps=steps, lr=1e-3, batch_size=128)
    fits = {name: method.fit(model, data.train, seed=0) for name, model in models.items()}
    for name, fit in fits.items():
        evidence = log_evidence(fit, data.test, num_particles=particles).per_datum
        units = active_units(fit, data.test).details["count"]
        used = ", ".join(f"{count} of {site}" for site, count in units.items())
        print(f"{name}: log evidence {evidence} nats per held-out digit; dimensions in use: {used}")

    if picture:
        from jensen.studies.pictures import reconstructions, save

        model, x = fits["two layers"].model, data.test["x"][:10]
        with torch.no_grad():
            drawn = [model.decode(model.generate(10, seed=seed)["z1"]) for seed in (0, 1)]
            rows = {"data": x, "reconstruction": model.reconstruct(x), "drawn": drawn[0], "drawn too": drawn[1]}
        save(reconstructions(rows, (8, 8), title="Digits: two stochastic layers"), picture)
        print(f"picture: {picture}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--picture", default="", help="write reconstructions and draws to this file")
    parser.add_argument("--particles", type=int, default=500, help="draws per image for the evidence")
    main(**vars(parser.parse_args()))
