"""Progress of a bench, for the person who waits: stderr, so that stdout stays the path of the results."""

from __future__ import annotations

import sys


def say(words: str) -> None:
    """One line."""
    print(f"bench: {words}", file=sys.stderr, flush=True)
