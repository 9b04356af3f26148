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
from features.specimen import specimen_panel

_ROWS_BEYOND_WINDOW = 24


def kernel_fingerprint(features: Iterable[Feature] | None = None) -> str:
    """64 hex digits over the bits of every given feature (the library's when left out) on a fixed test panel.

    It differs whenever a bit of any feature's value on `specimen_panel` does, and names no machine. Take the features
    that a model reads: the library's as a whole gains features with time. About 20 ms for the library.
    """
    chosen = FeatureSet(tuple(built_in().values() if features is None else features))
    rows = chosen.max_window + _ROWS_BEYOND_WINDOW
    panels = {
        name: specimen_panel(name, rows=rows, seed=seed, gaps=False) for seed, name in enumerate(chosen.inputs, start=1)
    }
    values = compute(chosen, panels).values[-_ROWS_BEYOND_WINDOW:]
    return sha256_hex(" ".join(chosen.names).encode() + values.astype("<f8").tobytes())


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
