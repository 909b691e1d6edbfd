"""Saved names find their classes wherever the files are moved, and finished work keeps the names it was hashed with."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import defaultdict

import pytest

import jensen.models
from jensen.inference import SVI, BetaELBO, iwae_schedule
from jensen.inference.fit.constructor_arguments import find_class
from jensen.inference.storage.names import recorded_name, stable_name
from jensen.models import VAE, LatentVariableModel

SHIPPED = [value for name in jensen.models.__all__ if inspect.isclass(value := getattr(jensen.models, name))]


@pytest.mark.parametrize("module", ["jensen.models", "jensen.models.vae", "jensen.models.a_folder.of_another_year"])
def test_a_class_is_found_in_whatever_file_it_is(module):
    assert find_class(f"{module}:VAE", LatentVariableModel) is VAE


def test_names_of_shipped_classes_say_the_package_only():
    for kind in SHIPPED:
        assert stable_name(kind) == f"jensen.models:{kind.__qualname__}"
        assert find_class(stable_name(kind), object) is kind


def test_finished_work_is_known_by_the_names_of_version_0_1():
    assert recorded_name(VAE) == "jensen.models.vae:VAE"
    assert recorded_name(SVI) == "jensen.inference.svi:SVI"
    assert recorded_name(BetaELBO) == "jensen.inference.objectives.annealed:BetaELBO"
    assert recorded_name(iwae_schedule) == "jensen.inference.lr_schedules:iwae_schedule"
    assert recorded_name(str) == "builtins:str"


def test_no_two_classes_of_the_models_share_a_name():
    places = defaultdict(set)
    for info in pkgutil.walk_packages(jensen.models.__path__, "jensen.models."):
        for name, value in vars(importlib.import_module(info.name)).items():
            if inspect.isclass(value) and value.__module__.startswith("jensen.models.") and not name.startswith("_"):
                places[value.__qualname__].add(value)
    assert {name for name, kinds in places.items() if len(kinds) > 1} == set()
