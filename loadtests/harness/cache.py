"""Where benches keep what is expensive to make and must not be committed: models, peers' environments, certificates."""

from __future__ import annotations

from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "loadtests"


def cache(*parts: str) -> Path:
    """A folder of the cache, made if it is missing. The cache hides itself from git, wherever it lies."""
    folder = CACHE.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    hidden = CACHE / ".gitignore"
    if not hidden.exists():
        hidden.write_text("*\n")
    return folder
