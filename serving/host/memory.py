"""How a worker's C library keeps memory: blocks of a big request are used again, not given back and asked for anew.

glibc maps every block from 128 KiB on by itself and unmaps it when it is freed, so that each page of each big request
is cleared and faulted in again: two milliseconds of twelve for 3,000 rows (loadtests.serving.many_rows).
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_MAPPED_FROM = 4 * 2**20  # bytes of a block
_KEPT = 16 * 2**20  # bytes at the heap's end


def keep_freed_memory() -> bool:
    """Has this process keep up to 16 MiB of what it frees. False where the C library has no such setting."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _MAPPED_FROM)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
