"""Calm and stormy markets: a hidden Markov model of 32 years of monthly returns, scored on later years and drawn.

python examples/hidden_markov.py --picture markets.png
"""

from __future__ import annotations

import argparse

import pandas as pd
import torch
from matplotlib import cbook

from jensen.inference import EM
from jensen.models import HiddenMarkovModel

INDICES = ["^GSPC", "^IXIC"]  # the S&P 500 and the NASDAQ Composite


def monthly_returns() -> pd.DataFrame:
    """Percent a month, 1990 to 2022, of closing prices (Yahoo Finance) that ship with matplotlib."""
    with cbook.get_sample_data("Stocks.csv") as file:
        prices = pd.read_csv(file, comment="#", index_col="Date", parse_dates=True)
    prices = prices[INDICES].dropna()
    prices = prices[prices.index.day == 1]  # the file also has a row for some dividends
    return 100 * prices.pct_change().dropna()


def main(steps: int = 500, picture: str = "") -> None:
    returns = monthly_returns()
    x = torch.tensor(returns.to_numpy())[None]  # one sequence: (1, T, 2)
    past = int((returns.index < "2010").sum())

    # How many states? Fit the months before 2010, score those after as they follow on them.
    print("log likelihood of the months from 2010 on, given all before, in nats a month:")
    for num_states in (1, 2, 3):
        model = HiddenMarkovModel(num_states, num_features=2, covariance="full")
        fit = EM(steps=steps, restarts=5, dtype=torch.float64).fit(model, x[:, :past], seed=0)
        with torch.no_grad():
            later = fit.model.log_evidence({"x": x}) - fit.model.log_evidence({"x": x[:, :past]})
        print(f"  {num_states} state{'s' * (num_states > 1)}: {later.item() / (len(returns) - past):.3f}")

    model = HiddenMarkovModel(num_states=2, num_features=2, covariance="full")
    fit = EM(steps=steps, restarts=5, dtype=torch.float64).fit(model, x, seed=0)
    model = fit.model

    # States have no order of their own: the calm one first.
    with torch.no_grad():
        deviations = (model.scale_tril @ model.scale_tril.mT).diagonal(dim1=-2, dim2=-1).sqrt()
        order = deviations[:, 0].argsort()
        change = model.transition[order][:, order]
        chance = model.smooth({"x": x})[0][:, order]
        path = order.argsort()[model.predict({"x": x})[0]]
    print("regime    mean, % a month   standard deviation   stays for   months")
    for state, name in enumerate(("calm", "stormy")):
        mean, spread = model.means[order[state], 0].item(), deviations[order[state], 0].item()
        stay = 1 / (1 - change[state, state].item())
        print(f"  {name:7s} {mean:15.2f} {spread:20.2f} {stay:11.0f} {int((path == state).sum()):8d}")

    if picture:
        draw(returns, path, chance, change, picture)
        print(f"picture: {picture}")


def draw(returns: pd.DataFrame, path: torch.Tensor, chance: torch.Tensor, change: torch.Tensor, picture: str) -> None:
    """Returns coloured by the most probable path, the probability of a storm, and the transition matrix."""
    import matplotlib.dates as mdates
    from matplotlib.figure import Figure

    from jensen.studies.pictures import PALETTE, save, styled

    @styled
    def figure() -> Figure:
        drawing = Figure(figsize=(9, 4.8), layout="constrained")
        axes = drawing.subplot_mosaic([["x", "A"], ["p", "A"]], width_ratios=[4, 1.3], height_ratios=[3, 2])
        dates, values = returns.index, returns.iloc[:, 0]
        for state, name in enumerate(("calm", "stormy")):
            here = (path == state).numpy()
            axes["x"].bar(dates[here], values[here], width=27, color=PALETTE[state], label=name)
        axes["x"].set(title="S&P 500, coloured by the most probable path", ylabel="% a month")
        axes["x"].legend(ncols=2, loc="lower right")
        axes["x"].tick_params(labelbottom=False)
        axes["p"].fill_between(dates, chance[:, 1].numpy(), color=PALETTE[1], alpha=0.35, linewidth=0)
        axes["p"].plot(dates, chance[:, 1].numpy(), color=PALETTE[1], linewidth=1)
        axes["p"].set(title="Probability of a storm, given all months", ylim=(0, 1))
        for name in ("x", "p"):
            axes[name].set_xlim(dates[0], dates[-1])
            axes[name].xaxis.set_major_locator(mdates.YearLocator(5))
        axes["A"].imshow(change.numpy(), cmap="Blues", vmin=0, vmax=1.2)
        for row in range(2):
            for column in range(2):
                value = change[row, column].item()
                axes["A"].text(
                    column, row, f"{value:.2f}", ha="center", va="center", color="white" if value > 0.5 else "black"
                )
        names = ["calm", "stormy"]
        axes["A"].set(title="Transitions", xlabel="to", ylabel="from")
        axes["A"].set_xticks(range(2), names)
        axes["A"].set_yticks(range(2), names, rotation=90, va="center")
        return drawing

    save(figure(), picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--picture", default="", help="write the picture to this file")
    main(**vars(parser.parse_args()))
