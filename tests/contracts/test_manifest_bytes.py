"""The release manifest of docs/contracts.md, byte for byte, and the digest that names the release."""

from __future__ import annotations

from promotion.release.manifest import REQUIRED, read_manifest

FILES = b",".join(b'"%s":{"sha256":"%s","size":7}' % (path.encode(), b"0f" * 32) for path in sorted(REQUIRED))
BODY = (
    b'{"as_of_ns":1293739200000000000,"author":"alice","commit":"0123abc",'
    b'"config":{"horizon_sessions":5,"owner":"desk"},"environment":"replay",'
    b'"feature_set_id":"' + b"ab" * 32 + b'",'
    b'"features":[{"name":"momentum","nan_ok":false},{"name":"reversal","nan_ok":true}],'
    b'"files":{' + FILES + b"},"
    b'"fingerprints":{"kernel":"' + b"cd" * 32 + b'","runtime":"' + b"ef" * 32 + b'"},'
    b'"golden_tolerance":"1e-05","inputs":[{"dtype":"float32","name":"features","shape":["rows",2]}],'
    b'"limits":{"max_abs_score":"10.0","max_capital_weight":"1.0","max_scores_per_second":1000},'
    b'"lock_hash":"' + b"12" * 32 + b'","outputs":[{"dtype":"float32","name":"score","shape":["rows",1]}],'
    b'"schema":"signalbox.release.1","signal":"large_caps","snapshot_id":"' + b"34" * 32 + b'",'
    b'"trials":{"data":"' + b"34" * 32 + b'","declared":false,"label":"return_5","universe":["AAA","BBB"]},'
    b'"validator":"bob"}'
)
DIGEST = "f7db9c09f17ef11cbfe5bbfcbfdeedd0178dc2e5f67781a254a8f5e03c4225f0"


def test_a_manifest_reads_and_writes_the_same_bytes() -> None:
    manifest = read_manifest(BODY)
    assert manifest.body() == BODY
    assert manifest.digest == DIGEST


def test_what_a_manifest_says() -> None:
    manifest = read_manifest(BODY)
    assert manifest.feature_names == ("momentum", "reversal")
    assert [column.nan_ok for column in manifest.features] == [False, True]
    assert manifest.max_weight == 1.0
    assert float(manifest.golden_tolerance) == 1e-5
    assert manifest.inputs[0].shape == ("rows", 2)


def test_what_every_release_holds() -> None:
    assert REQUIRED == (
        "backtest.npz",
        "card.md",
        "evidence.json",
        "golden.npz",
        "model.onnx",
        "reference/features.npz",
        "reference/nulls.npz",
        "report.html",
        "trials.npz",
    )
