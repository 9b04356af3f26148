from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import features

MODULES = sorted(each.name for each in pkgutil.walk_packages(features.__path__, "features."))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_at_least_one_example_is_there() -> None:
    assert sum(doctest.testmod(importlib.import_module(name)).attempted for name in MODULES) > 0


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_for(name: str) -> None:
    assert len(inspect.getdoc(importlib.import_module(name)) or "") > 40
