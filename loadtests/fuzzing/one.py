"""Fuzzes one target in a process of its own: coverage-guided, by atheris, on code instrumented as it is imported.

    python -m loadtests.fuzzing.one TARGET SHARE FOLDER LIBFUZZER-OPTIONS...

FOLDER has the seeds in `corpus`; `share.json` there says how far it came (loadtests.fuzzing.run reads it).
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["serving", "features", "promotion.record"]):
    from loadtests.fuzzing.mutation import mutated_frames, mutated_message
    from loadtests.fuzzing.targets import TARGETS, Target
    from loadtests.harness.processes import memory
    from protos.inference import open_inference_pb2 as oip
    from protos.signalbox.v1 import scorer_pb2

_REPORTS = 50  # in a run


class Watched:
    """A target whose inputs are counted, and the slowest of them timed. Lives as long as the process.

    inputs: how many it has had. share: how many it is to have.
    """

    def __init__(self, target: Target, share: int, report: Path) -> None:
        self.inputs = 0
        self._target = target
        self._share = share
        self._report = report
        self._slowest_ns = 0
        self._began = time.monotonic()
        self._every = max(1, share // _REPORTS)
        self._early: tuple[float, int] = (0.0, 0)

    def __call__(self, data: bytes) -> None:
        """One input."""
        began_ns = time.perf_counter_ns()
        self._target(data)
        spent_ns = time.perf_counter_ns() - began_ns
        if spent_ns > self._slowest_ns:
            self._slowest_ns = spent_ns
        self.inputs += 1
        if self.inputs % self._every == 0 or self.inputs == self._share:
            self._tell()

    def _tell(self) -> None:
        held = self._holds()
        if self.inputs <= max(self._share // 4, self._every):  # warm: caches are full, the corpus has most of its size
            self._early = held
        early_mib, early_blocks = self._early
        document = {
            "inputs": self.inputs,
            "seconds": time.monotonic() - self._began,
            "slowest_ms": self._slowest_ns / 1e6,
            "mib": held[0],
            "mib_more": held[0] - early_mib,
            "blocks_more": held[1] - early_blocks,
        }
        whole = self._report.with_suffix(".new")
        whole.write_text(json.dumps(document))
        whole.replace(self._report)

    def _holds(self) -> tuple[float, int]:
        gc.collect()
        return memory(os.getpid()).rss_mib, sys.getallocatedblocks()


def main() -> None:
    """Fuzzes until the share is done, the time is over, or something does not hold."""
    name, share, folder, *options = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error")  # as in the tests
    more: dict[str, Any] = {"custom_mutator": MUTATORS[name]} if name in MUTATORS else {}
    with TARGETS[name]() as target:
        watched = Watched(target, int(share), Path(folder) / "share.json")
        atheris.Setup([sys.argv[0], f"-atheris_runs={share}", *options, str(Path(folder) / "corpus")], watched, **more)
        atheris.Fuzz()


def _frames(data: bytes, most: int, seed: int) -> bytes:
    return mutated_frames(data, most, seed, atheris.Mutate)


def _score(data: bytes, most: int, seed: int) -> bytes:
    return mutated_message(data, most, seed, atheris.Mutate, scorer_pb2.ScoreRequest)


def _infer(data: bytes, most: int, seed: int) -> bytes:
    return mutated_message(data, most, seed, atheris.Mutate, oip.ModelInferRequest)


MUTATORS = {"server": _frames, "client": _frames, "score": _score, "infer": _infer}

if __name__ == "__main__":
    main()
