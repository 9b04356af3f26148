"""Memory of an idle worker (02.12).

Method: a scorer with one model is started on each transport, answers one row rightly, and is left alone; then the
resident pages of the worker process are read from /proc (RSS: shared pages counted in full, so the number is the most
that it can be said to hold; PSS, which divides them, is in words). Load model: none.
"""

from __future__ import annotations

from loadtests.harness.model import bench_model, make_rows
from loadtests.harness.questions import ScoreQuestion
from loadtests.harness.results import Row
from loadtests.harness.scorers import Options, scratch
from loadtests.harness.servers import PeerMissing, ServerFailed, running
from loadtests.serving.bars import failed, row

MOST_MIB = 150.0


def rows() -> list[Row]:
    """Every row of this module."""
    return [_row("02.12a", "native"), _row("02.12b", "grpcio")]


def _row(row_id: str, transport: str) -> Row:
    model = bench_model("m100")
    try:
        with running(scratch(model, Options(transport)), ScoreQuestion(model, make_rows(1))) as server:
            held = server.memory()
    except (PeerMissing, ServerFailed) as error:
        return failed(row_id, str(error).splitlines()[0])
    what = f"{transport} transport: resident memory of a worker with one model (PSS {held.pss_mib:.0f} MiB)"
    return row(row_id, what, held.rss_mib, "MiB", ok=held.rss_mib <= MOST_MIB)
