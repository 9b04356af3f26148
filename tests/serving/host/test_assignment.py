"""What the workers are told: the ledger's word, and what may not wait for the proof of a new release."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import pytest

from promotion.errors import ModelCrashed
from promotion.ledger.state import LedgerState, SignalState
from serving.handlers.routes import Posture
from serving.host.assignment import Assignment
from serving.host.halts import EVERY
from serving.host.pipe import Served
from serving.host.proofs import Principals, Proofs

OLD, NEW, OTHER = "11" * 32, "22" * 32, "33" * 32


def ledger(*signals: SignalState, sequence: int = 1) -> LedgerState:
    return LedgerState(sequence, "", "paper", {}, {}, {each.signal: each for each in signals}, {}, {}, {}, {}, {})


def signal(name: str, live: str, generation: int, *, weight: float = 1.0, posture: Posture = "NORMAL") -> SignalState:
    return SignalState(name, generation, live, weight=weight, posture=posture)


@dataclass
class Desk:
    """An assignment of signals a and b, whose proofs end when the test says so."""

    refused: set[str] = field(default_factory=set)
    gates: dict[str, threading.Event] = field(default_factory=dict)

    def prove(self, digest: str, _principals: Principals) -> None:
        self.gates.setdefault(digest, threading.Event()).wait()
        if digest in self.refused:
            raise ModelCrashed("it took its process down")

    def allow(self, *digests: str) -> None:
        for digest in digests:
            self.gates.setdefault(digest, threading.Event()).set()


@pytest.fixture
async def desk() -> AsyncIterator[tuple[Desk, Assignment]]:
    made = Desk()
    made.allow(OLD, OTHER)
    async with Proofs(made.prove) as proofs:
        assignment = Assignment(("a", "b"), proofs)
        assignment.take(ledger(signal("a", OLD, 1), signal("b", OTHER, 1)))
        await assignment.settled()
        yield made, assignment
        made.allow(NEW)
        await assignment.settled()


def told(assignment: Assignment) -> Mapping[str, Served]:
    return {each.signal: each for each in assignment.order().signals}


async def test_a_signal_keeps_its_release_until_the_new_one_is_proven(desk: tuple[Desk, Assignment]) -> None:
    here, assignment = desk
    assignment.take(ledger(signal("a", NEW, 2), signal("b", OTHER, 2, weight=0.25)))
    assert (told(assignment)["a"].live, told(assignment)["a"].generation) == (OLD, 1)
    assert (told(assignment)["b"].weight, told(assignment)["b"].generation) == (0.25, 2), "b waits for nobody"
    here.allow(NEW)
    await assignment.settled("a")
    assert (told(assignment)["a"].live, told(assignment)["a"].generation) == (NEW, 2)


async def test_caution_does_not_wait_for_a_proof(desk: tuple[Desk, Assignment]) -> None:
    _, assignment = desk
    assignment.take(ledger(signal("a", NEW, 2, weight=0.5), signal("b", OTHER, 1, posture="HALTED")))
    now = told(assignment)
    assert (now["a"].live, now["a"].weight, now["a"].posture) == (OLD, 0.5, "NORMAL")
    assert now["b"].posture == "HALTED"
    assignment.take(ledger(signal("a", NEW, 3, posture="NO_NEW_RISK"), signal("b", OTHER, 1)))
    now = told(assignment)
    assert (now["a"].live, now["a"].weight, now["a"].posture) == (OLD, 1.0, "NO_NEW_RISK")
    assignment.take(ledger(signal("a", NEW, 4, posture="HALTED"), signal("b", OTHER, 1)))
    assert (told(assignment)["a"].posture, told(assignment)["a"].live) == ("HALTED", None)
    assignment.take(ledger(signal("a", NEW, 5), signal("b", OTHER, 1)))
    assert told(assignment)["a"].posture == "HALTED", "what it would resume with is not proven"
    assignment.take(ledger(signal("a", OLD, 6), signal("b", OTHER, 1)))
    assert (told(assignment)["a"].posture, told(assignment)["a"].live) == ("NORMAL", OLD), (
        "a rollback waits for nothing"
    )


async def test_no_release_is_given_out_before_it_is_proven() -> None:
    here = Desk()
    async with Proofs(here.prove) as proofs:
        assignment = Assignment(("a",), proofs)
        (first,) = assignment.order().signals
        assert (first.posture, first.reason) == ("HALTED", "no readable ledger since the supervisor started")
        with_more = SignalState("a", 1, OLD, (OTHER,), (NEW,))
        assignment.take(ledger(with_more))
        (waiting,) = assignment.order().signals
        assert (waiting.posture, waiting.live, waiting.proving) == ("HALTED", None, True)
        here.allow(OLD)
        await proofs.settled([OLD])
        (proven,) = assignment.order().signals
        assert (proven.posture, proven.live, proven.previous, proven.shadow) == ("NORMAL", OLD, None, ())
        here.allow(OTHER, NEW)
        await assignment.settled()
        (whole,) = assignment.order().signals
        assert (whole.previous, whole.shadow) == (OTHER, (NEW,))


async def test_a_release_that_is_refused_halts_its_signal_and_is_tried_again(desk: tuple[Desk, Assignment]) -> None:
    here, assignment = desk
    here.refused.add(NEW)
    here.allow(NEW)
    assignment.take(ledger(signal("a", NEW, 2), signal("b", OTHER, 1)))
    await assignment.settled()
    assert (told(assignment)["a"].posture, told(assignment)["a"].reason) == ("HALTED", "it took its process down")
    here.refused.clear()
    assignment.take(ledger(signal("a", NEW, 3), signal("b", OTHER, 1)))
    await assignment.settled()
    assert (told(assignment)["a"].posture, told(assignment)["a"].live) == ("NORMAL", NEW)


async def test_a_latch_holds_whatever_the_ledger_says(desk: tuple[Desk, Assignment]) -> None:
    _, assignment = desk
    assignment.latch(EVERY, "fat finger")
    assert {each.posture for each in told(assignment).values()} == {"HALTED"}
    assert told(assignment)["a"].generation == 2, "the ledger will have it next"
    assignment.take(ledger(signal("a", OLD, 7), signal("b", OTHER, 1)))
    assert (told(assignment)["a"].posture, told(assignment)["a"].generation) == ("HALTED", 7)
    assignment.unlatch("a")
    assert told(assignment)["a"].posture == "HALTED", "the halt of every signal still holds"
    assignment.unlatch(EVERY)
    assert told(assignment)["a"].posture == "NORMAL"


async def test_a_latch_from_before_the_ledger_was_read_counts_from_what_it_then_says() -> None:
    here = Desk()
    here.allow(OLD)
    async with Proofs(here.prove) as proofs:
        assignment = Assignment(("a",), proofs)
        assignment.latch("a", "kept in the home")
        assignment.take(ledger(signal("a", OLD, 4)))
        await assignment.settled()
        assert (told(assignment)["a"].generation, told(assignment)["a"].reason) == (5, "kept in the home")


async def test_proofs_end_with_their_owner() -> None:
    here = Desk()
    async with Proofs(here.prove) as proofs:
        proofs.want([NEW], {})
        waiting = asyncio.create_task(proofs.settled([NEW]))
        await asyncio.sleep(0)
    here.allow(NEW)
    await waiting
    assert not proofs.judged(NEW)
