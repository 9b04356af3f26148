"""An environment of its own for each peer: a virtual environment or a built program, kept in the benches' cache.

Building is idempotent and resumable: an environment is whole when its stamp says what it was made from; one that was
cut short, or made from something else, is made anew. Progress goes to stderr.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtests.harness.cache import cache
from loadtests.harness.progress import say
from loadtests.harness.servers import PeerMissing

HERE = Path(__file__).parent


def virtual_environment(name: str, requirements: Sequence[str]) -> Path:
    """The folder of a virtual environment that holds `requirements`. PeerMissing when pip cannot install them."""
    folder = cache("peers", name) / "venv"
    wanted = "\n".join([sys.version, *requirements])
    if _made_from(folder, wanted):
        return folder
    say(f"{name}: installing {', '.join(requirements)}")
    shutil.rmtree(folder, ignore_errors=True)
    _run(name, [sys.executable, "-m", "venv", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(name, [*pip, *requirements])
    _stamp(folder).write_text(wanted)
    return folder


def program(name: str, source: str, command: Sequence[str], *, packages: str, environment: Mapping[str, str]) -> Path:
    """The program built from `source`, a file beside this one, by `command`, in which OUTPUT and SOURCE are its paths.

    packages: the Debian packages it needs. PeerMissing when the compiler is not there or refuses.
    """
    folder = cache("peers", name)
    built = folder / name
    wanted = hashlib.sha256((HERE / source).read_bytes() + repr(command).encode()).hexdigest()
    if _made_from(built, wanted):
        return built
    if shutil.which(command[0]) is None:
        raise PeerMissing(f"{name}: expected {command[0]}, found none; run: sudo apt-get install {packages}")
    say(f"{name}: building {source}")
    paths = {"OUTPUT": str(built), "SOURCE": str(HERE / source)}
    try:
        _run(name, [paths.get(word, word) for word in command], {**environment, "GOCACHE": str(folder / "gocache")})
    except PeerMissing as error:
        raise PeerMissing(f"{error}\nIf a library is missing, run: sudo apt-get install {packages}") from error
    _stamp(built).write_text(wanted)
    return built


def _run(name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    env = {**os.environ, **(environment or {})}
    done = subprocess.run(  # noqa: S603 - pip and compilers, by argument lists of ours
        command, capture_output=True, text=True, check=False, env=env
    )
    if done.returncode:
        raise PeerMissing(f"{name}: {' '.join(command[:6])}... ended with {done.returncode}: {done.stderr[-1500:]}")


def _stamp(made: Path) -> Path:
    return made.with_name(f"{made.name}.made-from")


def _made_from(made: Path, wanted: str) -> bool:
    stamp = _stamp(made)
    return made.exists() and stamp.exists() and stamp.read_text() == wanted
