"""Where a scorer listens, on which cores: checked before anything is opened."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec
import pytest

from serving.errors import CoreRefused, ListenRefused
from serving.host.hosting import Hosting
from serving.host.listeners import open_listeners
from serving.transport.listen import bind

ALLOWED = sorted(os.sched_getaffinity(0))
FOREIGN = max(ALLOWED) + 1


@pytest.mark.parametrize(
    ("hosting", "addresses"),
    [
        (Hosting(listen="127.0.0.1:8500", workers=2), ["127.0.0.1:8500", "127.0.0.1:8501"]),
        (Hosting(listen="[::1]:8500", workers=2), ["[::1]:8500", "[::1]:8501"]),
        (Hosting(listen="localhost:0", workers=2), ["localhost:0", "localhost:0"]),
        (Hosting(listen="127.0.0.1:8500", workers=2, reuse_port=True), ["127.0.0.1:8500", "127.0.0.1:8500"]),
        (Hosting(listen="unix:/run/sb.sock"), ["unix:/run/sb.sock"]),
        (Hosting(listen="unix:/run/sb.sock", workers=2), ["unix:/run/sb.sock.0", "unix:/run/sb.sock.1"]),
    ],
)
def test_every_worker_has_an_address(hosting: Hosting, addresses: list[str]) -> None:
    hosting.check()
    assert [hosting.address(worker) for worker in range(hosting.workers)] == addresses


@pytest.mark.parametrize("listen", ["8500", "host:", "127.0.0.1:99999", "", "host:-1"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ListenRefused, match="expected HOST:PORT or unix:PATH"):
        Hosting(listen=listen).check()
    with pytest.raises(ListenRefused, match="shared port"):
        Hosting(listen="unix:/run/sb.sock", reuse_port=True).check()


@pytest.mark.parametrize(
    ("cores", "workers", "words"),
    [
        ((FOREIGN,), 1, f"which this process may use, found {FOREIGN}"),
        ((ALLOWED[0],), 2, "expected 2 different ones, one a worker"),
        ((ALLOWED[0], ALLOWED[0]), 2, "expected 2 different ones, one a worker"),
        (tuple(ALLOWED[:2]), 1, "expected 1 different ones"),
    ],
)
def test_cores_that_cannot_be_had_are_refused(cores: tuple[int, ...], workers: int, words: str) -> None:
    with pytest.raises(CoreRefused, match=words):
        Hosting(cores=cores, workers=workers).check()


def test_worker_i_has_the_ith_core() -> None:
    assert [Hosting(cores=(1, 0), workers=2).core(worker) for worker in range(2)] == [1, 0]
    assert Hosting(workers=2).core(1) is None


def connect(address: str) -> socket.socket:
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=5)


@pytest.mark.parametrize("transport", ["native", "grpcio"])
async def test_a_port_is_this_scorers_alone_and_shared_within_it(transport: str) -> None:
    hosting = Hosting(listen="127.0.0.1:0", workers=2, transport=transport, reuse_port=True)  # type: ignore[arg-type]
    async with open_listeners(hosting) as (one, other):
        assert one.address == other.address
        with pytest.raises(ListenRefused):
            async with open_listeners(msgspec.structs.replace(hosting, listen=one.address)):
                pass
        own = bind(one.address, reuse_port=True)  # as a worker that binds it itself does
        own.close()
    bind(one.address).close()


async def test_callers_wait_in_the_queue_of_a_socket_that_no_worker_looks_at() -> None:
    async with open_listeners(Hosting(listen="127.0.0.1:0", transport="native")) as (listener,):
        caller = connect(listener.address)
        worker = socket.socket(fileno=os.dup(listener.descriptor or 0))
        worker.close()  # it died
        successor = socket.socket(fileno=os.dup(listener.descriptor or 0))
        accepted, _ = successor.accept()
        caller.sendall(b"late, not lost")
        assert accepted.recv(100) == b"late, not lost"
        listener.close()
        for each in (caller, accepted, successor):
            each.close()
        with pytest.raises(ConnectionRefusedError):
            connect(listener.address)


async def test_a_unix_socket_is_its_owners_and_goes_with_the_scorer(tmp_path: Path) -> None:
    path = tmp_path / "sb.sock"
    async with open_listeners(Hosting(listen=f"unix:{path}", transport="native")) as (listener,):
        assert listener.address == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(ListenRefused):
            async with open_listeners(Hosting(listen=f"unix:{path}", transport="grpcio")):
                pass
    assert not path.exists()
