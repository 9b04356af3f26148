"""A worker's own kill switch: a Unix socket of its owner that halts it without supervisor, ledger or gRPC.

    printf 'halt large_caps\\n' | nc -U HOME/run/worker-0.kill      halt one signal
    printf 'halt\\n'            | nc -U HOME/run/worker-0.kill      halt every signal
    printf 'resume\\n'          | nc -U HOME/run/worker-0.kill      take back what was halted here

A halt is in force before it is answered, and kept in HOME/halts: it holds across restarts of the worker until it is
resumed here. While a worker is being replaced, the two processes tell each other.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from promotion.home import Home
from serving.errors import HaltNotKept, ListenRefused
from serving.host.halts import EVERY, HaltFile, worker_halts

MAX_LINE_BYTES = 256
_PATIENCE_SECONDS = 5.0
_SIBLING = "told "  # begins a line that the worker's other process sent: it is not sent back


class KillSwitch:
    """What is halted in this process. changed: called after every change."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._halted: dict[str, str] = {}

    def reason(self, signal: str) -> str:
        """Why `signal` is halted here, or ""."""
        return self._halted.get(signal) or self._halted.get(EVERY, "")

    def halt(self, signal: str, reason: str) -> None:
        """Halts `signal` (EVERY for all of them)."""
        self.halt_all({signal: reason})

    def halt_all(self, halts: Mapping[str, str]) -> None:
        """Halts every signal of `halts` (signal → why)."""
        self._halted |= halts
        self._changed()

    def resume(self, signal: str) -> None:
        """Takes a halt back; EVERY takes all of them back."""
        if signal == EVERY:
            self._halted.clear()
        self._halted.pop(signal, None)
        self._changed()


class KillSocket:
    """Where a worker's kill switch is thrown. Owned by `kill_socket`."""

    def __init__(self, path: Path, switch: KillSwitch, halts: HaltFile) -> None:
        self.path = path
        self._switch = switch
        self._halts = halts
        self._leaving = path.with_suffix(".leaving")  # where the process that is being replaced still listens
        self._inode = 0

    def listen(self) -> socket.socket:
        """A socket that listens at the path, mode 0600; who listens there moves aside, and what is left over goes."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        own = self.path.with_suffix(f".{os.getpid()}")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(own))
            own.chmod(0o600)
            listener.listen()
            listener.setblocking(False)
            self._inode = own.stat().st_ino
            self._move_aside()
            own.replace(self.path)
        except OSError:
            listener.close()
            own.unlink(missing_ok=True)
            raise
        return listener

    def leave(self) -> None:
        """Takes this process's socket away, wherever it lies by now."""
        for path in (self.path, self._leaving):
            if _inode(path) == self._inode:
                path.unlink(missing_ok=True)

    async def take_over(self) -> None:
        """Halts what was halted here before: it holds across restarts."""
        halts = await asyncio.to_thread(self._halts.read)
        if halts:
            self._switch.halt_all(halts)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one caller."""
        try:
            line = await asyncio.wait_for(reader.readline(), _PATIENCE_SECONDS)
            answer = await self.obey(line.decode(errors="replace"))
            writer.write(answer.encode() + b"\n")
            await writer.drain()
        except (TimeoutError, ValueError, ConnectionError):
            pass  # a peer that says nothing, too much, or leaves: nothing was asked for
        finally:
            writer.close()

    async def obey(self, line: str) -> str:
        """Carries out one line and returns the answer."""
        order = line.removeprefix(_SIBLING).strip()
        word, _, signal = order.partition(" ")
        signal = signal.strip()
        what = signal or "every signal"
        if word == "halt":
            reason = "halted by the worker's kill socket"
            self._switch.halt(signal, reason)
            return await self._keep(line, order, f"halted {what}", lambda: self._halts.add(signal, reason))
        if word == "resume":
            self._switch.resume(signal)
            return await self._keep(line, order, f"resumed {what}", lambda: self._halts.remove(signal))
        return "expected 'halt [SIGNAL]' or 'resume [SIGNAL]', found another line; nothing was changed"

    async def _keep(self, line: str, order: str, done: str, change: Callable[[], None]) -> str:
        """What was done, and whether it will hold: kept on the disk, and told to the worker's other process."""
        try:
            await asyncio.to_thread(change)
        except HaltNotKept as error:
            done = f"{done}, but {error}"
        if not line.startswith(_SIBLING):
            for path in (self.path, self._leaving):
                await self._tell(path, order)
        return done

    async def _tell(self, path: Path, order: str) -> None:
        """Has the process that listens at `path` do the same, unless that is this one, or nobody."""
        if await asyncio.to_thread(_inode, path) in (0, self._inode):
            return
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(f"{_SIBLING}{order}\n".encode())
                await reader.readline()
                writer.close()

    def _move_aside(self) -> None:
        self._leaving.unlink(missing_ok=True)
        if _answers(self.path):
            os.link(self.path, self._leaving)


def kill_path(home: Home, worker: int) -> Path:
    """Where worker number `worker` of `home` has its kill socket."""
    return home.control_socket.parent / f"worker-{worker}.kill"


@asynccontextmanager
async def kill_socket(home: Home, worker: int, switch: KillSwitch) -> AsyncIterator[KillSocket]:
    """Listens on the worker's kill socket, and halts what was halted there before. ListenRefused when it cannot."""
    path = kill_path(home, worker)
    owned = KillSocket(path, switch, worker_halts(home, worker))
    try:
        listener = await asyncio.to_thread(owned.listen)
        server = await asyncio.start_unix_server(owned.serve, sock=listener, limit=MAX_LINE_BYTES + len(_SIBLING))
    except OSError as error:
        raise ListenRefused(
            f"{path}: expected a path for a kill socket, found: {error}; a socket's path has at most 107 bytes"
        ) from error
    try:
        async with server:
            await owned.take_over()
            yield owned
    finally:
        await asyncio.to_thread(owned.leave)


def _inode(path: Path) -> int:
    """Of what lies at `path`, 0 for nothing."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0
