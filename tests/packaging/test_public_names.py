"""Whatever is public says what it is for."""

from __future__ import annotations

import ast
from itertools import pairwise

import pytest

import holdfast

DEFINITION = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@pytest.fixture
def all_groups(root):
    """The names in `__all__`, parted where the source has a comment or an empty line."""
    source = root / "src" / "holdfast" / "__init__.py"
    (names,) = (
        node.value.elts
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and "__all__" in map(ast.unparse, node.targets)
    )
    groups = [[names[0].value]]
    for before, name in pairwise(names):
        if name.lineno > before.end_lineno + 1:
            groups.append([])
        groups[-1].append(name.value)
    return groups


@pytest.mark.parametrize("name", holdfast.__all__)
def test_a_public_name_exists_and_is_documented(name):
    value = getattr(holdfast, name)

    assert isinstance(value, str) or value.__doc__


def test_no_public_name_is_listed_twice():
    assert len(set(holdfast.__all__)) == len(holdfast.__all__)


def test_public_names_are_sorted_within_their_groups(all_groups):
    assert [sorted(group, key=str.lower) for group in all_groups] == all_groups


def test_every_public_module_has_a_docstring(source_files):
    silent = [
        file.place()
        for file in source_files
        if is_public_module(file) and ast.get_docstring(file.tree) is None
    ]

    assert not silent, "\n".join(["", *silent])


def test_every_public_class_function_and_method_has_a_docstring(source_files):
    silent = [
        f"{file.place(node.lineno)} {node.name}"
        for file in source_files
        if is_public_module(file)
        for node in public_definitions(file.tree)
        if ast.get_docstring(node) is None
    ]

    assert not silent, "\n".join(["", *silent])


def is_public_module(file):
    """Tell whether a file is public: `_name.py` is not, `__init__.py` is."""
    return file.path.name.startswith("__") or not file.path.name.startswith("_")


def public_definitions(parent):
    """The public classes and functions of a module, and theirs in turn."""
    for node in parent.body:
        if isinstance(node, DEFINITION) and not node.name.startswith("_") and speaks(node):
            yield node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_definitions(node)


def speaks(node):
    """Tell whether a docstring is due: a setter or an overload speaks through another one."""
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return not decorators & {"overload", "override", "setter", "deleter"}
