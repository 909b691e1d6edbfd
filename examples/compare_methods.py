"""A comparison in a few lines: three guides, two seeds, one table and one page. Run it again: nothing is refitted.

python examples/compare_methods.py --out runs
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jensen.datasets import breast_cancer
from jensen.inference import IWAE, SVI, Trace_ELBO
from jensen.models import BayesianLogisticRegression
from jensen.studies import Study


def main(steps: int = 2_000, out: str = "runs", jobs: int = 1) -> None:
    study = Study(
        "guides",
        model=BayesianLogisticRegression(30),
        data=breast_cancer(),
        methods={
            "normal": SVI(Trace_ELBO(), steps=steps, lr=2e-2, guide="normal"),
            "full covariance": SVI(Trace_ELBO(), steps=steps, lr=2e-2, guide="multivariate_normal"),
            "normal, IWAE(10)": SVI(IWAE(10), steps=steps, lr=2e-2, guide="normal"),
        },
        seeds=range(2),
    )
    result = study.run(out, jobs=jobs)
    print(result)
    print("report:", result.report(Path(out) / "guides.html"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--out", default="runs")
    parser.add_argument("--jobs", type=int, default=1)
    main(**vars(parser.parse_args()))
