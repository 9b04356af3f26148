"""Rings outlive their workers by contract; those that tests' workers made go with the tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from promotion.home import Home


def remove_rings(folder: Path) -> None:
    """Removes the rings of every home under `folder`, and no others: somebody else may be running beside."""
    for root, _, _ in os.walk(folder):
        rings = Home(Path(root)).ring(0, "").parent
        if rings.exists():
            shutil.rmtree(rings)
