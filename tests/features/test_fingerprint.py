from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from features.definition import Feature
from features.fingerprint import kernel_fingerprint, numeric_environment
from features.registry import built_in

Floats = npt.NDArray[np.float64]


def test_is_the_same_every_time() -> None:
    assert kernel_fingerprint() == kernel_fingerprint(built_in().values())
    assert len(kernel_fingerprint()) == 64


@pytest.mark.parametrize("name", list(built_in()))
def test_differs_when_one_bit_of_one_feature_does(name: str) -> None:
    """The last bit of one value on the test panel, as another CPU's kernel might round it."""
    original = built_in()[name]

    def one_bit_off(*arrays: Floats) -> npt.NDArray[Any]:
        values = np.array(original.kernel(*arrays))
        last = (0, -1) if original.kind == "scan" else (-1,) * values.ndim
        whole = values.dtype == np.int64
        values[last] = values[last] + 1 if whole else np.nextafter(values[last], np.inf)
        return values

    altered = replace(original, kernel=one_bit_off)
    others = [each for each in built_in().values() if each.name != name]
    assert kernel_fingerprint([*others, altered]) != kernel_fingerprint([*others, original])


def test_differs_between_sets_and_takes_at_most_50_ms() -> None:
    few: list[Feature] = list(built_in().values())[:3]
    assert kernel_fingerprint(few) != kernel_fingerprint(few[:2])
    fastest = min(_seconds() for _ in range(5))
    assert fastest < 0.05


def _seconds() -> float:
    started = time.process_time()
    kernel_fingerprint()
    return time.process_time() - started


def test_the_environment_is_text_that_names_no_machine() -> None:
    environment = numeric_environment()
    assert environment["numpy"] == np.__version__
    assert os.uname().nodename not in " ".join(environment.values())
    assert all(isinstance(value, str) and value for value in environment.values())


@pytest.mark.parametrize("groups", ["X86_V4 AVX512_ICL AVX512_SPR", "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"])
def test_the_library_has_the_same_bits_without_the_wide_instructions(groups: str) -> None:
    """No logarithm, exponential or power is in the library, so NumPy's choice of CPU kernels changes nothing."""
    found = set(numeric_environment()["cpu_features"].split())
    disabled = " ".join(name for name in groups.split() if name in found)
    program = "from features.fingerprint import kernel_fingerprint; print(kernel_fingerprint())"
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": disabled}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == kernel_fingerprint()
