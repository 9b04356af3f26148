"""Arrays in a release: `.npz` files whose bytes depend on nothing but the arrays, read without unpickling anything."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promotion.errors import FileUnexpected

_KINDS = "biufU"  # booleans, integers, floats, text: no objects, so nothing that could be unpickled
_VERSION = (1, 0)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's zero: a release carries no times
MAX_BYTES = 512 * 2**20


def to_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """`arrays` as the bytes of an `.npz`: sorted by name, little-endian, C order, uncompressed, no times.

    The same arrays give the same bytes on every machine. FileUnexpected for an array of objects.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), _to_npy(name, arrays[name]))
    return buffer.getvalue()


def from_npz(data: bytes, *, path: str = "npz") -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz`, read-only. FileUnexpected, which names `path`, for anything but plain arrays."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_members(members, path)
            return {member.filename.removesuffix(".npy"): _from_npy(archive.read(member)) for member in members}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, RuntimeError) as error:
        raise FileUnexpected(
            f"{path}: expected an .npz of plain arrays, found: {error}; build the release anew"
        ) from error


def _to_npy(name: str, array: NDArray[Any]) -> bytes:
    plain = np.ascontiguousarray(array)
    if plain.dtype.kind not in _KINDS:
        raise FileUnexpected(f"{name}: expected an array of numbers or text, found dtype {plain.dtype}")
    buffer = io.BytesIO()
    little = plain.astype(plain.dtype.newbyteorder("<"), copy=False).reshape(array.shape)
    np.lib.format.write_array(buffer, little, version=_VERSION, allow_pickle=False)
    return buffer.getvalue()


def _from_npy(data: bytes) -> NDArray[Any]:
    """The array of `.npy` bytes; its size is checked before anything is allocated for it."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != _VERSION:
        raise ValueError(f"a format version other than {_VERSION}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.kind not in _KINDS or fortran or min(shape, default=0) < 0:
        raise ValueError(f"dtype {dtype}, shape {shape}, Fortran order {fortran}")
    if math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"{len(data) - file.tell()} bytes for {dtype} {shape}")
    return np.frombuffer(data, dtype, math.prod(shape), file.tell()).reshape(shape)


def _check_members(members: list[zipfile.ZipInfo], path: str) -> None:
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or not member.filename.endswith(".npy"):
            raise FileUnexpected(
                f"{path}: expected uncompressed .npy members, found {member.filename!r}; write it with to_npz"
            )
    if len({member.filename for member in members}) != len(members):
        raise FileUnexpected(f"{path}: expected every array once, found a name twice")
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise FileUnexpected(f"{path}: expected at most {MAX_BYTES} bytes of arrays, found more")
