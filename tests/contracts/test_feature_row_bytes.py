"""The feature row of docs/contracts.md, byte for byte: what Push and Redis carry."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np

from features.row import FeatureRow, encode_row

KEY = bytes(range(32))
ROW = FeatureRow(
    feature_set_id=bytes(range(32, 64)),
    instrument="ÄAPL",
    event_time_ns=1_420_232_400_000_000_000,
    knowledge_time_ns=1_420_233_300_000_000_000,
    sequence=7564,
    valid_until_ns=1_420_494_300_000_000_000,
    values=np.array([0.5, -1.25, np.nan, 0.0], np.float32),
)


def test_golden_bytes() -> None:
    """The format of the contract, written out by hand."""
    body = (
        bytes.fromhex(
            "01"  # version
            "07"  # key id
            "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"  # feature set
            "0005c384"  # five bytes of UTF-8
        )
        + b"APL"
    )
    for time in (ROW.event_time_ns, ROW.knowledge_time_ns, 7564, ROW.valid_until_ns):
        body += time.to_bytes(8, "big", signed=True)
    body += (4).to_bytes(4, "big") + bytes.fromhex("0000003f0000a0bf0000c07f00000000")
    mac = hmac.new(KEY, body, hashlib.sha256).digest()
    data = encode_row(ROW, key_id=7, key=KEY)
    assert data == body + mac
    assert hashlib.sha256(data).hexdigest() == "156406fa2e85e2943f4b1e3dd24fc8c97e3a5b61ae0454157849975bb14ac654"
    assert len(data) == 1 + 1 + 32 + 2 + 5 + 4 * 8 + 4 + 4 * 4 + 32
