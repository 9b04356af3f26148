"""Where releases come from: snapshots, feature sets and runs, and the releases themselves, written into the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from promotion.ledger.entry import Entry
from promotion.release.manifest import Manifest
from promotion.rollout import Rollout

Subject = Literal["snapshot", "feature_set", "run"]


def register(rollout: Rollout, subject: Subject, name: str, facts: Mapping[str, Any], *, as_: str) -> None:
    """Writes that `subject` called `name` exists, with facts about it (no floats). Once is enough: the same facts
    again add nothing.
    """
    known = rollout.ledger.state().lineage.get((subject, name))
    if known != dict(facts):
        rollout.append("lineage", {"subject": subject, "id": name, "facts": dict(facts)}, as_=as_)


def register_release(rollout: Rollout, manifest: Manifest, *, as_: str) -> Entry:
    """Writes that the release of `manifest` was built; its validator does (role validator). Once is enough.

    From here on the signal is one of the ledger's, at generation 0 if it is new.
    """
    known = rollout.ledger.state().releases.get(manifest.digest)
    if known is not None:
        return rollout.ledger.entries(after=known.sequence - 1)[0]
    return rollout.append("release_registered", release_facts(manifest), as_=as_, signal=manifest.signal)


def release_facts(manifest: Manifest) -> dict[str, Any]:
    """What the ledger says of the release of `manifest`."""
    return {
        "release": manifest.digest,
        "environment": manifest.environment,
        "author": manifest.author,
        "validator": manifest.validator,
        "snapshot_id": manifest.snapshot_id,
        "feature_set_id": manifest.feature_set_id,
        "max_weight": manifest.limits["max_capital_weight"],
        "as_of_ns": manifest.as_of_ns,
    }
