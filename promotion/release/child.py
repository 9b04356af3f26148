"""The first load of a release, in a throw-away process: a model that crashes or hangs takes nothing else with it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promotion import errors
from promotion.errors import ModelCrashed, ReleaseRefused
from promotion.home import Home
from promotion.identity import Principal

TIMEOUT_SECONDS = 60.0
_CPU_SECONDS = 60
_MEMORY_BYTES = 8 * 2**30
_REFUSED = 3
_TRIAL_ROWS = 64


def prove_in_child(
    home: Home,
    digest: str,
    *,
    environment: str,
    principals: Mapping[str, Principal],
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> float:
    """Opens the release in a child process and returns the largest difference of its golden scores.

    Raises the same ReleaseRefused as `open_release`, and ModelCrashed when the child died or did not finish. Blocks
    for about a second: a loop calls it in a thread.
    """
    question = {
        "root": str(home.root),
        "digest": digest,
        "environment": environment,
        "principals": [[p.name, p.public_key, sorted(p.held)] for p in principals.values()],
    }
    return float(_ask_child(question, f"release {digest[:12]}", timeout_seconds)["difference"])


def try_in_child(model: Path, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Opens and runs the ONNX file `model`, which is no release, in a child process. Raises and blocks as above."""
    _ask_child({"model": str(model)}, str(model), timeout_seconds)


def _ask_child(question: Mapping[str, Any], name: str, timeout_seconds: float) -> Any:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "promotion.release.child"],
            input=json.dumps(question).encode(),
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelCrashed(
            f"{name}: expected its scores within {timeout_seconds} s, found none; do not serve it"
        ) from error
    if done.returncode == 0:
        return json.loads(done.stdout)
    if done.returncode == _REFUSED:
        refusal = json.loads(done.stdout)
        raise getattr(errors, refusal["error"])(refusal["message"])
    raise ModelCrashed(
        f"{name}: expected a process that loads and runs it, found one that ended with "
        f"{done.returncode}: {done.stderr.decode(errors='replace')[-400:]!r}; do not serve it"
    )


def main() -> int:
    """The child: answers the question on stdin with one line of JSON."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    question = json.load(sys.stdin)
    try:
        answer = _try(Path(question["model"])) if "model" in question else _prove(question)
    except ReleaseRefused as error:
        json.dump({"error": type(error).__name__, "message": str(error)}, sys.stdout)
        return _REFUSED
    json.dump(answer, sys.stdout)
    return 0


def _prove(question: Mapping[str, Any]) -> dict[str, float]:
    from promotion.release.open import open_release  # loads ONNX Runtime: the child's business alone

    principals = {name: Principal(name, key, (), frozenset(held)) for name, key, held in question["principals"]}
    release = open_release(
        Home(Path(question["root"])), question["digest"], environment=question["environment"], principals=principals
    )
    return {"difference": release.golden_difference}


def _try(path: Path) -> dict[str, float]:
    import numpy as np

    from promotion.release.open import open_bare  # as above
    from promotion.release.session import run

    model = open_bare(path.read_bytes())
    rows = np.random.default_rng(0).normal(size=(_TRIAL_ROWS, model.columns)).astype(np.float32)
    run(model.session, model.inputs, model.outputs, rows)
    return {}


if __name__ == "__main__":
    sys.exit(main())
