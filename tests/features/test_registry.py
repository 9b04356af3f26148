from __future__ import annotations

from types import ModuleType

import pytest

from features import registry
from features.definition import Feature, Floats
from features.errors import RegistryError
from features.registry import available, built_in, collect, load_features


def test_a_dozen_and_more_are_there_each_described() -> None:
    there = available()
    assert len(there) >= 12
    assert list(there) == sorted(there)
    for name, each in there.items():
        assert each.name == name
        assert each.description.endswith((".", ":", ";", ",")) or len(each.description) > 10, name


def test_features_come_in_the_order_asked_for() -> None:
    assert load_features(["return_5", "drawdown_126"]).names == ("return_5", "drawdown_126")


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(RegistryError, match=r"feature 'volatility_36': .*near are volatility_63"):
        load_features(["return_5", "volatility_36"])


def module_with(name: str, *features: Feature) -> ModuleType:
    module = ModuleType(name)
    for each in features:
        setattr(module, each.name, each)
    return module


def claimed_by(module: str, name: str = "return_5") -> Feature:
    def kernel(close: Floats) -> Floats:
        return close[:, -1]

    kernel.__module__ = module
    return Feature(name=name, kernel=kernel, inputs=("close",), window=1, min_rows=1, unit="share", owner="x")


def test_two_definitions_of_one_name_are_refused_with_both_places() -> None:
    modules = [module_with(name, claimed_by(name)) for name in ("one", "other")]
    with pytest.raises(RegistryError, match="feature 'return_5': expected one definition, found two, in one and other"):
        collect(modules)


def test_a_feature_that_a_module_imports_is_not_its_own() -> None:
    importing = module_with("importing", built_in()["return_5"], claimed_by("importing", "mine"))
    assert list(collect([importing])) == ["mine"]


class Point:
    """What importlib.metadata gives for an entry point."""

    name = "outside"
    value = "outside.features"

    def __init__(self, loaded: object) -> None:
        self._loaded = loaded

    def load(self) -> object:
        return self._loaded


def test_entry_points_add_features(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = module_with("outside.features", claimed_by("outside.features", "mine"))
    monkeypatch.setattr(registry, "entry_points", lambda group: [Point(mine)])
    assert "mine" in available()
    assert "mine" not in built_in()


def test_an_entry_point_may_not_overrule_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = module_with("outside.features", claimed_by("outside.features"))
    monkeypatch.setattr(registry, "entry_points", lambda group: [Point(mine)])
    with pytest.raises(RegistryError, match=r"features\.library\.returns and outside\.features"):
        available()


@pytest.mark.parametrize("loaded", [ModuleType("empty"), len])
def test_an_entry_point_that_leads_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch, loaded: object) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [Point(loaded)])
    with pytest.raises(RegistryError, match=r"entry point outside = outside\.features: expected a module"):
        available()
