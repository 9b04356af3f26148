"""The one table from error to exit code of the command line (contracts: 0 2 3 4 5 6 7 8 64)."""

from __future__ import annotations

from features.canonical import NotCanonicalError
from features.errors import FeatureError
from promotion import errors
from promotion.config import ConfigError

DONE = 0
CHANGED = 2
GATE_FAILED = 3
APPROVAL_NEEDED = 4
CONFLICT = 5
FROZEN = 6
ROLLED_BACK = 7  # no error: a `promote --wait` that ended in a rollback
UNREACHABLE = 8
USAGE = 64

EXIT_CODES: dict[type[Exception], int] = {
    errors.BrokenChain: CHANGED,
    errors.PlanMoved: CHANGED,
    errors.GateFailed: GATE_FAILED,
    errors.ReleaseRefused: GATE_FAILED,
    errors.NotApproved: APPROVAL_NEEDED,
    errors.NotAllowed: APPROVAL_NEEDED,
    errors.Conflict: CONFLICT,
    errors.SignalFrozen: FROZEN,
    errors.LedgerUnreadable: UNREACHABLE,
    errors.ScorerUnreachable: UNREACHABLE,
    errors.RingError: UNREACHABLE,
    errors.ReleaseMissing: USAGE,
    errors.PromotionError: USAGE,
    FeatureError: USAGE,
    ConfigError: USAGE,
    NotCanonicalError: USAGE,
}


def exit_code(error: Exception) -> int | None:
    """The exit code of a domain error: that of its nearest class in the table; None for an error that is not ours."""
    for kind in type(error).__mro__:
        if kind in EXIT_CODES:
            return EXIT_CODES[kind]
    return None
