"""Digits with holes: probabilistic PCA learns from them as they are, and fills them in.

python examples/ppca.py --picture digits.png
"""

from __future__ import annotations

import argparse

import torch

from jensen.datasets import digits
from jensen.inference import EM
from jensen.models import PPCA


def main(steps: int = 200, picture: str = "") -> None:
    data = digits(test_size=0.2)
    train, test = (part["x"].reshape(-1, 64).to(torch.float64) for part in (data.train, data.test))
    method = EM(steps=steps, progress=False, dtype=torch.float64)

    # Complete data: EM climbs to the optimum that is known in closed form.
    model = PPCA(64, 16).double()
    model.set_optimum({"x": train})
    with torch.no_grad():
        optimum = model.log_evidence({"x": train}).mean().item()
    fit = method.fit(PPCA(64, 16), train)
    climbed = fit.history.bound_per_datum.iloc[-1]
    print(f"complete digits: EM {climbed:.4f}, closed form {optimum:.4f} nats per digit")

    # Two pixels in five are missing, also in the digits to learn from.
    gaps = [holes(x, seed) for seed, x in enumerate((train, test))]
    fit = method.fit(PPCA(64, 16), gaps[0])
    filled = fit.model.impute({"x": gaps[1]})
    hidden = gaps[1].isnan()
    error = (filled - test)[hidden].square().mean().sqrt()
    plain = (gaps[0].nanmean(0) - test)[hidden].square().mean().sqrt()
    print(f"error of {int(hidden.sum())} missing pixels of {len(test)} new digits: {error:.4f} (means: {plain:.4f})")

    if picture:
        from jensen.studies.pictures import save

        fit.model.rotate("principal")
        save(draw(gaps[1][:12], filled[:12], test[:12], fit.model.weight.detach().T[:12]), picture)
        print(f"picture: {picture}")


def holes(x: torch.Tensor, seed: int, share: float = 0.4) -> torch.Tensor:
    """NaN in that share of the pixels, at random."""
    return x.masked_fill(torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < share, torch.nan)


def draw(gaps, filled, truth, axes):
    from jensen.studies.pictures import figure, styled

    @styled
    def panels():
        page = figure(9.0, 3.6)
        rows = {"given": gaps, "filled in": filled, "truth": truth, "axes": axes}
        for cell, (name, images) in zip(page.subplots(4, 1), rows.items(), strict=True):
            strip = torch.nn.functional.pad(images.reshape(-1, 8, 8), (0, 1), value=torch.nan)
            strip = strip.permute(1, 0, 2).flatten(1)[:, :-1]
            span = images[~images.isnan()].abs().max().item()
            limits = (-span, span) if name == "axes" else (0.0, span)
            colours = "RdBu_r" if name == "axes" else "gray_r"
            cell.imshow(strip.numpy(), cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="nearest")
            if name == "given":
                missing = images.isnan().reshape(-1, 8, 8)
                shade = torch.nn.functional.pad(missing, (0, 1)).permute(1, 0, 2).flatten(1)[:, :-1].double().numpy()
                cell.imshow(shade, cmap="Oranges", alpha=0.45 * shade, vmin=0, vmax=1, interpolation="nearest")
            cell.set(xticks=[], yticks=[])
            cell.set_ylabel(name, rotation=0, ha="right", va="center")
            cell.spines[:].set_visible(False)
        return page

    return panels()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--picture", default="", help="write digits, imputations and principal axes to this file")
    main(**vars(parser.parse_args()))
