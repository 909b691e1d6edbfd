"""The programs on the models' pages: they parse, their imports exist, and every other name is made or the reader's."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "models"
PAGES = sorted(page.name for page in FOLDER.glob("*.md"))
# What a reader brings: arrays and texts.
THE_READERS = {"bits", "lengths", "list_of_strings", "mask", "new_texts", "with_gaps", "x", "x_new", "x_test", "y"}
THE_READERS |= {"weights", "y_new", "z"}


def program(page: str) -> ast.Module:
    return ast.parse("\n".join(re.findall(r"```python\n(.*?)```", (FOLDER / page).read_text(), flags=re.S)))


@pytest.mark.parametrize("page", PAGES)
def test_what_it_imports_exists(page: str) -> None:
    imports = [node for node in ast.walk(program(page)) if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), page, "exec"), {})


@pytest.mark.parametrize("page", PAGES)
def test_every_name_is_made_or_the_readers(page: str) -> None:
    made: set[str] = set()
    used: dict[str, int] = {}
    for node in ast.walk(program(page)):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                made.add(node.id)
            else:
                used.setdefault(node.id, node.lineno)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            made |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
    known = made | THE_READERS | set(dir(builtins))
    assert not {name: line for name, line in used.items() if name not in known}
