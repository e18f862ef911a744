"""The manifest of promises names tests that exist."""

import ast
from pathlib import Path

import pytest

from tests.requirements import REQUIREMENTS

TESTS = Path(__file__).parent


@pytest.mark.parametrize("promise", REQUIREMENTS)
def test_every_promise_names_tests_that_are_there(promise: str) -> None:
    named = REQUIREMENTS[promise].tests
    assert named
    for test in named:
        file, _, function = test.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert function in defined, test
