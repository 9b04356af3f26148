"""What the monitor refuses, and what to do about it.

    MonitoringError
    ├── StoreError             the durable record of decisions cannot take or give what it is asked for
    │   ├── StoreBusy          another process writes the record: one monitor watches a home, stop the other
    │   ├── StoreUnreadable    the file is no decision store, or of another version: look at the path
    │   ├── LateDecision       recorded after its outcome could be known: it is worth nothing as evidence
    │   ├── DoubledSession     the session is recorded already: go on with the one after `last_session_ns`
    │   ├── RestatedOutcome    the session's outcome is joined already, with other returns: ask a person
    │   ├── OtherUniverse      scores or returns are not of the signal's instruments: fix the feed
    │   ├── BackwardSession    a session older than the last recorded one: the clock jumped, fix it
    │   └── UnknownSession     an instant that is no close of the signal's calendar: name sessions by their close
    ├── ReferenceRefused       a release cannot be watched: its reference or nulls do not fit the policy or its features
    ├── PolicyRefused          the configured action policy is not the one in force: undo the edit, or have it approved
    ├── RingMismatch           a ring holds other columns or instruments than the release: attach the right ring
    └── UnsafeAction           the policy asked for more risk: a defect in the policy; nothing was done

Each message says what was expected, what was found and what to do next. None carries a transport's code.
"""

from __future__ import annotations


class MonitoringError(Exception):
    """Anything this room refuses."""


class StoreError(MonitoringError):
    """The durable record of decisions cannot take or give what it is asked for."""


class StoreBusy(StoreError):
    """Another process writes the record."""


class StoreUnreadable(StoreError):
    """The file is no decision store, or one of another version."""


class LateDecision(StoreError):
    """A decision was recorded after its outcome could be known."""


class DoubledSession(StoreError):
    """The session is recorded already."""


class RestatedOutcome(StoreError):
    """The session's outcome is joined already, with other returns."""


class OtherUniverse(StoreError):
    """Scores or returns are not of the signal's instruments."""


class BackwardSession(StoreError):
    """A session is older than the last recorded one."""


class UnknownSession(StoreError):
    """An instant is no close of the signal's calendar."""


class ReferenceRefused(MonitoringError):
    """A release's reference or nulls cannot be watched against."""


class PolicyRefused(MonitoringError):
    """The configured action policy is not the one that the ledger has in force."""


class RingMismatch(MonitoringError):
    """A ring holds other columns or instruments than the release's."""


class UnsafeAction(MonitoringError):
    """The policy asked for more risk."""
