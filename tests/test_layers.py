"""Imports go one way, between packages, folders and files; and each file says first what it exports."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("models", "inference", "studies", "datasets")
BELOW = {"models": ("datasets",), "datasets": (), "inference": ("models", "datasets"), "studies": PACKAGES}
Graph = dict[str, set[str]]


def _imports(root: Path) -> Iterator[tuple[str, str]]:
    """(importing module, imported module), as paths from the root without their suffix; without what the four packages
    export."""
    files = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    modules = {path.relative_to(root).with_suffix("").as_posix().removesuffix("/__init__") for path in files}
    for path in files:
        own = path.relative_to(root).with_suffix("")
        if len(own.parts) == 2 and own.name == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom):
                continue
            if node.level:
                parents = own.parts[: len(own.parts) - node.level]
            elif (node.module or "").startswith("jensen"):
                parents = ()
            else:
                continue
            base = "/".join([*parents, *filter(None, (node.module or "").removeprefix("jensen").split("."))])
            for name in node.names:
                full = f"{base}/{name.name}"
                yield own.as_posix().removesuffix("/__init__"), full if full in modules else base


@pytest.fixture(scope="module")
def imports(repository: Path) -> list[tuple[str, str]]:
    return [(here, there) for here, there in _imports(repository) if here != there]


def _circle(graph: Graph) -> list[str]:
    """One circle of the graph, or nothing."""
    done: set[str] = set()

    def follow(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node not in done:
            for other in sorted(graph.get(node, ())):
                if found := follow(other, [*path, node]):
                    return found
            done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := follow(node, []))), [])


def _folder(module: str) -> str:
    """The folder of a file; a folder's own `__init__` is in it."""
    return module if (Path(__file__).parents[1] / module).is_dir() else module.rpartition("/")[0]


def test_packages_import_only_those_below(imports: list[tuple[str, str]]) -> None:
    assert len(imports) > 1_000
    upward = [
        (here, there)
        for here, there in imports
        if (package := there.split("/")[0]) != here.split("/")[0] and package not in BELOW[here.split("/")[0]]
    ]
    assert upward == []


def test_no_two_folders_import_each_other(imports: list[tuple[str, str]]) -> None:
    graph: Graph = defaultdict(set)
    for here, there in imports:
        folder, other = _folder(here), _folder(there)
        if folder != other:
            graph[folder].add(other)
    assert _circle(graph) == []


def test_no_two_files_import_each_other(imports: list[tuple[str, str]]) -> None:
    graph: Graph = defaultdict(set)
    for here, there in imports:
        graph[here].add(there)
    assert _circle(graph) == []


def _first_statement(path: Path) -> str:
    """What follows the docstring and the `__future__` imports; empty if nothing does."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    body = module.body[ast.get_docstring(module) is not None :]
    return next((ast.unparse(node) for node in body if getattr(node, "module", None) != "__future__"), "")


@pytest.mark.parametrize("folder", PACKAGES)
def test_every_file_says_what_it_exports_before_its_imports(repository: Path, folder: str) -> None:
    scripts = set((repository / folder).rglob("__main__.py"))
    files = {path: _first_statement(path) for path in sorted({*(repository / folder).rglob("*.py")} - scripts)}
    assert len(files) > 5
    assert [path for path, first in files.items() if first and not first.startswith("__all__ = ")] == []
