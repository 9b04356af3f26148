"""Research that lives outside Signalbox's repository."""
