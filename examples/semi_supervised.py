"""Digits of which few are labelled: accuracy against the number of labels, and samples of every class.

python examples/semi_supervised.py --picture digits.png                          # scikit-learn's 8 x 8 digits
JENSEN_DATA=... python examples/semi_supervised.py --data mnist --steps 20000
"""

from __future__ import annotations

import argparse

import torch

from jensen.datasets import digits, hide_labels, mnist, threshold
from jensen.inference import SVI, AuxiliaryELBO, log_evidence
from jensen.models import SemiSupervisedVAE


def main(steps: int = 800, data: str = "digits", picture: str = "") -> None:
    whole = threshold(mnist() if data == "mnist" else digits(test_size=0.2, seed=0))
    x, y = whole.test["x"], whole.test["y"]
    model = SemiSupervisedVAE(data_shape=x.shape[1], num_classes=10, latent_dim=10, hidden=(100,))
    method = SVI(AuxiliaryELBO(weight=0.1), steps=steps, lr=3e-3, batch_size=100)

    accuracy: dict[str, dict[int, float]] = {"with the unlabelled": {}, "the labelled alone": {}}
    for num_labelled in (20, 50, 100):
        few = hide_labels(whole, num_labelled, seed=0)
        fit = method.fit(model, few.train, seed=0)
        accuracy["with the unlabelled"][num_labelled] = correct(fit.model, x, y)

        # The same program and objective, given nothing but the labelled rows.
        shown = few.train["y"] >= 0
        labelled = {name: value[shown] for name, value in few.train.items()}
        alone = SVI(AuxiliaryELBO(weight=0.1), steps=min(steps, 300), lr=3e-3).fit(model, labelled, seed=0)
        accuracy["the labelled alone"][num_labelled] = correct(alone.model, x, y)
        row = ", ".join(f"{name} {values[num_labelled]:.3f}" for name, values in accuracy.items())
        print(f"{num_labelled} labels: accuracy on {len(x)} held-out digits {row}")

    evidence = log_evidence(fit, {"x": x[:200]}, num_particles=50).per_datum
    print(f"log p(x), the class summed out: {evidence} nats per digit")

    if picture:
        draw(fit.model, accuracy, picture)
        print(f"picture: {picture}")


@torch.no_grad()
def correct(model: SemiSupervisedVAE, x: torch.Tensor, y: torch.Tensor) -> float:
    """Share of the held-out data whose most probable class is right."""
    return float((model.classify(x).argmax(-1) == y).float().mean())


@torch.no_grad()
def draw(model: SemiSupervisedVAE, accuracy: dict[str, dict[int, float]], path: str) -> None:
    """One row for each class, one latent for each column; beside it, accuracy against labels."""
    from jensen.studies.style import colour, figure, save, styled

    columns = 12
    z = torch.randn(columns, model.latent_dim, generator=torch.Generator().manual_seed(1))
    images = model.decode(z.repeat(10, 1), torch.arange(10).repeat_interleave(columns))
    side = int(images.shape[1] ** 0.5)
    sheet = images.reshape(10, columns, side, side).permute(0, 2, 1, 3).reshape(10 * side, columns * side)

    @styled
    def both():  # type: ignore[no-untyped-def]
        drawing = figure(9.5, 4.2)
        left, right = drawing.subplots(1, 2, width_ratios=(1.15, 1))
        left.imshow(1 - sheet.numpy(), cmap="gray", vmin=0, vmax=1)
        left.set_yticks([side * (k + 0.5) for k in range(10)], [str(k) for k in range(10)])
        left.set_xticks([])
        left.set_title("A row for each class, a latent for each column")
        for i, (name, values) in enumerate(accuracy.items()):
            right.plot(list(values), list(values.values()), "o-", color=colour(i), label=name)
        right.set_xscale("log")
        right.set_xticks(list(values), [str(k) for k in values])
        right.minorticks_off()
        right.set_xlabel("labels")
        right.set_title("Accuracy on held-out digits")
        right.legend()
        return drawing

    save(both(), path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits", help="mnist is read from JENSEN_DATA")
    parser.add_argument("--picture", default="", help="write the samples and the accuracies to this file")
    main(**vars(parser.parse_args()))
