"""What a declaration may say: each rule with the words of its refusal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from features.errors import DefinitionError

if TYPE_CHECKING:  # the definition checks itself with what is here
    from features.definition import Feature

_ALLOWED = {
    "kind": ("window", "exact_accum", "scan", "cross_section"),
    "missing": ("strict", "latest"),
    "clock": ("session", "event"),
}
_AT_LEAST_ONE = ("time_to_live_sessions", "freshness_sessions", "contribution_rows", "version")


def check(declared: Feature) -> None:
    """DefinitionError for the first thing in the declaration that cannot be."""
    for expected, found, then in _faults(declared):
        raise DefinitionError(f"feature {declared.name}: expected {expected}, found {found}; {then}")


def _faults(declared: Feature) -> Iterator[tuple[str, Any, str]]:
    for word, allowed in _ALLOWED.items():
        if getattr(declared, word) not in allowed:
            yield f"{word} to be one of {', '.join(allowed)}", repr(getattr(declared, word)), "correct the declaration"
    for word in _AT_LEAST_ONE:
        if getattr(declared, word) < 1:
            yield f"{word} of at least 1", getattr(declared, word), "correct the declaration"
    if not declared.inputs:
        yield "at least one input", "none", "name the panels it reads"
    yield from _faults_of_the_window(declared)
    yield from _faults_of_a_scan(declared)
    yield from _faults_of_a_cross_section(declared)
    if declared.contribution_rows > 1 and declared.kind != "exact_accum":
        yield "contribution_rows of an exact_accum alone", f"a {declared.kind}", "leave it out"


def _faults_of_the_window(declared: Feature) -> Iterator[tuple[str, Any, str]]:
    rows = f"min_rows {declared.min_rows}, window {declared.window}"
    if declared.window < 1 or not 1 <= declared.min_rows <= declared.window:
        yield "1 <= min_rows <= window", rows, "correct the declaration"
    if declared.missing == "strict" and declared.min_rows != declared.window:
        yield "min_rows = window with missing='strict'", rows, "say missing='latest' to allow gaps"
    if declared.span_ns is not None and (declared.span_ns < 1 or declared.kind != "window"):
        yield "span_ns of at least 1, of a window", f"{declared.span_ns} of kind {declared.kind}", "count in rows"
    if declared.span_ns is not None and declared.missing == "strict":
        yield "missing='latest' with span_ns", "missing='strict'", "rows older than the span are missing: allow them"


def _faults_of_a_scan(declared: Feature) -> Iterator[tuple[str, Any, str]]:
    if declared.kind == "scan":
        if declared.anchor is None:
            yield (
                "a scan to declare its anchor",
                "none",
                "a recursion that starts wherever its history does has no value of its own; give anchor=Anchor('year')",
            )
        if declared.states < 1:
            yield "states of at least 1", declared.states, "say how many numbers the scan carries along"
        if declared.missing != "latest":
            yield "missing='latest' of a scan", repr(declared.missing), "it passes over rows that are missing"
    elif declared.anchor is not None or declared.states:
        yield "anchor and states of a scan alone", f"a {declared.kind}", "leave them out, or say kind='scan'"


def _faults_of_a_cross_section(declared: Feature) -> Iterator[tuple[str, Any, str]]:
    if declared.kind == "cross_section":
        if not declared.universe or declared.cut_off != "decision":
            yield (
                "a cross-section to declare universe and cut_off",
                f"{declared.universe or 'no universe'}, {declared.cut_off or 'no cut_off'}",
                "say universe='panel' or the input that names its members, and cut_off='decision'",
            )
        if declared.window != 1 or declared.missing != "strict":
            yield (
                "window=1 and missing='strict' of a cross-section",
                f"window {declared.window}, {declared.missing!r}",
                "compute the window in a feature of its own and name that as an input",
            )
        return
    if declared.universe or declared.cut_off:
        yield "universe and cut_off of a cross-section alone", f"a {declared.kind}", "leave them out"
    if declared.parents:
        named = ", ".join(each.name for each in declared.parents)
        yield f"panels as inputs of a {declared.kind}", f"features ({named})", "only a cross-section reads features"
