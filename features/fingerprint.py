"""What the kernels compute on this machine, as one hash: equal fingerprints mean equal bits on a fixed test panel.

A process whose fingerprint differs from the one its model was trained under may see other last bits (design D4); the
numeric environment says what may be the reason.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from features.batch import compute
from features.definition import Feature, FeatureSet
from features.panel import Panel
from features.registry import built_in

_INSTRUMENTS = 7
_ROWS_BEYOND_WINDOW = 24
_STEP_NS = 86_400_000_000_000


def kernel_fingerprint(features: Iterable[Feature] | None = None) -> str:
    """64 hex digits over the bits of every given feature (the library's when left out) on a fixed test panel.

    The panel is made by integer arithmetic alone: no random generator, no library function, one gap. It differs
    whenever a bit of any feature's value on it does, and names no machine.
    """
    chosen = tuple(built_in().values() if features is None else features)
    digest = hashlib.sha256()
    for feature in chosen:
        one = FeatureSet((feature,))
        panels = {
            name: _test_panel(name, seed, feature.window + _ROWS_BEYOND_WINDOW)
            for seed, name in enumerate(one.inputs, start=1)
        }
        values = compute(one, panels).values[-_ROWS_BEYOND_WINDOW:]
        digest.update(f"{feature.name}:{feature.identity}:".encode())
        digest.update(np.ascontiguousarray(values).astype("<f8").tobytes())
    return digest.hexdigest()


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


def _test_panel(name: str, seed: int, rows: int) -> Panel:
    """Prices [rows, instruments] that wander: a linear congruential generator's bits, exact in float64."""
    state, prices = seed, np.empty((rows, _INSTRUMENTS))
    level = np.full(_INSTRUMENTS, 4096, np.int64)
    for row in range(rows):
        for column in range(_INSTRUMENTS):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            level[column] = max(64, level[column] + (state >> 40) % 257 - 128)
        prices[row] = level / 64.0
    prices[rows - 5, 1] = np.nan
    times: npt.NDArray[np.int64] = np.arange(1, rows + 1, dtype=np.int64) * _STEP_NS
    return Panel(name, prices, times, times, tuple(f"T{column}" for column in range(_INSTRUMENTS)))
