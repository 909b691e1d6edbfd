"""A variational autoencoder of handwritten digits: mini-batches, held-out evidence, reconstructions and samples.

python examples/vae_digits.py --out runs/vae
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from jensen.datasets import digits, threshold
from jensen.inference import SVI, TraceMeanField_ELBO, active_units, log_evidence
from jensen.models import VAE
from jensen.studies.pictures import save
from jensen.studies.pictures.autoencoders import reconstructions, samples


def main(steps: int = 3_000, out: str = "runs/vae", particles: int = 1_000) -> None:
    data = threshold(digits(test_size=0.2, seed=0)).select("x")
    test = data.test["x"]

    torch.manual_seed(0)  # of the start of the networks
    model = VAE(data_shape=64, latent_dim=8, hidden=(200,))
    fit = SVI(TraceMeanField_ELBO(), steps=steps, lr=2e-3, batch_size=128).fit(model, data.train, seed=0)
    print(fit)

    evidence = log_evidence(fit, data.test, num_particles=particles)
    print(f"log evidence of {len(test)} held-out digits: {evidence.per_datum} nats per datum")
    print(f"latent dimensions in use: {active_units(fit, data.test).value:.0f} of {model.latent_dim}")

    folder = Path(out)
    save(reconstructions(fit.model, test[:10]), folder / "reconstructions.png")
    save(samples(fit.model), folder / "samples.png")
    fit.save(folder / "fit")
    print(f"pictures and the fit are in {folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--out", default="runs/vae")
    parser.add_argument("--particles", type=int, default=1_000, help="draws per image for the evidence")
    main(**vars(parser.parse_args()))
