"""Handwritten digits as a few codes each: a vector-quantised autoencoder, scored by its own loss.

python examples/vqvae.py --picture codes.png
"""

from __future__ import annotations

import argparse
import math

import torch

from jensen.datasets import digits, mnist, threshold
from jensen.inference import LossMinimization
from jensen.models import VQVAE


def main(steps: int = 5_000, data: str = "digits", picture: str = "") -> None:
    images = threshold(mnist() if data == "mnist" else digits(test_size=0.2, seed=0)).select("x")
    test = images.test["x"][:500]
    pixels = test.shape[1]

    torch.manual_seed(0)  # of the start of the networks
    model = VQVAE(pixels, num_codes=32, codes_per_datum=6, code_dim=8, hidden=(200,))
    method = LossMinimization(steps=steps, lr=1e-3, batch_size=128)
    fit = method.fit(model, images.train, seed=0, validation={"x": test})
    last = fit.history.iloc[-1]
    print(f"{pixels} pixels in {model.codes_per_datum * math.log2(32):.0f} bits: {model.codes_per_datum} of 32 codes")
    print(
        f"held-out loss {last.validation_loss:.2f}, of which reconstruction {last.validation_reconstruction:.2f} nats"
    )
    print(f"perplexity of the codebook: {last.validation_perplexity:.1f} of 32")
    error = (fit.model.reconstruct(test) - test).square().mean()
    of_mean = (images.train["x"].mean(0) - test).square().mean()
    print(f"squared error {error:.4f} per pixel; of the mean image {of_mean:.4f}")

    if picture:
        from jensen.studies.pictures import reconstructions, save

        rows = {"data": test[:10], "from its codes": fit.model.reconstruct(test[:10]).detach()}
        for place in (0, 3):  # other codes in one place, the others kept
            codes = fit.model.encode(test[:1]).repeat(10, 1)
            codes[:, place] = fit.model.frequencies[place].topk(10).indices
            rows[f"code {place + 1} changed"] = fit.model.decode(codes).detach()
        drawn = fit.model.generate(10, seed=0)["codes"]
        rows["codes drawn"] = fit.model.decode(drawn).detach()
        side = round(pixels**0.5)
        save(reconstructions(rows, (side, side), title="Digits in six codes of 32"), picture)
        print(f"picture: {picture}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits", help="mnist is read from JENSEN_DATA")
    parser.add_argument("--picture", default="", help="write reconstructions to this file")
    main(**vars(parser.parse_args()))
