"""How a scorer is hosted: frozen values, checked before anything is opened."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import msgspec

from serving.errors import CoreRefused, ListenRefused
from serving.transport.listen import Tls

TransportName = Literal["native", "grpcio"]
GRACE_SECONDS = 5.0
UNIX = "unix:"


class Hosting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The processes of one scorer.

    listen: HOST:PORT of worker 0, worker i has PORT + i (port 0: any free one each); or unix:PATH of a lone worker,
    unix:PATH.i of worker i where there are several. reuse_port: every worker at HOST:PORT itself, and the kernel deals
    connections out. control: path of the control socket, None for the home's own. metrics: HOST:PORT of a metrics page,
    None for none. cores: worker i runs on the i-th of these alone; empty: wherever the kernel likes. busy_poll: a
    worker's loop never sleeps, which takes a whole core each. grace_seconds: how long accepted calls have at the end.
    """

    listen: str = "127.0.0.1:8500"
    workers: Annotated[int, msgspec.Meta(ge=1)] = 1
    transport: TransportName = "native"
    reuse_port: bool = False
    control: str | None = None
    metrics: str | None = None
    tls: Tls | None = None
    cores: tuple[int, ...] = ()
    busy_poll: bool = False
    grace_seconds: float = GRACE_SECONDS

    def core(self, worker: int) -> int | None:
        """The core of worker number `worker`, None for any."""
        return self.cores[worker] if self.cores else None

    def address(self, worker: int) -> str:
        """Where worker number `worker` is to listen. ListenRefused for what is no address."""
        if self.listen.startswith(UNIX):
            return self.listen if self.workers == 1 else f"{self.listen}.{worker}"
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65_535:
            raise ListenRefused(
                f"listen: expected HOST:PORT or unix:PATH, found {self.listen!r}; try 127.0.0.1:8500 or [::1]:8500"
            )
        step = 0 if self.reuse_port or not int(port) else worker
        return f"{host}:{int(port) + step}"

    def check(self) -> None:
        """CoreRefused for cores that cannot be had, ListenRefused for an address that is none."""
        for worker in range(self.workers):
            self.address(worker)
        if self.reuse_port and self.listen.startswith(UNIX):
            raise ListenRefused(f"listen: expected HOST:PORT with a shared port, found {self.listen!r}")
        if not self.cores:
            return
        allowed = os.sched_getaffinity(0)
        foreign = sorted(set(self.cores) - allowed)
        if foreign:
            raise CoreRefused(
                f"cores: expected some of {', '.join(map(str, sorted(allowed)))}, which this process may use, found "
                f"{', '.join(map(str, foreign))}; choose others"
            )
        if len(self.cores) != self.workers or len(set(self.cores)) != self.workers:
            raise CoreRefused(
                f"cores: expected {self.workers} different ones, one a worker, found "
                f"{', '.join(map(str, self.cores))}; name as many as there are workers"
            )
