"""Autoencoders of digits, binarised afresh at every step: a flow against the diagonal posterior, and a plane to see.

python examples/vae_mnist.py                      # scikit-learn's 8 x 8 digits
JENSEN_DATA=... python examples/vae_mnist.py --data mnist --steps 20000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from jensen.datasets import DynamicBinarization, binarize, digits, mnist
from jensen.inference import SVI, Trace_ELBO, active_units, elbo_terms, log_evidence
from jensen.models import VAE
from jensen.studies.pictures import autoencoders, save


def main(steps: int = 5_000, data: str = "digits", out: str = "runs/vae_mnist", particles: int = 500) -> None:
    intensities = mnist() if data == "mnist" else digits(test_size=0.2, seed=0)
    train, bits = intensities.select("x").train, binarize(intensities, seed=0).test
    test = {"x": bits["x"][:500]}
    pixels = test["x"].shape[1]

    # z1..z8 in one Gaussian, the same bent by splines, and a latent of two dimensions that can be drawn as a plane
    torch.manual_seed(0)  # of the start of the networks
    models = {
        "diagonal": VAE(pixels, latent_dim=8, hidden=(200,)),
        "spline": VAE(pixels, latent_dim=8, hidden=(200,), posterior="spline"),
        "plane": VAE(pixels, latent_dim=2, hidden=(200,)),
    }
    method = SVI(Trace_ELBO(), steps=steps, lr=1e-3, batch_size=100, transform=DynamicBinarization())
    fitted = {}
    for name, model in models.items():
        fit = method.fit(model, train, seed=0)
        bound = elbo_terms(fit, test, num_particles=50).per_datum
        evidence = log_evidence(fit, test, num_particles=particles).per_datum
        units = active_units(fit, test).value
        print(f"{name}: bound {bound}, log evidence {evidence} nats per image, {units:.0f} latent dimensions in use")
        fitted[name] = fit.model

    folder, x = Path(out), test["x"]
    pictures = {
        "reconstructions": autoencoders.uncertain_reconstructions(fitted["spline"], x[:10]),
        "samples": autoencoders.samples(fitted["spline"]),
        "traversal": autoencoders.latent_traversal(fitted["spline"], x),
        "interpolation": autoencoders.interpolation(fitted["spline"], x[:4], x[4:8]),
        "manifold": autoencoders.manifold(fitted["plane"]),
        "latent_map": autoencoders.latent_map(fitted["plane"], x, bits["y"][:500]),
    }
    for name, picture in pictures.items():
        save(picture, folder / f"{name}.png")
    print(f"pictures are in {folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits", help="mnist is read from JENSEN_DATA")
    parser.add_argument("--out", default="runs/vae_mnist", help="folder for the pictures")
    parser.add_argument("--particles", type=int, default=500, help="draws per image for the evidence")
    main(**vars(parser.parse_args()))
