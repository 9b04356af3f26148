"""`signalbox serve --scratch`: local ONNX files on loopback, for trying out and for benchmarks.

    async with serve_scratch({"mine": Path("model.onnx")}, hosting, instruments=1000) as (supervisor, home):
        ...  # supervisor.addresses answer for "mine"; supervisor.control takes rows signed with a key of `home`

No ledger says that the model may be served, and nobody has signed it: so no score carries capital (weight 0), and
nobody but this machine is answered. All else is as for a release: rules and a throw-away process first, the same
engine, feature table, ring, health and metrics.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from promotion.home import Home
from promotion.ledger.state import LedgerState, SignalState
from promotion.release.child import try_in_child
from serving.errors import ScratchRefused
from serving.feed.row_keys import create_row_key
from serving.host.hosting import UNIX, Hosting
from serving.host.proofs import Principals
from serving.host.scratch_model import scratch_file
from serving.host.supervisor import Place, Supervisor, supervise

GENERATION = 1


class ScratchLedger:
    """Stands where a ledger would: every model is live at generation 1, with weight 0, and stays so."""

    def __init__(self, digests: Mapping[str, str]) -> None:
        signals = {name: SignalState(name, GENERATION, digest) for name, digest in digests.items()}
        self._state = LedgerState(
            sequence=1,
            head="",
            environment="",
            principals={},
            policies={},
            signals=signals,
            trials={},
            declared={},
            declarations={},
            releases={},
            plans={},
        )

    async def state(self) -> LedgerState:
        """What is served."""
        return self._state


@asynccontextmanager
async def serve_scratch(
    models: Mapping[str, Path], hosting: Hosting, *, instruments: int
) -> AsyncIterator[tuple[Supervisor, Home]]:
    """Serves `models` (name → ONNX file) from a home of its own, which goes when the block is left.

    instruments: how many a model's universe has: i0, i1, ... ScratchRefused when a file cannot be read or an address
    is not loopback, ReleaseRefused when no release could hold the model; else raises as `serve`.
    """
    await asyncio.to_thread(check_loopback, hosting)
    async with _temporary_home() as home:
        digests = await asyncio.to_thread(_take_in, home, models)
        files = {scratch_file(home, digest) for digest in digests.values()}
        await asyncio.gather(*(asyncio.to_thread(try_in_child, file) for file in files))
        universes = dict.fromkeys(models, tuple(f"i{number}" for number in range(instruments)))
        place = Place(home, "paper", universes, ScratchLedger(digests), _was_tried, scratch=True)
        async with supervise(place, hosting) as supervisor:
            yield supervisor, home


def check_loopback(hosting: Hosting) -> None:
    """ScratchRefused unless every address of `hosting` is this machine's alone. Blocks: it may ask for a name."""
    for address in (hosting.listen, hosting.metrics or ""):
        if not address or address.startswith(UNIX):
            continue
        host = address.rpartition(":")[0].strip("[]")
        if not host or not all(ipaddress.ip_address(found).is_loopback for found in _addresses(host)):
            raise ScratchRefused(
                f"scratch: expected a loopback address (127.0.0.1, [::1], localhost or unix:PATH), found {address!r}; "
                "to serve others, promote a release"
            )


def _was_tried(_digest: str, _principals: Principals) -> None:
    """Nothing is left to prove: the model was opened in a process of its own before anything was started."""


def _addresses(host: str) -> Iterator[str]:
    try:
        for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
            yield str(found[4][0]).partition("%")[0]
    except OSError as error:
        raise ScratchRefused(f"scratch: expected a loopback address, found {host!r}: {error}") from error


def _take_in(home: Home, models: Mapping[str, Path]) -> dict[str, str]:
    """Copies every model into `home` under its hash; name → hash."""
    create_row_key(home)
    digests = {}
    for name, file in models.items():
        try:
            body = file.read_bytes()
        except OSError as error:
            raise ScratchRefused(f"scratch {name}: expected an ONNX file at {file}, found: {error}") from error
        digests[name] = hashlib.sha256(body).hexdigest()
        path = scratch_file(home, digests[name])
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body)
    return digests


@asynccontextmanager
async def _temporary_home() -> AsyncIterator[Home]:
    """A home in a directory of its owner alone; it goes in the end, rings and all."""
    home = Home(Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="signalbox-scratch-")))
    rings = await asyncio.to_thread(lambda: home.ring(0, "").parent)
    try:
        yield home
    finally:
        for folder in (rings, home.root):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
