"""A fit written to disk: fit.json, parameters.safetensors, history.csv, and draws and data where there are any."""

from __future__ import annotations

__all__ = ["save_fit"]

from pathlib import Path

from ..storage.atomic import dump_tensors, prepare_folder
from ..storage.bundle import write_bundle
from ..storage.folders import as_path
from .rebuild import describe_guide, describe_model
from .record import FitRecord

_DATA_BYTES = 16 * 2**20


def save_fit(fit: FitRecord, folder: str | Path, data: bool | None) -> Path:
    """See :meth:`Fit.save`."""
    place = prepare_folder(as_path("folder", folder))
    tensors = {f"program.{name}": value for name, value in fit.program.state_dict().items()}
    tensors |= {f"prototype.{name}": value for name, value in fit.prototype.items()}
    body = {
        "method": fit.method,
        "config": fit.config,
        "seed": fit.seed,
        "data_size": fit.data_size,
        "status": fit.status,
        "info": fit.info,
        "model": describe_model(fit.model, tensors),
        "fitted": getattr(fit.model, "fitted", False),
        "guide": describe_guide(fit.guide, fit.model, fit.config),
        "dtype": next((str(p.dtype) for p in fit.program.parameters() if p.is_floating_point()), None),
        "training": sorted(name for name, module in fit.program.named_modules() if module.training),
    }
    files = {
        "parameters.safetensors": dump_tensors(tensors),
        "history.csv": fit.history.to_csv(index=False).encode(),
    }
    if fit.draws is not None:
        files["draws.safetensors"] = dump_tensors(fit.draws)
    if fit.sample_stats is not None:
        files["sample_stats.safetensors"] = dump_tensors(fit.sample_stats)
    if fit.data is not None:
        size = sum(value.numel() * value.element_size() for value in fit.data.values())
        if data or (data is None and size <= _DATA_BYTES):
            files["data.safetensors"] = dump_tensors(fit.data)
    write_bundle(place, "fit", "fit", body, files)
    return place
