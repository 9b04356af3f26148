"""Where a transport listens, and what it asks of TLS peers."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import msgspec

from serving.errors import ListenRefused

BACKLOG = 1024
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2, what RFC 9113 (section 9.2.2) allows


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """PEM files of a server. client_ca: clients must show a certificate of it (mutual TLS)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """The context of a server that speaks HTTP/2 alone. ListenRefused for files that are missing or do not fit."""
        if self.key.exists() and self.key.stat().st_mode & 0o077:
            raise ListenRefused(f"{self.key}: expected mode 0600, found a key that others may read; chmod 600 it")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.set_alpn_protocols(["h2"])
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION  # RFC 9113, section 9.2.1
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            raise ListenRefused(
                f"TLS: expected a PEM certificate {self.certificate} with its key {self.key}, found: {error}"
            ) from error
        return context


def bind(listen: str, *, reuse_port: bool = False) -> socket.socket:
    """A bound, non-blocking socket at `listen`: HOST:PORT (port 0: any free one) or unix:PATH. ListenRefused if not.

    reuse_port: others may bind the same port, and the kernel deals connections out among them.
    """
    try:
        if listen.startswith("unix:"):
            return _bind_unix(Path(listen.removeprefix("unix:")))
        host, _, port = listen.rpartition(":")
        return _bind_tcp(host.strip("[]"), int(port), reuse_port=reuse_port)
    except (OSError, ValueError, OverflowError) as error:
        raise ListenRefused(
            f"{listen}: expected a free address, HOST:PORT or unix:PATH, found: {error}; choose another --listen, or "
            "stop what listens there (a worker whose supervisor was killed serves on until it gets SIGTERM)"
        ) from error


def address_of(listener: socket.socket) -> str:
    """Where `listener` listens: HOST:PORT or unix:PATH."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if listener.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def _bind_tcp(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _bind_unix(path: Path) -> socket.socket:
    """A socket of its owner alone. What lies there and answers is not taken away; what does not, is left over."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _answers(path):
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o600)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0
