"""The list of the faults is whole, and names tests that are there."""

from __future__ import annotations

import ast
import re

import pytest

from helpers.pages import ROOT

PAGE = ROOT / "docs" / "reliability.md"
WANTED = {*range(2, 29), 31, 32, 36, 37, 41}
_FAULTS = re.compile(r"Faults? (\d+(?:(?:, | and )\d+)*)\b")


def rows():
    """The rows of the table of faults: number -> cells."""
    found = {}
    for line in PAGE.read_text().splitlines():
        match = re.match(r"\| (\d+) ", line)
        if match:
            found[int(match[1])] = line.strip("|").split(" | ")
    return found


def named(row):
    """The files that a row names, each with the tests named behind it."""
    for part in row[-1].split(";"):
        ((file,), tests) = (
            re.findall(r"\(\.\./(tests/\S+\.py)\)", part),
            re.findall(r"`(\w+)`", part),
        )
        yield ROOT / file, tests


def look_into(path):
    """The tests of a file, and the numbers of the faults that it says it is about."""
    tree = ast.parse(path.read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    match = _FAULTS.search(ast.get_docstring(tree) or "")
    return names, {int(n) for n in re.findall(r"\d+", match[1])} if match else set()


def test_every_fault_stands_in_the_list_once():
    numbers = [int(n) for n in re.findall(r"^\| (\d+) ", PAGE.read_text(), re.MULTILINE)]

    assert sorted(WANTED) == numbers


@pytest.mark.parametrize("number", sorted(WANTED))
def test_every_fault_names_tests_that_are_there_and_know_its_number(number):
    row = rows()[number]

    assert all(cell.strip() for cell in row)
    for path, wanted in named(row):
        names, faults = look_into(path)
        assert wanted
        assert set(wanted) <= names
        assert number in faults, path


def test_every_file_that_is_about_a_fault_stands_in_the_list():
    about = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for number in look_into(path)[1]:
            about.setdefault(number, set()).add(path)

    assert {n: {path for path, _ in named(row)} for n, row in rows().items()} == about


def test_every_letter_of_the_list_is_explained():
    explained = re.findall(r"^\| ([A-Z][\w, ]*) \|", PAGE.read_text(), re.MULTILINE)
    known = {letter for cell in explained for letter in cell.split(", ")}

    used = {letter for row in rows().values() for letter in row[3].split()}

    assert used == known
