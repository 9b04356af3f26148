"""A scratch model in a worker: an ONNX file that no release holds, loaded as a release's model is (serve --scratch)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from features.canonical import identity
from promotion.errors import FileAltered
from promotion.home import Home
from promotion.release.open import open_bare
from serving.runtime.backend import Model
from serving.runtime.onnx_backend import OnnxBackend
from serving.runtime.warm_up import warm_up


def scratch_file(home: Home, digest: str) -> Path:
    """Where a scratch home keeps the model with SHA-256 `digest`."""
    return home.root / "scratch" / f"{digest}.onnx"


def scratch_feature_set(digest: str) -> str:
    """The feature_set_id, 64 hex digits, of rows for the scratch model `digest`: nobody says what its features mean."""
    return identity({"scratch": digest})


def feature_names(columns: int) -> tuple[str, ...]:
    """What the features of a model without a manifest are called."""
    return tuple(f"f{column}" for column in range(columns))


def load_scratch(home: Home, digest: str) -> Model:
    """Opens and warms the scratch model `digest`. ModelRefused for what no release could hold; FileAltered.

    Every feature may be NaN, no score but a non-finite one is refused, and none may carry capital.
    """
    body = scratch_file(home, digest).read_bytes()
    if hashlib.sha256(body).hexdigest() != digest:
        raise FileAltered(f"scratch model {digest[:12]}: expected the bytes of that hash, found others; start anew")
    bare = open_bare(body)
    backend = OnnxBackend(bare.session, bare.inputs.name, bare.outputs.name)
    model = Model(
        digest=digest,
        feature_set_id=bytes.fromhex(scratch_feature_set(digest)),
        features=feature_names(bare.columns),
        takes_nan=np.ones(bare.columns, np.bool_),
        backend=backend,
        max_weight=0.0,
        input=bare.inputs,
        output=bare.outputs,
    )
    return warm_up(model)
