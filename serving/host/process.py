"""What a worker asks of the system for its process: freed memory that is kept, and descriptors for its connections."""

from __future__ import annotations

import ctypes
import logging
import resource

LOG = logging.getLogger("signalbox.worker")

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_MAPPED_FROM = 4 * 2**20  # bytes of a block
_KEPT = 16 * 2**20  # bytes at the heap's end
_OTHER_FILES = 256  # descriptors beside those of connections


def keep_freed_memory() -> bool:
    """Has this process keep up to 16 MiB of what it frees. False where the C library has no such setting.

    glibc maps every block from 128 KiB on by itself and unmaps it when it is freed, so that each page of each big
    request is cleared and faulted in again: two milliseconds of twelve for 3,000 rows (loadtests.serving.many_rows).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _MAPPED_FROM)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))


def allow_connections(connections: int) -> bool:
    """Raises this process's own limit of open files to what `connections` need, as far as the system's allows.

    False, and a warning, where that is less.
    """
    wanted = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        words = "expected %d open files for %d connections, found a limit of %d; raise it (ulimit -Hn)"
        LOG.warning(words, wanted, connections, hard)
    return allowed >= wanted
