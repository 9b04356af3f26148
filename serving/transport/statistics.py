"""What a transport has done, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TransportStatistics:
    """connections, calls: open now. accepted: connections since the start. refused: by the limit that was passed.

    grpcio tells of calls alone.
    """

    connections: int = 0
    calls: int = 0
    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
