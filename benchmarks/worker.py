"""One job of the benchmark in a process of its own: `python worker.py '{"job": "steps", "peer": ...}'` -> JSON."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["main"]

_MODULES = {
    "jensen": "peers.jensen_programs",
    "pyro": "peers.pyro_programs",
    "pyro_lean": "peers.pyro_programs",
    "numpyro_scan": "peers.numpyro_programs",
    "numpyro_step": "peers.numpyro_programs",
}
_LIBRARIES = {"numpyro": ("jax", "jaxlib", "numpyro"), "pyro": ("torch", "pyro-ppl"), "jensen": ("torch", "pyro-ppl")}


def _same_precision(peer: str) -> None:
    """Full float32 products for every peer: on a GPU JAX would otherwise use TF32 and torch would not."""
    if peer.startswith("numpyro"):
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
    else:
        import torch

        torch.set_float32_matmul_precision("highest")


def _versions(peer: str) -> dict[str, str]:
    found = {}
    for library in _LIBRARIES[peer.split("_")[0]]:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "absent"
    return found


def _run(job: dict[str, Any]) -> Any:
    warnings.simplefilter("ignore")
    _same_precision(job["peer"])
    module = importlib.import_module(_MODULES[job["peer"]])
    folder, device = Path(job["folder"]), job["device"]
    match job["job"]:
        case "steps":
            options = {"peer": job["peer"], "compile": job["compile"]}
            timed = module.time_steps(job["program"], folder, device, job["seconds"], **options)
            return timed | {"versions": _versions(job["peer"])}
        case "ablation":
            return module.ablation(
                job["program"], folder, device, job["seconds"], compile=job["compile"], rounds=job["rounds"]
            )
        case "result":
            options = {key: job[key] for key in ("rows", "start")}
            found = module.result(job["program"], folder, device, job["steps"], **options)
            return found | {"versions": _versions(job["peer"])}
        case "finish":
            return {"w": module.finish(folder, device, job["steps"])}
        case "memory":
            return module.memory(folder, device, job["compile"], tuple(job["marks"]))
        case "host_reads":
            return module.host_reads(job["program"], folder, device, job["compile"])
    raise ValueError(f"`job`: expected steps, ablation, result, finish, memory or host_reads, got {job['job']!r}")


def main() -> None:
    """Run the job given as JSON and print its result as the last line."""
    print("\n" + json.dumps(_run(json.loads(sys.argv[1]))), flush=True)


if __name__ == "__main__":
    main()
