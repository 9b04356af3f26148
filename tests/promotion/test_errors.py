from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from promotion import errors
from promotion.exit_codes import EXIT_CODES, exit_code

FAMILY = [item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, errors.PromotionError)]
CODES = {0, 2, 3, 4, 5, 6, 7, 8, 64}


@pytest.mark.parametrize("kind", FAMILY)
def test_every_error_of_the_room_has_an_exit_code(kind: type[Exception]) -> None:
    error = kind(1, "x") if kind is errors.BrokenChain else kind("x")  # type: ignore[call-arg]
    assert exit_code(error) in CODES


@pytest.mark.parametrize("kind", FAMILY)
def test_every_error_stands_in_the_tree_at_the_top(kind: type[Exception]) -> None:
    assert errors.__doc__ is not None
    assert kind.__name__ in errors.__doc__


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.GateFailed, 3),
        (errors.GoldenRowsDiffer, 3),
        (errors.NotApproved, 4),
        (errors.RiskAdded, 4),
        (errors.KeyReused, 5),
        (errors.SignalFrozen, 6),
        (errors.ScorerUnreachable, 8),
        (errors.PlanMoved, 2),
        (errors.ReleaseMissing, 64),
    ],
)
def test_the_codes_are_those_of_the_contract(kind: type[Exception], code: int) -> None:
    assert exit_code(kind("x")) == code


def test_a_defect_has_no_exit_code() -> None:
    assert exit_code(ZeroDivisionError()) is None
    assert set(EXIT_CODES.values()) <= CODES


def test_what_reduces_risk_imports_no_heavy_library() -> None:
    code = "import promotion.ledger.store, promotion.rollout, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"pandas", "onnxruntime", "onnx", "scipy", "polars", "grpc", "numpy", "exchange_calendars"}
    assert not heavy & set(done.stdout.split())
