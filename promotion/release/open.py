"""The one place that turns a release into an ONNX Runtime session; serving and the gates both use it (design D8).

    release = open_release(home, digest, environment="prod", principals=state.principals)
    scores = release.predict(features)

Every hash, both signatures, the environment, the formats and operators are checked, and the golden rows are proven,
before anything is returned. `promotion.release.child.prove_in_child` does the same in a process that may die of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promotion.errors import EnvironmentRefused, ModelRefused
from promotion.home import Home
from promotion.identity import Principal
from promotion.release.arrays import from_npz
from promotion.release.files import Contents, read_release
from promotion.release.golden import PATH as GOLDEN
from promotion.release.golden import check_golden, read_golden
from promotion.release.manifest import Manifest, Tensor
from promotion.release.onnx_rules import MODEL, check_model
from promotion.release.runtime import onnxruntime
from promotion.release.session import make_session, run, runtime_fingerprint
from promotion.release.signatures import check_signatures

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class OpenRelease:
    """A release that was verified and proven, with its model loaded. It lives as long as its model does.

    golden_difference: largest absolute difference of a golden score; 0 under the fingerprint it was made with.
    """

    digest: str
    manifest: Manifest
    files: Mapping[str, bytes]
    session: onnxruntime.InferenceSession
    golden_difference: float

    def predict(self, features: Matrix) -> Matrix:
        """Scores float32 [n] of `features` float32 [n, F], columns in the order of `manifest.features`.

        A row with NaN gives what the model gives. A score may be NaN or infinite: who serves it must refuse it.
        """
        return run(self.session, self.manifest.inputs[0], self.manifest.outputs[0], features)

    def arrays(self, path: str) -> dict[str, NDArray[Any]]:
        """The arrays of an `.npz` in the release, read-only; KeyError when the release has no such file."""
        return from_npz(self.files[path], path=path)


@dataclass(frozen=True)
class BareModel:
    """A model file by itself: it keeps the rules and is loaded, but nobody has signed it, and nothing was proven."""

    session: onnxruntime.InferenceSession
    inputs: Tensor
    outputs: Tensor

    @property
    def columns(self) -> int:
        """How many features a row has."""
        return int(self.inputs.shape[1])


def open_bare(model: bytes) -> BareModel:
    """Loads ONNX bytes that no release holds, for trying out: never for what capital may follow.

    ModelRefused for what a release's model would be refused for. Takes the GIL while the session is made.
    """
    (inputs,), (outputs,) = check_model(model)
    if len(inputs.shape) != 2 or not isinstance(inputs.shape[1], int) or inputs.shape[1] < 1:
        raise ModelRefused(f"{MODEL}: expected an input of [n, features], found {list(inputs.shape)}; export it so")
    return BareModel(make_session(model), inputs, outputs)


def verify_release(home: Home, digest: str, *, environment: str, principals: Mapping[str, Principal]) -> Contents:
    """The release's verified bytes, model rules included, without loading the model. Raises ReleaseRefused."""
    contents = read_release(home.releases / digest, digest)
    check_signatures(contents.manifest, contents.files, principals)
    if contents.manifest.environment != environment:
        raise EnvironmentRefused(
            f"release {digest[:12]}: expected one signed for {environment}, found {contents.manifest.environment}; "
            "build and validate it for this environment"
        )
    check_tensors(contents.manifest, contents.files[MODEL])
    return contents


def open_release(home: Home, digest: str, *, environment: str, principals: Mapping[str, Principal]) -> OpenRelease:
    """Verifies, loads and proves release `digest`. Raises ReleaseRefused, which names what is at fault.

    principals: those of the ledger's state. Takes the GIL while the session is made (milliseconds).
    """
    contents = verify_release(home, digest, environment=environment, principals=principals)
    manifest = contents.manifest
    session = make_session(contents.files[MODEL])
    features, scores = read_golden(contents.files[GOLDEN], len(manifest.features))
    found = run(session, manifest.inputs[0], manifest.outputs[0], features)
    difference = check_golden(manifest, scores, found, runtime=runtime_fingerprint())
    return OpenRelease(digest, manifest, contents.files, session, difference)


def check_tensors(manifest: Manifest, model: bytes) -> None:
    """ModelRefused unless `model` keeps the rules and has the tensors of `manifest`, one column a feature."""
    inputs, outputs = check_model(model)
    if (inputs, outputs) != (manifest.inputs, manifest.outputs):
        raise ModelRefused(f"{MODEL}: expected tensors {manifest.inputs} {manifest.outputs}, found {inputs} {outputs}")
    columns = len(manifest.features)
    if len(inputs[0].shape) != 2 or inputs[0].shape[1] != columns:
        raise ModelRefused(f"{MODEL}: expected an input of [n, {columns}], found {list(inputs[0].shape)}")
