"""The first load happens where it can do no harm."""

from __future__ import annotations

from typing import Any

import pytest

from promotion.errors import EnvironmentRefused, FileAltered, ModelCrashed
from promotion.release import child
from promotion.release.child import prove_in_child


def test_a_good_release_is_proven(desk: Any) -> None:
    principals = desk.ledger.state().principals
    assert prove_in_child(desk.home, desk.build(), environment="replay", principals=principals) == 0.0


def test_a_refusal_comes_back_as_itself(desk: Any) -> None:
    digest, principals = desk.build(), desk.ledger.state().principals
    with pytest.raises(EnvironmentRefused, match="expected one signed for prod"):
        prove_in_child(desk.home, digest, environment="prod", principals=principals)
    model = desk.home.releases / digest / "model.onnx"
    data = model.read_bytes()
    model.unlink()
    model.write_bytes(data[:-1] + b"\xff")
    with pytest.raises(FileAltered, match=r"^model.onnx: expected"):
        prove_in_child(desk.home, digest, environment="replay", principals=principals)


def test_a_child_that_takes_too_long_is_named(desk: Any) -> None:
    with pytest.raises(ModelCrashed, match=r"expected its scores within 0.001 s"):
        prove_in_child(desk.home, desk.build(), environment="replay", principals={}, timeout_seconds=0.001)


def test_a_child_that_dies_is_named(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child.sys, "executable", "/bin/false")
    with pytest.raises(ModelCrashed, match="found one that ended with 1"):
        prove_in_child(desk.home, desk.build(), environment="replay", principals={})
