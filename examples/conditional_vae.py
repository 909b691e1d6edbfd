"""A conditional autoencoder of handwritten digits: the label is given, the latent keeps the style.

python examples/conditional_vae.py --picture labels.png
"""

from __future__ import annotations

import argparse

import torch

from jensen.datasets import digits, mnist, threshold
from jensen.inference import SVI, TraceMeanField_ELBO, log_evidence
from jensen.models import ConditionalVAE


def main(steps: int = 4_000, data: str = "digits", picture: str = "", particles: int = 500) -> None:
    from sklearn.linear_model import LogisticRegression

    images = threshold(mnist() if data == "mnist" else digits(test_size=0.2, seed=0))
    test = {name: value[:500] for name, value in images.test.items()}
    pixels = test["x"].shape[1]

    torch.manual_seed(0)  # of the start of the networks
    model = ConditionalVAE(pixels, latent_dim=8, num_classes=10, hidden=(200,))
    method = SVI(TraceMeanField_ELBO(), steps=steps, lr=1e-3, batch_size=128)
    fit = method.fit(model, images.train, seed=0)
    evidence = log_evidence(fit, test, num_particles=particles).per_datum
    print(f"log p(x | label): {evidence} nats per held-out digit")

    # Does someone who has seen only real digits read what is drawn as its label?
    reader = LogisticRegression(max_iter=1_000).fit(images.train["x"][:5_000], images.train["y"][:5_000])
    y = torch.arange(10).repeat_interleave(100)
    drawn = fit.model.generate(len(y), y=y, seed=0)["x"]
    print(f"drawn digits read as their label: {reader.score(drawn, y):.1%}")
    print(f"real held-out digits read as theirs: {reader.score(test['x'], test['y']):.1%}")

    if picture:
        from jensen.studies.pictures import reconstructions, save

        with torch.no_grad():
            # each column: the latent of one real digit, decoded under every label
            chosen = torch.arange(10)
            style, _ = fit.model.encode(test["x"][chosen], test["y"][chosen])
            rows = {"data": test["x"][chosen]} | {
                f"as a {label}": fit.model.decode(style, label) for label in range(10)
            }
        side = round(pixels**0.5)
        save(reconstructions(rows, (side, side), title="The style of a digit under other labels"), picture)
        print(f"picture: {picture}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits", help="mnist is read from JENSEN_DATA")
    parser.add_argument("--picture", default="", help="write the digits under other labels to this file")
    parser.add_argument("--particles", type=int, default=500, help="draws per image for the evidence")
    main(**vars(parser.parse_args()))
