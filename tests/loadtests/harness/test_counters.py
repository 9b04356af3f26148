"""Samples of a metrics page, summed by name and labels."""

from __future__ import annotations

import pytest

from loadtests.harness.counters import metric_in
from serving.metrics import render
from serving.statistics import WorkerStatistics

TRITON = """\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="m100",version="1"} 17
nv_inference_request_success{model="other",version="1"} 5
"""


@pytest.mark.parametrize(("labels", "count"), [({"model": "m100"}, 17), ({}, 22), ({"model": "none"}, 0)])
def test_samples_are_summed_by_label(labels: dict[str, str], count: int) -> None:
    assert metric_in(TRITON, "nv_inference_request_success_total", labels) == count


def test_our_own_page_is_read() -> None:
    page = render({0: WorkerStatistics(rows=(7, 1, 0, 2)), 1: WorkerStatistics(rows=(5, 0, 0, 0))}, {}, {0, 1}).decode()
    assert metric_in(page, "signalbox_rows_total", {"status": "ok"}) == 12
