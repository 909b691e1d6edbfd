"""The project itself: what a wheel holds, what is declared, what an import costs."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

PACKAGES = ("models", "inference", "studies", "datasets")
# import name -> distribution, where they differ
DISTRIBUTIONS = {"pyro": "pyro-ppl", "sklearn": "scikit-learn", "yaml": "pyyaml"}
LAZY = ("pandas", "arviz", "sklearn", "matplotlib", "plotly", "zuko", "typer", "torchvision", "safetensors", "xarray")


def modules(repository: Path) -> list[Path]:
    return [path for package in PACKAGES for path in sorted((repository / package).rglob("*.py"))]


def test_every_folder_of_modules_is_a_package(repository):
    folders = {path.parent for path in modules(repository)}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_wheel_holds_every_module(repository, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(repository / name, source)
    for package in PACKAGES:
        shutil.copytree(repository / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*command, "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("jensen-*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    expected = {f"jensen/{path.relative_to(repository)}" for path in modules(repository)}
    expected |= {f"jensen/{package}/py.typed" for package in PACKAGES}
    moments = {f"jensen/{path.relative_to(repository)}" for path in (repository / "datasets").rglob("*.json")}
    assert moments
    expected |= moments
    assert {file for file in files if file.startswith("jensen/")} == expected
    assert any(file.endswith("licenses/LICENSE") for file in files)


def test_every_import_is_declared(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["tensorboard"]]
    names = {re.match(r"[\w-]+", requirement).group().lower() for requirement in declared}
    undeclared = set()
    for path in modules(repository):
        for node in ast.walk(ast.parse(path.read_text())):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                imported = [str(node.module)]
            for name in (full.split(".")[0] for full in imported):
                distribution = DISTRIBUTIONS.get(name, name).lower()
                if name not in sys.stdlib_module_names and name != "jensen" and distribution not in names:
                    undeclared.add(f"{path.relative_to(repository)}: {name}")
    assert not undeclared


@pytest.mark.parametrize("package", ["models", "inference", "datasets"])
def test_import_loads_no_heavy_library(package):
    program = f"import pyro, sys; before = set(sys.modules); import jensen.{package}; print(set(sys.modules) - before)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in ast.literal_eval(result.stdout)}
    assert loaded.isdisjoint(LAZY), f"jensen.{package} imports {sorted(loaded & set(LAZY))} at once"


def test_models_and_datasets_never_import_what_stands_on_them(repository):
    forbidden = {"models": "inference|studies", "datasets": "models|inference|studies", "inference": "studies"}
    for package, others in forbidden.items():
        for path in sorted((repository / package).rglob("*.py")):
            found = re.findall(rf"^\s*(?:from|import) jensen\.(?:{others})\b.*", path.read_text(), re.MULTILINE)
            assert not found, f"{path.relative_to(repository)}: {found[0]}"


def test_every_page_has_its_pictures_and_every_model_of_the_readme_its_page(repository):
    pages = sorted((repository / "docs" / "models").glob("*.md"))
    for page in pages:
        images = re.findall(r"\]\((\.\./images/[\w.]+)\)", page.read_text())
        assert any(image.endswith("_plates.svg") for image in images), page.name
        assert any(image.endswith(".png") for image in images), page.name
        assert [image for image in images if not (page.parent / image).is_file()] == []
    linked = re.findall(r"\(docs/models/(\w+\.md)\)", (repository / "README.md").read_text())
    assert sorted(linked) == [page.name for page in pages]
