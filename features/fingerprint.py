"""What the kernels compute on this machine, as one hash: equal fingerprints mean equal bits on a fixed test panel.

A process whose fingerprint differs from the one its model was trained under may see other last bits (design D4); the
numeric environment says what may be the reason.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable

import numpy as np

from features.batch import compute
from features.canonical import sha256_hex
from features.definition import Feature, FeatureSet
from features.registry import built_in
from features.specimen import specimen_panels

_ROWS_BEYOND_WINDOW = 24
_CLOCKS = ("session", "event")


def kernel_fingerprint(features: Iterable[Feature] | None = None) -> str:
    """64 hex digits over the bits of every given feature (the library's when left out) on a fixed test panel.

    It differs whenever a bit of any feature's value on `specimen_panels` does, and names no machine. Take the features
    that a model reads: the library's as a whole gains features with time. About 50 ms for the library.
    """
    chosen = tuple(built_in().values() if features is None else features)
    parts = [FeatureSet(group) for clock in _CLOCKS if (group := tuple(each for each in chosen if each.clock == clock))]
    return sha256_hex(b"".join(part for each in parts for part in (" ".join(each.names).encode(), _bits(each))))


def _bits(feature_set: FeatureSet) -> bytes:
    rows = feature_set.max_window + _ROWS_BEYOND_WINDOW
    panels = specimen_panels(feature_set.features, rows=rows, gaps=False)
    values = compute(feature_set, panels, first=rows - _ROWS_BEYOND_WINDOW).values
    return values.astype("<f8").tobytes()


def numeric_environment() -> dict[str, str]:
    """What the bits may depend on: NumPy, its CPU dispatch, Python, C library and architecture, as text."""
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    return {
        "numpy": np.__version__,
        "cpu_features": " ".join([*simd.get("baseline", ()), *simd.get("found", ())]),
        "python": platform.python_version(),
        "c_library": " ".join(platform.libc_ver()),
        "architecture": platform.machine(),
    }
