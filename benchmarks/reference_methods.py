"""Effective draws a second of NUTS, jensen beside NumPyro and Pyro: `python benchmarks/reference_methods.py --help`."""

from __future__ import annotations

import argparse
import functools
import json
import resource
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from first_fit_targets import Library, jax_library, torch_library
from launch import Launcher
from report import append, heading, table

__all__ = ["main"]

_HERE = Path(__file__).parent
_CHAINS, _DRAWS, _WARMUP = 4, 1_000, 1_000
_OF_PYRO = 250  # draws and warm-up transitions of Pyro, which takes minutes for more; its rate is of these
_NUMPYRO = {
    "numpyro, sequential": ("sequential", False),
    "numpyro, sequential, dense": ("sequential", True),
    "numpyro, vectorized": ("vectorized", False),
    "numpyro, vectorized, dense": ("vectorized", True),
}
_ARMS = ("jensen", *_NUMPYRO, "pyro")


def _logistic(lib: Library, x: Any, y: Any) -> None:
    d = lib.dist
    b = lib.sample("b", d.Normal(0.0, 2.5))
    w = lib.sample("w", d.Normal(lib.xp.zeros(x.shape[1]), 1.0).to_event(1))
    with lib.plate("data", len(x)):
        lib.sample("y", d.Bernoulli(logits=b + x @ w), obs=y)


def _schools(lib: Library, y: Any, sigma: Any) -> None:
    d = lib.dist
    mu, tau = lib.sample("mu", d.Normal(0.0, 5.0)), lib.sample("tau", d.HalfCauchy(5.0))
    z = lib.sample("z", d.Normal(lib.xp.zeros(8), 1.0).to_event(1))
    with lib.plate("data", 8):
        lib.sample("y", d.Normal(mu + tau * z, sigma), obs=y)


def _radon(lib: Library, county: Any, floor: Any, y: Any) -> None:
    d = lib.dist
    mu, tau = lib.sample("mu", d.Normal(0.0, 5.0)), lib.sample("tau", d.HalfNormal(1.0))
    slope, noise = lib.sample("slope", d.Normal(0.0, 5.0)), lib.sample("noise", d.HalfNormal(1.0))
    z = lib.sample("z", d.Normal(lib.xp.zeros(85), 1.0).to_event(1))
    with lib.plate("data", len(y)):
        lib.sample("y", d.Normal(mu + tau * z[county] + slope * floor, noise), obs=y)


def _cancer() -> dict[str, np.ndarray]:
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return {"x": (x - x.mean(0)) / x.std(0), "y": y.astype(float)}


def _eight() -> dict[str, np.ndarray]:
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    return {"y": y, "sigma": np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])}


def _counties() -> dict[str, np.ndarray]:
    """Simulated, of the size of Gelman and Hill's radon data: 919 houses in 85 counties."""
    rng = np.random.default_rng(0)
    county, floor = rng.integers(0, 85, 919), (rng.random(919) < 0.17).astype(float)
    effects = 1.3 + 0.3 * rng.normal(size=85)
    return {"county": county, "floor": floor, "y": effects[county] - 0.7 * floor + 0.75 * rng.normal(size=919)}


# name: title, program, data
_PROGRAMS: dict[str, tuple[str, Callable[..., None], Callable[[], dict[str, np.ndarray]]]] = {
    "logistic": ("logistic regression, 569 x 30", _logistic, _cancer),
    "radon": ("hierarchical regression, 919 rows in 85 groups", _radon, _counties),
    "schools": ("eight schools, non-centred", _schools, _eight),
}


def _as_torch(program: Callable[..., None], data: dict[str, np.ndarray]) -> tuple[Callable[..., None], dict[str, Any]]:
    import torch

    torch.set_default_dtype(torch.float64)
    values = {k: torch.as_tensor(v) if v.dtype == np.int64 else torch.as_tensor(v).double() for k, v in data.items()}
    space: dict[str, Any] = {"program": program, "lib": torch_library()}
    exec(f"def model({', '.join(data)}):\n    program(lib, {', '.join(data)})", space)
    return space["model"], values


def _jensen(program: Any, data: Any, seed: int) -> dict[str, np.ndarray]:
    from jensen.inference import NUTS

    model, values = _as_torch(program, data)
    fit = NUTS(steps=_DRAWS, num_warmup=_WARMUP, num_chains=_CHAINS, progress=False, device="cpu").fit(
        model, values, seed=seed
    )
    posterior = fit.to_arviz()["posterior"]
    return {name: np.asarray(posterior[name]) for name in posterior.data_vars}


def _numpyro(program: Any, data: Any, seed: int, way: str, dense: bool) -> dict[str, np.ndarray]:
    import jax

    jax.config.update("jax_enable_x64", True)
    from numpyro.infer import MCMC, NUTS

    kernel = NUTS(functools.partial(program, jax_library()), dense_mass=dense)
    run = MCMC(
        kernel,
        num_warmup=_WARMUP,
        num_samples=_DRAWS,
        num_chains=_CHAINS,
        chain_method=way,
        progress_bar=False,
    )
    run.run(jax.random.PRNGKey(seed), **data)
    return {name: np.asarray(value) for name, value in run.get_samples(group_by_chain=True).items()}


def _pyro(program: Any, data: Any, seed: int) -> dict[str, np.ndarray]:
    import pyro
    from pyro.infer import MCMC, NUTS

    model, values = _as_torch(program, data)
    pyro.set_rng_seed(seed)
    run = MCMC(NUTS(model), num_samples=_OF_PYRO, warmup_steps=_OF_PYRO, num_chains=1, disable_progbar=True)
    run.run(**values)
    return {name: value.numpy() for name, value in run.get_samples(group_by_chain=True).items()}


def _worker(job: dict[str, Any]) -> dict[str, Any]:
    """Two runs in one process: the first pays for imports and compilers, the second does not."""
    warnings.simplefilter("ignore")
    _, program, data = _PROGRAMS[job["program"]]
    values, found = data(), {}
    for name, seed in (("first", 0), ("second", 1)):
        start = _cpu_seconds() if name == "second" else 0.0
        wall = time.perf_counter()
        if job["arm"] in _NUMPYRO:
            draws = _numpyro(program, values, seed, *_NUMPYRO[job["arm"]])
        else:
            draws = {"jensen": _jensen, "pyro": _pyro}[job["arm"]](program, values, seed)
        found[name] = {"cpu": _cpu_seconds() - start, "wall": time.perf_counter() - wall, "ess": _least_ess(draws)}
        if job["arm"] == "pyro":
            return found | {"second": found["first"]}
    return found


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _least_ess(draws: dict[str, np.ndarray]) -> float:
    import arviz

    least = np.inf
    for value in draws.values():
        flat = value.reshape(*value.shape[:2], -1)
        least = min(least, *(float(arviz.ess(flat[:, :, i], method="bulk")) for i in range(flat.shape[2])))
    return least


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--programs", default=",".join(_PROGRAMS), help="comma separated, of " + ", ".join(_PROGRAMS))
    parser.add_argument("--arms", default=";".join(_ARMS), help="separated by semicolons")
    parser.add_argument("--cores", type=int, default=1, help="cores given to every process")
    parser.add_argument("--write", action="store_true", help="append the tables to benchmarks/RESULTS.md")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print("\n" + json.dumps(_worker(json.loads(arguments.job))), flush=True)
        return 0
    text = []
    with tempfile.TemporaryDirectory() as caches:
        launcher = Launcher("cpu", arguments.cores, Path(caches))
        for program in arguments.programs.split(","):
            rows = []
            for arm in arguments.arms.split(";"):
                job = json.dumps({"program": program, "arm": arm})
                try:
                    out, _ = launcher.run([sys.executable, str(_HERE / "reference_methods.py"), "--job", job])
                except RuntimeError as error:
                    rows.append([arm, str(error), *[""] * 4])
                    continue
                found = json.loads(out.strip().splitlines()[-1])
                print(program, arm, found, file=sys.stderr, flush=True)
                cells = [f"{found[name]['ess'] / found[name]['cpu']:,.0f}" for name in ("first", "second")]
                times = [f"{found[name]['cpu']:.1f} ({found[name]['wall']:.1f})" for name in ("first", "second")]
                rows.append([arm, *cells, f"{found['second']['ess']:,.0f}", *times])
            head = ["arm", "with start and compilers", "second run", "least ESS", "CPU s (wall), first", "second"]
            text.append(f"### {_PROGRAMS[program][0]}: effective draws a CPU second\n\n" + table(head, rows))
            print(text[-1], flush=True)
        command = "python " + shlex.join(["benchmarks/reference_methods.py", *sys.argv[1:]])
        section = heading(command, "cpu", arguments.cores, {}, launcher.others) + "\n" + "\n".join(text)
    if arguments.write:
        append(_HERE / "RESULTS.md", section)
    return 0


if __name__ == "__main__":
    sys.exit(main())
