"""Which of the library's features the benches compute."""

from __future__ import annotations

from features.definition import Clock, Feature, FeatureSet
from features.registry import built_in


def all_of(clock: Clock) -> FeatureSet:
    """Every feature of the library whose rows are of this clock."""
    return FeatureSet(tuple(each for each in built_in().values() if each.clock == clock))


def per_instrument(count: int | None = None) -> FeatureSet:
    """The library's session features that look at one instrument, by name; the first `count` of them, or all."""
    own = [each for each in built_in().values() if each.clock == "session" and not each.across]
    return FeatureSet(tuple(own[:count]))


def across_instruments() -> FeatureSet:
    """The library's cross-sectional features."""
    found: tuple[Feature, ...] = tuple(each for each in built_in().values() if each.across)
    return FeatureSet(found)
