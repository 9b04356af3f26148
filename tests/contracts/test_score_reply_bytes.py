"""The ScoreReply of docs/contracts.md, byte for byte: what every client and both transports must agree on."""

from __future__ import annotations

import numpy as np

from protos.score import read_score
from protos.signalbox.v1 import scorer_pb2
from serving.handlers.wire import Answer, RowStatus, write_answer

RELEASE = "0f" * 32
BODY = bytes.fromhex(
    "0807"  # 1: generation 7
    "1001"  # 2: posture NORMAL
    "1a40" + RELEASE.encode().hex() +  # 3: releases
    "2210" + "0000c03f" + "0000c07f" * 3 +  # 4: scores 1.5, NaN, NaN, NaN
    "2a04" + "00010203" +  # 5: status OK, STALE, UNKNOWN_INSTRUMENT, REFUSED
    "3210" + "0000003f" + "00000000" * 3 +  # 6: weights 0.5, 0, 0, 0
    "3a04" + "00000000" +  # 7: release_index
    "4220" + "15cd5b0700000000" + "0100000000000000" + "0000000000000000" * 2 +  # 8: knowledge times
    "4a20" + "2a00000000000000" + "2900000000000000" + "ffffffffffffffff" * 2  # 9: row sequences
)  # fmt: skip
INLINE = bytes.fromhex(
    "0807" "1002" "1a40" + RELEASE.encode().hex() +
    "2204" + "000080bf" + "2a0100" + "32040000803f" + "3a0100" + "4208" + "00" * 8 + "4a08" + "ff" * 8
)  # fmt: skip


def answer() -> Answer:
    return Answer(
        generation=7,
        posture="NORMAL",
        release=RELEASE,
        scores=np.array([1.5, 2.5, 3.5, np.inf], np.float32),
        status=np.array(list(RowStatus), np.uint8),
        weight=0.5,
        knowledge_times_ns=np.array([123_456_789, 1, 0, 0], np.int64),
        sequences=np.array([42, 41, -1, -1], np.int64),
    )


def test_a_reply_of_the_table_has_these_bytes() -> None:
    assert write_answer(answer()).hex() == BODY.hex()


def test_a_reply_to_inline_rows_has_these_bytes() -> None:
    inline = Answer(7, "NO_NEW_RISK", RELEASE, np.array([-1], np.float32), np.zeros(1, np.uint8), 1.0)
    assert write_answer(inline).hex() == INLINE.hex()


def test_the_client_reads_them_back() -> None:
    score = read_score("large_caps", ("A", "B", "C", "D"), scorer_pb2.ScoreReply.FromString(BODY))
    assert (score.generation, score.posture, score.releases) == (7, "NORMAL", (RELEASE,))
    np.testing.assert_array_equal(score.scores, np.array([1.5, np.nan, np.nan, np.nan], np.float32))
    assert score.status.tolist() == [0, 1, 2, 3]
    assert score.weights.tolist() == [0.5, 0, 0, 0]
    assert score.knowledge_times_ns.tolist() == [123_456_789, 1, 0, 0]
    assert score.row_sequences.tolist() == [42, 41, -1, -1]
