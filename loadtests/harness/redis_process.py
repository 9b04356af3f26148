"""A real redis-server of one's own, for tests and benches: on loopback and a Unix socket, gone afterwards."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_READY = "Ready to accept connections"


class RedisFailed(Exception):
    """redis-server did not start. The message quotes what it said."""


class RedisProcess:
    """A redis-server that can be killed, stopped and started again on the same address. Owned by `redis_process`.

    folder: short, as a Unix socket's path has at most 107 bytes. options: lines of redis.conf beyond these: no
    snapshots unless asked for, a TCP port on 127.0.0.1 and a Unix socket.
    """

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.port = free_port()
        self.options = options
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Its Unix socket."""
        return f"unix://{self.folder}/redis.sock"

    @property
    def tcp_url(self) -> str:
        """Its TCP port on 127.0.0.1."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id, while it runs."""
        return self._running.pid

    def start(self) -> None:
        """Returns once it accepts connections."""
        (self.folder / "redis.conf").write_text("\n".join([*self._settings(), *self.options, ""]))
        self._process = subprocess.Popen(
            ["redis-server", "redis.conf"],  # noqa: S607 - a stated prerequisite
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if _READY in line:
                return
        raise RedisFailed(f"redis-server: expected {_READY!r}, found its end: {''.join(said[-5:])}")

    def kill(self) -> None:
        """kill -9: nothing is saved, nobody is told."""
        self._end(signal.SIGKILL)

    def forget(self) -> None:
        """Deletes what a Redis that has ended left on disk."""
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)

    def stop(self) -> None:
        """SIGSTOP: it keeps its sockets and answers nothing until `go_on`."""
        self._running.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._running.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Ends it, whatever state it is in."""
        if self._process is not None:
            self.kill()

    @property
    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "expected a redis-server that was started"
        return self._process

    def _end(self, number: int) -> None:
        process, self._process = self._running, None
        process.send_signal(number)
        process.communicate()

    def _settings(self) -> Iterator[str]:
        yield "bind 127.0.0.1"
        yield f"port {self.port}"
        yield f"unixsocket {self.folder}/redis.sock"
        yield "unixsocketperm 700"
        yield f"dir {self.folder}"
        yield 'save ""'


@contextmanager
def redis_process(folder: Path, options: Sequence[str] = ()) -> Iterator[RedisProcess]:
    """A redis-server in `folder`, which exists; it is gone when the block is left."""
    redis = RedisProcess(folder, options)
    try:
        redis.start()
        yield redis
    finally:
        redis.close()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
