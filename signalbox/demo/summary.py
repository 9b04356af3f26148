"""What the demo showed: one JSON document for machines (docs/contracts.md, "Commands"), one page for people."""

from __future__ import annotations

from typing import Any

import numpy as np

from signalbox.cli.options import table
from signalbox.demo.replay import Tally
from signalbox.demo.story import DECAY_FROM, SCALED_FEATURE, SCALED_FROM, SIGNAL, Story

ACTIONS = ("cut", "rollback", "posture", "resume")


def document(story: Story) -> dict[str, Any]:
    """The contract's document. `actions` are of the replay with faults; `honest_replay` has those of the other."""
    latencies = [*story.honest.latencies_us, *story.faults.latencies_us]
    p50, p99 = np.percentile(latencies, [50, 99])
    return {
        "snapshot": story.snapshot,
        "releases": [release.document() for release in story.releases],
        "adv_assumed_usd": story.adv_assumed_usd,
        "refusal": story.refusal,
        "actions": [action for action in story.faults.actions if action["kind"] in ACTIONS],
        "freezes": [action for action in story.faults.actions if action["kind"] not in ACTIONS],
        "replay": _replay(story.faults),
        "honest_replay": {**_replay(story.honest), "actions": story.honest.actions},
        "generations": story.generations,
        "audit": story.audit,
        "latency_us": {"p50": round(float(p50), 1), "p99": round(float(p99), 1)},
        "seconds": round(story.seconds, 1),
        "home": str(story.home),
    }


def text(story: Story) -> str:
    """The page."""
    paths = [f"  report    {story.home / 'releases' / one.digest / 'report.html'}" for one in story.releases]
    said = document(story)
    return "\n".join(
        [
            "",
            "Releases (prices are of survivors and back-adjusted: every return here is flattered)",
            _releases(story),
            f"cost: half-spread and impact; the impact rests on adv_assumed = {story.adv_assumed_usd:,.0f} USD a name",
            "",
            "2015 to 2022 as it was",
            _alarms(story.honest),
            _actions(story.honest.actions),
            "",
            f"2015 to 2022 with faults: scores decay from {DECAY_FROM}, {SCALED_FEATURE} is spoiled from {SCALED_FROM}",
            _alarms(story.faults),
            _actions(story.faults.actions),
            "",
            f"Requests: p50 {said['latency_us']['p50']:.0f} µs, p99 {said['latency_us']['p99']:.0f} µs "
            "(20 names, one in flight, grpcio transport, the machine shared with everything else here)",
            f"Ledger: {story.audit['entries']} entries verify, {SIGNAL} is at generation {story.generations}",
            *paths,
            f"  state     {story.home}",
            f"Done in {story.seconds:.0f} s. Go on: signalbox history --home {story.home} --signal {SIGNAL}",
        ]
    )


def _releases(story: Story) -> str:
    rows = []
    for release in story.releases:
        measured = release.verdicts[0].measured
        rows.append(
            (
                release.digest[:12],
                release.as_of,
                f"{measured['sharpe_annual']:.2f} ± {measured['sharpe_annual_standard_error']:.2f}",
                f"{measured['dsr_published']:.3f}",
                f"{measured['trials']:.0f}",
                f"{measured['cost_bps_daily']:.2f}",
                *(f"{one.environment}: {'passes' if one.passed else 'refused'}" for one in release.verdicts),
            )
        )
    header = ("release", "as of", "net Sharpe a year", "DSR", "trials", "cost bp/day", "verdict", "beside it")
    return table(header, rows)


def _alarms(tally: Tally) -> str:
    detectors = sorted({detector for _, detector in tally.alarms})
    rows = [
        (rule, *(tally.alarms[rule, detector] for detector in detectors), tally.rates.get(rule, ""))
        for rule in ("desk", "calibrated")
    ]
    subjects = [f"{subject} ({number})" for (rule, subject), number in tally.drifting.most_common() if rule == "desk"]
    header = ("rule", *detectors, "measured on a healthy release")
    return "\n".join(
        [
            f"{tally.sessions} sessions, net Sharpe of what was live {tally.net_sharpe:.2f} a year; alarms:",
            table(header, rows),
            f"most often off their distribution (desk): {', '.join(subjects[:6]) or 'none'}",
            _drift(tally),
        ]
    )


def _drift(tally: Tally) -> str:
    """How far each feature and the score ever were from their reference, and what each rule allows."""
    rows = []
    for (detector, subject), peak in tally.peaks.items():
        if detector == "psi":
            ks = tally.peaks.get(("ks", subject), float("nan"))
            allowed = (f"{tally.limits[rule][subject]:.2f}" for rule in ("desk", "calibrated"))
            rows.append((subject, f"{peak:.2f}", *allowed, f"{ks:.2f}"))
    lowest = tally.peaks.get(("sharpe", "net return"), float("nan"))
    allowed = (f"{tally.limits[rule]['net return']:.1f}" for rule in ("desk", "calibrated"))
    rows.append(("net return: lowest 21-session Sharpe", f"{lowest:.1f}", *allowed, ""))
    return table(("21 sessions against the reference", "worst PSI", "desk", "calibrated", "worst KS"), rows)


def _actions(actions: list[dict[str, Any]]) -> str:
    if not actions:
        return "actions: none"
    rows = [
        (each["session"], each["kind"], each["from"][:12], each["to"][:12], each["next_reply"]["generation"],
         f"{each['next_reply']['weight']:g} {each['next_reply']['posture']}", each["reason"][:110])
        for each in actions
    ]  # fmt: skip
    return table(("session", "action", "from", "to", "generation", "next reply", "reason"), rows)


def _replay(tally: Tally) -> dict[str, Any]:
    return {
        "sessions": tally.sessions,
        "net_sharpe_annual": round(tally.net_sharpe, 4),
        "alarms": {f"{rule} {detector}": number for (rule, detector), number in sorted(tally.alarms.items())},
        "rates": tally.rates,
        "worst": {f"{detector} {subject}": round(value, 4) for (detector, subject), value in tally.peaks.items()},
        "ring_records_missed": tally.missed,
        "sessions_without_scores": tally.unanswered,
    }
