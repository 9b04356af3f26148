"""Signalbox itself as a server under load: `signalbox serve` with one worker on the server's core."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loadtests.harness.certificate import Certificate
from loadtests.harness.counters import metric
from loadtests.harness.model import BenchModel
from loadtests.harness.servers import HOST, SERVER_CORE, Launch, free_port

SIGNALBOX = str(Path(sys.executable).with_name("signalbox"))
ROWS_METRIC = "signalbox_rows_total"
OK: Mapping[str, str] = {"status": "ok"}


@dataclass(frozen=True)
class Options:
    """How a scorer is started. transport: native or grpcio. certificate: for TLS, None for plain text.

    busy_poll: the worker's loop never sleeps.
    """

    transport: str = "native"
    certificate: Certificate | None = None
    busy_poll: bool = False

    @property
    def name(self) -> str:
        """Transport and what is set beside it."""
        parts = [self.transport, "tls" if self.certificate else "", "busy-poll" if self.busy_poll else ""]
        return "-".join(part for part in parts if part)


def scratch(model: BenchModel, options: Options) -> Launch:
    """`signalbox serve --scratch`: one ONNX file, no ledger. Counted: rows answered with status OK, as its metrics
    page says.
    """
    return _launch(("--scratch", f"{model.name}={model.path}"), options, cores=("--cores", str(SERVER_CORE)))


def home(root: Path, options: Options) -> Launch:
    """`signalbox serve --home`: what the ledger of `root` says is live."""
    return _launch(("--home", str(root)), options)


def _launch(what: tuple[str, ...], options: Options, *, cores: tuple[str, ...] = ()) -> Launch:
    port, page = free_port(), free_port()
    where = ("--listen", f"{HOST}:{port}", "--metrics", f"{HOST}:{page}", "--transport", options.transport)
    tls: tuple[str, ...] = ()
    if options.certificate is not None:
        tls = ("--tls-cert", str(options.certificate.path), "--tls-key", str(options.certificate.key_path))
    polling = ("--busy-poll",) if options.busy_poll else ()
    return Launch(
        name=f"signalbox-{options.name}",
        command=(SIGNALBOX, "serve", *what, *where, *cores, *tls, *polling),
        port=port,
        counted=partial(metric, page, ROWS_METRIC, OK),
        certificate=options.certificate.path.read_bytes() if options.certificate else None,
    )
