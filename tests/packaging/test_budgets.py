"""The parts of the source stay small. (Ruff checks complexity.)"""

from __future__ import annotations

import ast

FUNCTION_LINES = 40
FILE_LINES = 400
PARAMETERS = 8


def test_every_function_is_short(source_files):
    too_long = [
        f"{file.place(function.lineno)} {function.name}: {lines} lines"
        for file in source_files
        for function, _ in functions(file.tree)
        if (lines := length(function)) > FUNCTION_LINES
    ]

    assert not too_long, "\n".join(["", *too_long])


def test_every_file_is_short(source_files):
    too_long = [
        f"{file.place()}: {lines} lines"
        for file in source_files
        if (lines := len(file.text.splitlines())) > FILE_LINES
    ]

    assert not too_long, "\n".join(["", *too_long])


def test_every_function_and_constructor_takes_few_parameters(source_files):
    too_many = [
        f"{file.place(function.lineno)} {function.name}: {count} parameters"
        for file in source_files
        for function, parent in functions(file.tree)
        if (count := parameters(function, parent)) > PARAMETERS
    ]

    assert not too_many, "\n".join(["", *too_many])


def functions(tree):
    """All functions at any depth, each with the node it stands in."""
    for parent in ast.walk(tree):
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node, parent


def length(function):
    """Lines from `def` to the end, without the docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def parameters(function, parent):
    """How many values a caller can pass; self and cls are not passed."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    variable = [parameter for parameter in (given.vararg, given.kwarg) if parameter]
    decorators = {node.id for node in function.decorator_list if isinstance(node, ast.Name)}
    is_bound = isinstance(parent, ast.ClassDef) and "staticmethod" not in decorators
    return len(named) + len(variable) - is_bound
