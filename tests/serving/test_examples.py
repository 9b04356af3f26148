"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["serving.runtime.allowance", "serving.runtime.backend", "serving.runtime.cost"])
def test_the_examples_of_a_module_run(name: str) -> None:
    module = importlib.import_module(name)
    globals_ = {"np": importlib.import_module("numpy")} | vars(module)
    result = doctest.testmod(module, extraglobs=globals_)
    assert result.attempted > 0
    assert result.failed == 0
