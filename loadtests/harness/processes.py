"""What a tree of processes uses, read from /proc: CPU time by the scheduler's own clock, and memory.

CPU is the first field of `/proc/PID/task/TID/schedstat` (nanoseconds on a CPU), summed over every thread of every
process of the tree: the scheduler's account, not the tick's. A thread or process that ended takes its time with it,
so a reading is right for servers whose threads live as long as they do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_LISTEN = "0A"  # the state column of /proc/net/tcp


@dataclass(frozen=True)
class Memory:
    """A process's memory in MiB. rss: every resident page; pss: shared pages divided among those who share them."""

    rss_mib: float
    pss_mib: float


def family(pid: int) -> list[int]:
    """`pid` and all its descendants, parents first."""
    members = [pid]
    for member in members:
        for children in _read_all(PROC / str(member) / "task", "*/children"):
            members += map(int, children.split())
    return members


def cpu_ns(pid: int) -> int:
    """Nanoseconds that `pid` and its descendants have spent on a CPU so far."""
    return _schedstat(pid, 0)


def waited_ns(pid: int) -> int:
    """Nanoseconds that they were ready to run so far and had to wait for a CPU, because somebody else had it."""
    return _schedstat(pid, 1)


def memory(pid: int) -> Memory:
    """What one process, without its children, holds. Zero once it has ended."""
    fields = {"Rss:": 0.0, "Pss:": 0.0}
    for text in _read_all(PROC / str(pid), "smaps_rollup"):
        for line in text.splitlines():
            name, *rest = line.split()
            if name in fields:
                fields[name] = int(rest[0]) / 1024
    return Memory(fields["Rss:"], fields["Pss:"])


def listener(pid: int, port: int) -> int:
    """The youngest process in the tree of `pid` that holds the socket listening on TCP `port`: the worker, where its
    supervisor holds it too. LookupError when none does.
    """
    sockets = _listening(port)
    for member in reversed(family(pid)):
        if sockets & set(_descriptors(member)):
            return member
    raise LookupError(f"expected a process below {pid} that listens on port {port}, found none; has it ended?")


def busy_seconds(*cores: int) -> float:
    """How long `cores` together have not been idle since the machine started, to a hundredth of a second. Counts what
    this machine's host took for others (steal) too.
    """
    wanted = {f"cpu{core}" for core in cores}
    lines = (line.split() for line in (PROC / "stat").read_text().splitlines())
    return sum(_busy_ticks(fields) for name, *fields in lines if name in wanted) / _TICKS


def _schedstat(pid: int, column: int) -> int:
    members = (PROC / str(member) / "task" for member in family(pid))
    return sum(int(line.split()[column]) for member in members for line in _read_all(member, "*/schedstat"))


def _busy_ticks(fields: list[str]) -> int:
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_guest = map(int, fields)
    return user + nice + system + irq + softirq + steal


def _listening(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        for line in (PROC / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _descriptors(pid: int) -> Iterator[str]:
    for descriptor in (PROC / str(pid) / "fd").iterdir():
        try:
            yield str(descriptor.readlink())
        except OSError:
            continue  # closed between the listing and the reading


def _read_all(folder: Path, pattern: str) -> Iterator[str]:
    for path in folder.glob(pattern):
        try:
            yield path.read_text()
        except OSError:
            continue  # ended between the listing and the reading
