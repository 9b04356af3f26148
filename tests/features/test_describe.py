"""The page of the library and the identities behind its aliases are those of the declarations."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from features.describe import PAGE, pin, with_tables
from features.errors import RegistryError
from features.library import inputs
from features.registry import IDENTITIES, built_in, load_features, pinned_identities

LIBRARY = built_in()


def test_the_page_is_what_the_declarations_say() -> None:
    page = PAGE.read_text()
    assert with_tables(page, LIBRARY.values()) == page, "run make features-docs"
    assert all(f"`{each.alias}`" in page for each in LIBRARY.values())


def test_every_alias_has_its_identity() -> None:
    assert pin(LIBRARY.values(), pinned_identities()) == json.loads(IDENTITIES.read_text()), "run make features-docs"


def test_a_version_means_one_identity_for_ever() -> None:
    altered = replace(LIBRARY["return_5"], time_to_live_sessions=2)
    with pytest.raises(RegistryError, match=r"feature return_5@v1: expected identity .* raise its version"):
        pin([altered], pinned_identities())
    assert pin([replace(altered, version=2)], pinned_identities())["return_5@v2"] == altered.identity


def test_an_alias_is_a_name() -> None:
    assert load_features(["return_5@v1"]).features == (LIBRARY["return_5"],)
    with pytest.raises(RegistryError, match=r"feature 'return_5@v9': expected that version, found return_5@v1"):
        load_features(["return_5@v9"])


def test_at_least_forty_features_say_formula_source_and_data() -> None:
    assert len(LIBRARY) >= 40
    data = {value for name, value in vars(inputs).items() if name.isupper() and " " in value}
    for each in LIBRARY.values():
        assert all((each.description, each.formula, each.source)), each.name
        assert each.tested_on in data, each.name
