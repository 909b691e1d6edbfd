"""One fit of `first_fit` in a process of its own: `first_fit_worker.py '{"target": ..., "peer": ...}'` -> JSON."""

from __future__ import annotations

import functools
import json
import resource
import sys
import warnings
from typing import Any

import numpy as np
from first_fit_hard import HARD
from first_fit_targets import TARGETS, jax_library, torch_library

__all__ = ["ALL", "main"]

_DRAWS = 4_000
ALL = TARGETS | HARD


def _jensen(target: str, options: dict[str, Any]) -> dict[str, Any]:
    from jensen.inference import SVI, pareto_k

    program, data = ALL[target]
    lib, values = torch_library(), data()

    names = list(values)
    namespace: dict[str, Any] = {"program": program, "lib": lib}
    exec(f"def model({', '.join(names)}):\n    program(lib, {', '.join(names)})", namespace)
    fit = SVI(guide="multivariate_normal", progress=False, device="cpu", **options).fit(namespace["model"], values)
    draws = {name: value.double().numpy() for name, value in fit.posterior(_DRAWS).items()}
    status = {"status": fit.status, "start": fit.info["start"]} | fit.info.get("convergence", {})
    check = fit.info.get("reliability", {"reliable": True, "reason": "not checked"})
    status |= {"reliable": check["reliable"], "said": ("" if check["reliable"] else "unreliable: ") + check["reason"]}
    return _moments(draws) | status | {"k_hat": float(pareto_k(fit).value), "steps": fit.info["steps"]}


def _numpyro(target: str, options: dict[str, Any]) -> dict[str, Any]:
    import jax
    from numpyro.infer import SVI, Trace_ELBO
    from numpyro.infer.autoguide import AutoMultivariateNormal
    from numpyro.optim import Adam

    program, data = ALL[target]
    model = functools.partial(program, jax_library())
    values = data()
    guide = AutoMultivariateNormal(model)
    svi = SVI(model, guide, Adam(options.get("lr", 1e-2)), Trace_ELBO())
    result = svi.run(jax.random.PRNGKey(0), options.get("steps", 5_000), progress_bar=False, **values)
    draws = guide.sample_posterior(jax.random.PRNGKey(1), result.params, sample_shape=(_DRAWS,))
    return _moments({name: np.asarray(value, np.float64) for name, value in draws.items()})


def _reference(target: str, options: dict[str, Any]) -> dict[str, Any]:
    import jax

    jax.config.update("jax_enable_x64", True)
    import numpyro
    from numpyro.diagnostics import summary
    from numpyro.infer import MCMC, NUTS

    program, data = ALL[target]
    model = functools.partial(program, jax_library())

    def chains(start: Any) -> MCMC:
        kernel = NUTS(model, dense_mass=True, target_accept_prob=0.95, init_strategy=start)
        lengths = {"num_warmup": 3_000, "num_samples": 5_000, "num_chains": 4}
        run = MCMC(kernel, **lengths, chain_method="sequential", progress_bar=False)
        run.run(jax.random.PRNGKey(0), **data())
        return run

    try:
        run = chains(numpyro.infer.init_to_median)
    except ValueError:  # a rate that overflows at the median of prior draws
        run = chains(numpyro.infer.init_to_uniform(radius=0.1))
    found = summary(run.get_samples(group_by_chain=True))
    return _moments({name: np.asarray(value) for name, value in run.get_samples().items()}) | {
        "r_hat": float(max(np.nanmax(site["r_hat"]) for site in found.values())),
        "n_eff": float(min(np.nanmin(site["n_eff"]) for site in found.values())),
    }


def _moments(draws: dict[str, np.ndarray]) -> dict[str, Any]:
    """Mean and sd of every number that varies, by name."""
    means, sds = {}, {}
    for name, value in draws.items():
        if name in ("y", "x", "open"):
            continue
        flat = value.reshape(len(value), -1)
        for i in range(flat.shape[1]):
            means[f"{name}[{i}]"], sds[f"{name}[{i}]"] = float(flat[:, i].mean()), float(flat[:, i].std())
    return {"mean": means, "sd": sds}


def main() -> None:
    """Run the job given as JSON and print its result as the last line."""
    job = json.loads(sys.argv[1])
    warnings.simplefilter("ignore")
    run = {"jensen": _jensen, "numpyro": _numpyro, "reference": _reference}[job["peer"]]
    result = run(job["target"], job.get("options", {}))
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    result["cpu_seconds"] = sum(u.ru_utime + u.ru_stime for u in used)
    print("\n" + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
