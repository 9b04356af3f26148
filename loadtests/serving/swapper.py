"""An operator who swaps releases while others ask: back to the first release, forward to the second, again and again.

    python -m loadtests.serving.swapper HOME SECONDS EVERY_SECONDS

Product code does the work, as the commands `rollback` and `promote` do: signed ledger entries, a plan that is judged
and approved, and `Control.Sync`, which returns once every worker serves it. A rollback goes to a release that is still
warm; a promotion has the worker load its release anew. The process has the lowest priority there is (SCHED_IDLE): it
shares the client's core and must not be what is measured. Prints the swaps as JSON.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec

from features.clock import SystemClock
from loadtests.harness.small_home import SmallHome, open_small_home
from loadtests.harness.small_release import SIGNAL
from promotion.identity import KeyStore
from promotion.ledger.entry import Entry
from promotion.ledger.store import SqliteLedger
from promotion.promote import plan_promotion, promote
from promotion.rollout import Rollout
from protos.client import ControlClient

LEAST_RELEASES = 2


class Swap(msgspec.Struct, frozen=True):
    """One swap. generation, release: what is live from it on. seconds: from the ledger entry to the last worker's
    acknowledgement.
    """

    generation: int
    release: str
    seconds: float


def swap_until(small: SmallHome, seconds: float, every_seconds: float) -> list[Swap]:
    """Swaps once in `every_seconds`, for `seconds`; ends with the last release live."""
    first, second = small.releases[-LEAST_RELEASES:]
    swaps: list[Swap] = []
    deadline = time.monotonic() + seconds
    with SqliteLedger(small.home.ledger) as ledger, ControlClient(f"unix:{small.home.control_socket}") as control:
        rollout = Rollout(ledger, KeyStore(small.home.keys), SystemClock())
        while time.monotonic() < deadline or len(swaps) % 2:
            due = time.monotonic() + every_seconds
            if len(swaps) % 2:
                plan = _approved(rollout, small, second)
                began = time.monotonic()
                entry = promote(rollout, small.home, plan, as_="operator")
                swaps.append(_synced(control, entry, second, began))
            else:
                began = time.monotonic()
                entry = rollout.rollback(SIGNAL, why="load test", as_="operator", to=first)
                swaps.append(_synced(control, entry, first, began))
            time.sleep(max(0.0, due - time.monotonic()))  # the pace of swaps is the load model
    return swaps


def _approved(rollout: Rollout, small: SmallHome, release: str) -> str:
    planned = plan_promotion(rollout, small.home, release, as_="operator")
    rollout.approve(planned.hash, as_="approver")
    return planned.hash


def _synced(control: ControlClient, entry: Entry, release: str, began: float) -> Swap:
    generation = entry.expected_generation + 1
    control.sync(generation, signal=SIGNAL)
    return Swap(generation, release, time.monotonic() - began)


def main() -> None:
    """Swaps, and prints what was swapped."""
    root, seconds, every_seconds = sys.argv[1:]
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    swaps = swap_until(open_small_home(Path(root)), float(seconds), float(every_seconds))
    print(msgspec.json.encode(swaps).decode())


if __name__ == "__main__":
    main()
