"""Digits of which few are labelled: accuracy against the number of labels, and samples of every class.

python examples/semi_supervised.py --picture digits.png                          # scikit-learn's 8 x 8 digits
JENSEN_DATA=... python examples/semi_supervised.py --data mnist --steps 20000
"""

from __future__ import annotations

import argparse

import torch

from jensen.datasets import digits, hide_labels, mnist, threshold
from jensen.inference import SVI, AuxiliaryELBO, BetaELBO, Linear, log_evidence
from jensen.models import SemiSupervisedVAE


def main(steps: int = 800, data: str = "digits", picture: str = "") -> None:
    whole = threshold(mnist() if data == "mnist" else digits(test_size=0.2, seed=0))
    x, y = whole.test["x"], whole.test["y"]
    torch.manual_seed(0)  # of the start of the networks
    model = SemiSupervisedVAE(data_shape=x.shape[1], num_classes=10, latent_dim=10, hidden=(100,))
    # The KL is dear at first: so the decoder learns to use the class before the other latents explain everything.
    annealed = BetaELBO(Linear(5.0, 1.0, until=0.4))
    method = SVI(AuxiliaryELBO(annealed, weight=0.1), steps=steps, lr=3e-3, batch_size=100)

    accuracy: dict[str, float] = {}
    for num_labelled in (20, 50, 100):
        few = hide_labels(whole, num_labelled, seed=0)
        shown = few.train["y"] >= 0
        labelled = {name: value[shown] for name, value in few.train.items()}
        start = SVI(AuxiliaryELBO(weight=0.1), steps=min(steps, 300), lr=3e-3).fit(model, labelled, seed=0)
        accuracy["the labelled alone"] = correct(start.model, x, y)
        fit = method.fit(start.model, few.train, seed=0)  # goes on from there
        accuracy["with the unlabelled"] = correct(fit.model, x, y)
        row = ", ".join(f"{name} {value:.3f}" for name, value in accuracy.items())
        print(f"{num_labelled} labels: accuracy on {len(x)} held-out digits {row}")

    evidence = log_evidence(fit, {"x": x[:200]}, num_particles=50).per_datum
    print(f"log p(x), the class summed out: {evidence} nats per digit")

    if picture:
        draw(fit.model, picture)
        print(f"picture: {picture}")


@torch.no_grad()
def correct(model: SemiSupervisedVAE, x: torch.Tensor, y: torch.Tensor) -> float:
    """Share of the held-out data whose most probable class is right."""
    return float((model.classify(x).argmax(-1) == y).float().mean())


@torch.no_grad()
def draw(model: SemiSupervisedVAE, path: str) -> None:
    """One row for each class, one latent for each column."""
    from jensen.studies.pictures import reconstructions, save

    z = torch.randn(12, model.latent_dim, generator=torch.Generator().manual_seed(1))
    side = int(model.data_shape[0] ** 0.5)
    rows = {f"class {k}": model.decode(z, torch.full((len(z),), k)) for k in range(10)}
    save(reconstructions(rows, (side, side), title="A row for each class, a latent for each column"), path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits", help="mnist is read from JENSEN_DATA")
    parser.add_argument("--picture", default="", help="write images of every class to this file")
    main(**vars(parser.parse_args()))
