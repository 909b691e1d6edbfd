"""Images with holes: an autoencoder trained with random masks draws several completions of each.

python examples/inpainting.py --picture completions.png
"""

from __future__ import annotations

import argparse

import torch

from jensen.datasets import RandomMasks, digits, mnist, threshold
from jensen.inference import SVI, TraceMeanField_ELBO, log_evidence
from jensen.models import InpaintingVAE, PartialConvolutionalEncoder


def main(steps: int = 6_000, data: str = "digits", picture: str = "", particles: int = 500) -> None:
    images = threshold(mnist() if data == "mnist" else digits(test_size=0.2, seed=0)).select("x")
    pixels = images.train["x"].shape[1]
    side = round(pixels**0.5)
    images = images.map(lambda batch: {"x": batch["x"].view(-1, side, side)})

    masks = RandomMasks(("rectangle", "pixels", "half"))
    images = masks.hide(images, seed=0)  # masks of the held-out images; those of the training are drawn at each step
    torch.manual_seed(0)  # of the start of the networks
    models = {
        "perceptron": InpaintingVAE((side, side), latent_dim=16, hidden=(200,)),
        "partial convolutions": InpaintingVAE(
            (side, side),
            latent_dim=16,
            prior_network=PartialConvolutionalEncoder((side, side), 16, channels=(16, 32)),
            hidden=(200,),
        ),
    }
    method = SVI(TraceMeanField_ELBO(), steps=steps, lr=1e-3, batch_size=128, transform=masks)
    fits = {name: method.fit(model, images.train, seed=0) for name, model in models.items()}

    test = {name: value[:500] for name, value in images.test.items()}
    x, mask = test["x"], test["mask"]
    hidden = 1 - mask
    mean = images.train["x"].mean(0)
    print(f"mean of the training images: squared error {error(mean, x, hidden):.3f} per hidden pixel")
    for name, fit in fits.items():
        guess = fit.model.complete(x, mask, num_draws=50, seed=0).mean(0)
        evidence = log_evidence(fit, test, num_particles=particles).per_datum
        print(f"{name}: squared error {error(guess, x, hidden):.3f}, log p(hidden | seen) {evidence} nats per image")

    if picture:
        from jensen.studies.pictures import reconstructions, save

        model = fits["partial convolutions"].model
        holes = RandomMasks(("half", "rectangle"))({"x": x[:10]}, 3)["mask"]
        drawn = model.complete(x[:10], holes, num_draws=50, seed=1)
        rows = {"data": x[:10], "seen (grey: hidden)": torch.where(holes > 0, x[:10], torch.full_like(holes, 0.4))}
        rows |= {f"completion {k + 1}": drawn[k] for k in range(3)} | {"mean of 50": drawn.mean(0)}
        flat = {label: row.flatten(1) for label, row in rows.items()}
        save(reconstructions(flat, (side, side), title="Held-out digits completed"), picture)
        print(f"picture: {picture}")


def error(guess: torch.Tensor, x: torch.Tensor, hidden: torch.Tensor) -> float:
    return ((guess - x).square() * hidden).sum().item() / hidden.sum().item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits", help="mnist is read from JENSEN_DATA")
    parser.add_argument("--picture", default="", help="write completions to this file")
    parser.add_argument("--particles", type=int, default=500, help="draws per image for the evidence")
    main(**vars(parser.parse_args()))
