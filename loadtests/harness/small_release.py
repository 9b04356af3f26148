"""A small release whose every byte is made here: a linear model or a given one, and a history that is made up.

The history (seeded returns) is there so that gates have something to compute, and says nothing about a market. Tests
and load tests make theirs from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from features.row import FeatureRow, encode_row
from promotion.config import Signal
from promotion.evidence.assess import AssessmentInputs, Parity, assess
from promotion.evidence.performance import performance
from promotion.ledger.trials import Family
from promotion.release.arrays import from_npz, to_npz
from promotion.release.build import ReleaseParts
from promotion.release.golden import make_golden

Arrays = Mapping[str, npt.NDArray[Any]]

SIGNAL = "large_caps"
FEATURE_SET_ID = bytes.fromhex("ab" * 32)
SNAPSHOT_ID = "cd" * 32
DAY_NS = 86_400_000_000_000
ROW_KEY_ID = 1  # of a home's first key for rows
_SESSIONS = 400
_GOLDEN_ROWS = 64


@lru_cache
def linear_model(slope: float = 1.0, *, columns: int = 3) -> bytes:
    """ONNX bytes, "features" float32 [rows, columns] to "score" [rows, 1]: `slope` times the sum of a row."""
    weights = numpy_helper.from_array(np.full((columns, 1), slope, dtype=np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weights"], ["score"], name="scores")],
        "signal",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", 1])],
        [weights],
    )
    opsets = [helper.make_opsetid("", 17)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="signalbox")
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def family_of(signal: Signal) -> Family:
    """What its one trial belongs to."""
    return Family("return_5", signal.universe, SNAPSHOT_ID)


@lru_cache
def backtest(signal: Signal) -> Arrays:
    """400 sessions, one a day from 1970 on, of nearly equal weights: the arrays of `backtest.npz`. `net` is what the
    one trial gave.
    """
    instruments = len(signal.universe)
    generator = np.random.default_rng(11)
    asset_returns = generator.normal(0.0005, 0.01, size=(_SESSIONS, instruments))
    history = generator.normal(0.0005, 0.01, size=(100, instruments))
    weights = np.full((_SESSIONS, instruments), 1 / instruments) * generator.uniform(0.9, 1.0, size=(_SESSIONS, 1))
    record = performance(weights, asset_returns, costs=signal.costs, history=history)
    return {
        "sessions_ns": np.arange(1, _SESSIONS + 1, dtype=np.int64) * DAY_NS,
        "scores": generator.normal(size=weights.shape),
        "weights": weights,
        "asset_returns": asset_returns,
        "history": history,
        "net": record.net,
        "gross": record.gross,
    }


def release_parts(signal: Signal, model: bytes, /, *, tried: str, environment: str, **changes: Any) -> ReleaseParts:
    """What `build_release` makes a release of. tried: the trial's id in the ledger.

    changes: of fields; `files` are put over those made here, and left out where None.
    """
    files = {**_files(signal, model, tried), **changes.pop("files", {})}
    facts: dict[str, Any] = {
        "signal": SIGNAL,
        "environment": environment,
        "config": signal,
        "files": {path: content for path, content in files.items() if content is not None},
        "feature_set_id": FEATURE_SET_ID.hex(),
        "snapshot_id": SNAPSHOT_ID,
        "kernel_fingerprint": "ef" * 32,
        "as_of_ns": 1_293_739_200_000_000_000,
        "trials": family_of(signal),
        "commit": "0123abc",
        "lock_hash": "12" * 32,
    }
    return ReleaseParts(**(facts | changes))


def encode_rows(
    instruments: Sequence[str], values: npt.ArrayLike, *, sequence: int, known_ns: int, key: bytes
) -> list[bytes]:
    """One encoded row for each instrument: values [instrument, column], known at `known_ns` (UTC), for events of a
    minute before, valid for a day.
    """
    times = (known_ns - 60 * 10**9, known_ns, sequence, known_ns + DAY_NS)
    rows = np.asarray(values, np.float32)
    return [
        encode_row(FeatureRow(FEATURE_SET_ID, name, *times, row), key_id=ROW_KEY_ID, key=key)
        for name, row in zip(instruments, rows, strict=True)
    ]


@lru_cache
def _files(signal: Signal, model: bytes, tried: str) -> Mapping[str, bytes]:
    columns = len(signal.features)
    book = backtest(signal)
    features = np.random.default_rng(7).normal(size=(_GOLDEN_ROWS, columns)).astype(np.float32)
    golden = make_golden(model, features)
    inputs = AssessmentInputs(
        sessions_ns=book["sessions_ns"],
        weights=book["weights"],
        asset_returns=book["asset_returns"],
        costs=signal.costs,
        trial_returns=book["net"][:, None],
        trials_opened=1,
        parity=Parity(_GOLDEN_ROWS, 0.0, 0.0),
        history=book["history"],
    )
    return {
        "model.onnx": model,
        "golden.npz": golden,
        "parity.npz": to_npz({"features": features, "native": from_npz(golden)["scores"]}),
        "backtest.npz": to_npz(book),
        "trials.npz": to_npz({"returns": book["net"][:, None], "ids": np.array([tried])}),
        "evidence.json": assess(inputs).canonical(),
        "report.html": b"<!doctype html><title>report</title>",
        "card.md": b"# large_caps\n",
        "reference/features.npz": to_npz({"values": features}),
        "reference/nulls.npz": to_npz({"psi": np.zeros(columns)}),
    }
