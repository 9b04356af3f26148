"""What is cleaned up after a run of the tests."""

from __future__ import annotations

import shutil
from pathlib import Path

from promotion.home import Home
from tests.rings import remove_rings


def test_rings_of_homes_elsewhere_stay(tmp_path: Path) -> None:
    mine, others = Home(tmp_path / "run" / "deep" / "home"), Home(tmp_path / "beside" / "home")
    folders = [home.ring(0, "").parent for home in (mine, others)]
    for home, folder in zip((mine, others), folders, strict=True):
        home.root.mkdir(parents=True)
        folder.mkdir(mode=0o700)
    try:
        remove_rings(tmp_path / "run")
        assert [folder.exists() for folder in folders] == [False, True]
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
