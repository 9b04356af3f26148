"""What a call to a scorer can end with, seen from the caller.

CallError
├── Unreachable   nothing answers there, or it is stopping: repeat, or ask another worker
├── TimedOut      no answer in time: do not trade on the last one
├── Shed          the scorer has too much to do: back off, then repeat
└── Rejected      the scorer says no, and why: correct the request
"""

from __future__ import annotations


class CallError(Exception):
    """A call did not give an answer.

    code: the gRPC status by name. retry: whether the scorer says that repeating the same call may help.
    """

    def __init__(self, message: str, *, code: str, retry: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retry = retry


class Unreachable(CallError):
    """Nothing answers there, or it is stopping."""


class TimedOut(CallError):
    """No answer in time."""


class Shed(CallError):
    """The scorer has too much to do."""


class Rejected(CallError):
    """The scorer says no, and why."""
