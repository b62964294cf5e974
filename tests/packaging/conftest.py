"""The project's own source, for tests that read it."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One Python file of the package, read and parsed."""

    path: Path
    text: str
    tree: ast.Module

    def place(self, line: int = 1) -> str:
        """Say where something stands, as an editor can open it."""
        return f"{self.path.relative_to(ROOT)}:{line}"


@pytest.fixture(scope="session")
def root():
    """The folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def source_files():
    """Every Python file of the package."""
    found = []
    for path in sorted((ROOT / "src" / "holdfast").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found.append(SourceFile(path, text, ast.parse(text, str(path))))
    return found


@pytest.fixture(scope="session")
def clean_environment():
    """The environment without what could lead a fresh interpreter to another Holdfast."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HOLDFAST_", "PYTHON", "VIRTUAL_ENV"))
    }
