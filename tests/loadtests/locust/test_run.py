"""What Locust's summary becomes in the results."""

from __future__ import annotations

from loadtests.locust.run import summary_rows


def test_a_kind_of_request_that_failed_is_not_kept() -> None:
    figures = {"requests": 100, "p50_ms": 2.0, "p99_ms": 9.0, "max_ms": 12.0}
    total, right, wrong = summary_rows(
        [{"name": "Score, one row", "failures": 0, **figures}, {"name": "operator: promote", "failures": 1, **figures}]
    )
    assert (total.value, total.ok) == (1, False)
    assert (right.id, right.value, right.ok) == ("locust.score_one_row", 9.0, True)
    assert (wrong.id, wrong.ok) == ("locust.operator_promote", False)
