"""Make the moments of `jensen.datasets.targets` that have no closed form, and check all of them by two samplers.

Each target is drawn from by jensen's NUTS and by NumPyro's, whose programs are written anew. Their means, sds and
quantiles must agree with each other, and with the exact ones where there are any, within four standard errors each;
R-hat must be below 1.005, and where moments are written the effective sample sizes of both above 20,000. Only then the
files are written, from the draws of both. The centred eight schools have the moments of those that are not centred, and
the funnel's are checked by the tests: NUTS is not right on either.

    python benchmarks/reference_moments.py --write      # needs numpyro: pip install -e '.[bench]'
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jensen.datasets import breast_cancer, targets
from jensen.datasets.targets.logistic_regression import logistic_regression_model
from jensen.datasets.targets.mixture import VALUES, mixture_model
from jensen.inference import NUTS
from jensen.inference.diagnostics.distances.rows import Rows, rows_of
from jensen.inference.diagnostics.distances.sample_moments import SampleMoments, sample_moments
from jensen.inference.tensors import number_names

__all__ = ["main"]

_FOLDER = Path(__file__).resolve().parent
_CHAINS, _ACCEPTANCE, _MOST_Z, _R_HAT = 4, 0.9, 4.0, 1.005
_ESS = {True: 20_000.0, False: 2_000.0}  # where moments are written, and where they are exact
_WRITTEN = ("logistic_regression", "mixture")
_CHECKED = ("correlated_gaussian", "linear_gaussian", "eight_schools_noncentred", "ar1", "banana")
Draws = dict[str, Tensor]


def _problem(name: str) -> tuple[Any, dict[str, Tensor], targets.Target | None]:
    """Model, data in float64, and the exact target where there is one."""
    if name == "logistic_regression":
        return logistic_regression_model, dict(breast_cancer(dtype=torch.float64).train), None
    if name == "mixture":
        return mixture_model, {"y": torch.tensor(VALUES, dtype=torch.float64)}, None
    target = targets.load(name, dtype=torch.float64)
    return target.model, dict(target.data), target


def _jensen(model: Any, data: dict[str, Tensor], steps: int, warmup: int, seed: int) -> tuple[Draws, str]:
    method = NUTS(
        steps=steps, num_warmup=warmup, num_chains=_CHAINS, target_acceptance=_ACCEPTANCE, device="cpu", progress=False
    )
    fit = method.fit(model, data, seed=seed)
    return fit.posterior(_CHAINS * steps), str(fit.info["convergence"])


def _numpyro(name: str, data: dict[str, Tensor], steps: int, warmup: int, seed: int) -> Draws:
    from peers.numpyro_targets import sample

    arrays = {key: value.numpy() for key, value in data.items()}
    found = sample(name, arrays, steps, warmup, _CHAINS, _ACCEPTANCE, seed)
    return {key: torch.tensor(value).flatten(0, 1) for key, value in found.items()}


def _r_hat(rows: Rows) -> float:
    import arviz

    return float(arviz.rhat(arviz.dict_to_dataset({"x": rows.values.numpy()}))["x"].max())


def _least_ess(rows: Rows) -> float:
    import arviz

    return float(arviz.ess(arviz.dict_to_dataset({"x": rows.values.numpy()}), method="bulk")["x"].min())


def _largest_z(one: SampleMoments, two: SampleMoments, numbers: list[str]) -> tuple[float, str]:
    """Over means, sds and quantiles of all numbers."""
    worst = (0.0, "")
    for kind in ("mean", "sd", "quantiles"):
        error = torch.hypot(getattr(one, f"{kind}_stderr"), getattr(two, f"{kind}_stderr"))
        z = ((getattr(one, kind) - getattr(two, kind)) / error).abs().reshape(-1, len(numbers)).amax(0)
        worst = max(worst, (float(z.max()), f"{kind} of {numbers[int(z.argmax())]}"))
    return worst


def _exact(target: targets.Target, names: list[str]) -> SampleMoments:
    from jensen.inference.diagnostics.distances.pairing import joined_moments

    return joined_moments(target.reference, names)


def _written(pooled: SampleMoments, draws: Draws, names: list[str]) -> dict[str, Any]:
    """The moments by latent, each in its own shape."""
    sizes = [draws[name][0].numel() for name in names]
    fields = ("mean", "sd", "quantiles", "mean_stderr", "sd_stderr", "quantiles_stderr")
    parts = {field: getattr(pooled, field).split(sizes, -1) for field in fields}
    found = {}
    for k, name in enumerate(names):
        shape = draws[name].shape[1:]
        values = {
            field: parts[field][k].reshape((-1, *shape) if field.startswith("quantiles") else shape) for field in fields
        }
        found[name] = targets.Moments(**values).to_dict()
    return found


def _examine(name: str, steps: int, warmup: int, seed: int, write: bool) -> list[str]:
    """What is wrong with a target; writes its file if nothing is, and it has one."""
    model, data, target = _problem(name)
    clock = time.perf_counter()
    own, said = _jensen(model, data, steps, warmup, seed)
    middle = time.perf_counter()
    peer = _numpyro(name, data, steps, warmup, seed)
    seconds = middle - clock, time.perf_counter() - middle
    names = [key for key in own if key in peer and (target is None or key in target.reference)]
    numbers = [number for key in names for number in number_names(key, own[key].shape[1:])]
    ours, theirs = (rows_of(draws, names, _CHAINS, independent=False) for draws in (own, peer))
    both = Rows(torch.cat([ours.values, theirs.values]), independent=False)
    moments = {"jensen": sample_moments(ours, targets.PROBABILITIES)}
    moments["numpyro"] = sample_moments(theirs, targets.PROBABILITIES)
    pairs = {"jensen and numpyro": (moments["jensen"], moments["numpyro"])}
    if target is not None:
        pairs |= {f"{who} and exact": (found, _exact(target, names)) for who, found in moments.items()}
    z = {pair: _largest_z(*two, numbers) for pair, two in pairs.items()}
    r_hat, ess = _r_hat(both), {"jensen": _least_ess(ours), "numpyro": _least_ess(theirs)}
    wrong = [f"|z| = {value:.2f} of the {where}, {pair}" for pair, (value, where) in z.items() if not value < _MOST_Z]
    wrong += [f"R-hat {r_hat:.4f}"] if not r_hat < _R_HAT else []
    wrong += [f"ESS {size:,.0f} of {who}" for who, size in ess.items() if not size > _ESS[name in _WRITTEN]]
    shown = ", ".join(f"{pair} {value:.2f} ({where})" for pair, (value, where) in z.items())
    print(f"{name}: {seconds[0]:.0f} and {seconds[1]:.0f} s; R-hat {r_hat:.4f}; ESS {ess}; largest |z| {shown}")
    print(f"  {said}\n  {'; '.join(wrong) or 'agreed'}", flush=True)
    if write and name in _WRITTEN and not wrong:
        made = {
            "by": "benchmarks/reference_moments.py",
            "samplers": {"jensen": f"NUTS, torch {torch.__version__}", "numpyro": f"NUTS, {version('numpyro')}"},
            "draws_of_each": f"{_CHAINS} chains of {steps} after {warmup}",
            "seed": seed,
            "r_hat_of_all_chains": round(r_hat, 5),
            "least_effective_sample_size": {who: round(size) for who, size in ess.items()},
            "largest_z": round(z["jensen and numpyro"][0], 3),
        }
        pooled = sample_moments(both, targets.PROBABILITIES)
        content = {"made": made, "moments": _written(pooled, own, names)}
        file = _FOLDER.parent / "datasets" / "targets" / f"{name}.json"
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"  wrote {file}", flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = (*_WRITTEN, *_CHECKED)
    parser.add_argument("--only", default=",".join(names), help="comma separated, of " + ", ".join(names))
    parser.add_argument("--steps", type=int, default=12_000, help="kept draws of a chain, where moments are written")
    parser.add_argument("--check-steps", type=int, default=4_000, help="the same, where they are exact")
    parser.add_argument("--warmup", type=int, default=1_000, help="of a chain")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the files, of targets whose samplers agree")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := [name for name in chosen if name not in names]:
        parser.error(f"unknown: {', '.join(unknown)}; expected some of {', '.join(names)}")
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    sys.path.insert(0, str(_FOLDER))
    wrong = 0
    for name in chosen:
        steps = arguments.steps if name in _WRITTEN else arguments.check_steps
        wrong += bool(_examine(name, steps, arguments.warmup, arguments.seed, arguments.write))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
