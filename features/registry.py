"""Which features there are: those of `features/library` and those that installed projects add by entry point.

A project adds features with an entry point in group `signalbox.features` that names a module: every feature defined
there is taken. Nobody's name is overruled: two definitions of one name are refused.
"""

from __future__ import annotations

import difflib
import importlib
import json
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from features import library
from features.definition import Feature, FeatureSet
from features.errors import RegistryError

ENTRY_POINT_GROUP = "signalbox.features"
IDENTITIES = Path(library.__file__).with_name("identities.json")


def available() -> Mapping[str, Feature]:
    """Every feature by name: the library's and those of installed projects, sorted by name.

    Entry points are read anew at each call. RegistryError when two definitions claim a name, or an entry point does
    not lead to a module with features.
    """
    return collect([*_library_modules(), *_outside_modules()])


def load_features(names: Sequence[str]) -> FeatureSet:
    """The named features as a set, in the order given. A name may be an alias with its version, `name@v3`.

    RegistryError for an unknown name lists near ones; for another version than there is, says which identity it had.
    """
    there = available()
    return FeatureSet(tuple(_found(name, there) for name in names))


def pinned_identities() -> Mapping[str, str]:
    """The identity behind each alias `name@vN` that the library has or had."""
    identities: dict[str, str] = json.loads(IDENTITIES.read_text())
    return identities


def built_in() -> Mapping[str, Feature]:
    """The library's features by name, sorted; what installed projects add is left out."""
    return collect(_library_modules())


def collect(modules: Iterable[ModuleType]) -> Mapping[str, Feature]:
    """The features defined in these modules, by name, sorted. RegistryError when a name is claimed twice."""
    found: dict[str, Feature] = {}
    for module in modules:
        for each in _defined_in(module):
            other = found.get(each.name)
            if other is not None and other is not each:
                raise RegistryError(
                    f"feature {each.name!r}: expected one definition, found two, in {other.kernel.__module__} and "
                    f"{each.kernel.__module__}; rename one"
                )
            found[each.name] = each
    return dict(sorted(found.items()))


def _found(asked: str, there: Mapping[str, Feature]) -> Feature:
    name, _, version = asked.partition("@")
    if name not in there:
        near = difflib.get_close_matches(name, there, n=3) or sorted(there)
        raise RegistryError(
            f"feature {asked!r}: expected a known one, found none of that name; near are {', '.join(near)}"
        )
    found = there[name]
    if version and asked != found.alias:
        was = pinned_identities().get(asked, "not known here")
        raise RegistryError(
            f"feature {asked!r}: expected that version, found {found.alias} of identity {found.identity}; the one "
            f"asked for ({was}) is computed by the build that had it"
        )
    return found


def _defined_in(module: ModuleType) -> Iterator[Feature]:
    for value in vars(module).values():
        if isinstance(value, Feature) and value.kernel.__module__ == module.__name__:
            yield value


def _library_modules() -> list[ModuleType]:
    return [
        importlib.import_module(f"{library.__name__}.{each.name}") for each in pkgutil.iter_modules(library.__path__)
    ]


def _outside_modules() -> list[ModuleType]:
    modules = []
    for point in entry_points(group=ENTRY_POINT_GROUP):
        loaded = point.load()
        if not isinstance(loaded, ModuleType) or not list(_defined_in(loaded)):
            raise RegistryError(
                f"entry point {point.name} = {point.value}: expected a module that defines features, found "
                f"{type(loaded).__name__}; name the module that holds the @feature functions"
            )
        modules.append(loaded)
    return modules
