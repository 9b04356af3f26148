"""What servers themselves count: metrics pages in Prometheus' text format, and the echoes' own Count call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.request import ProxyHandler, build_opener

import grpc
from prometheus_client.parser import text_string_to_metric_families

from loadtests.harness.servers import HOST

_TIMEOUT_SECONDS = 10.0
_OPENER = build_opener(ProxyHandler({}))  # a proxy of the environment is not asked for a page of this machine


def metric(port: int, sample: str, labels: Mapping[str, str] | None = None, *, path: str = "metrics") -> int:
    """The sum of all samples named `sample` that carry `labels`, on the page http://HOST:port/path. 0 for none.

    A counter whose name does not end in `_total` is given that ending by the parser.
    """
    with _OPENER.open(f"http://{HOST}:{port}/{path}", timeout=_TIMEOUT_SECONDS) as page:
        return metric_in(page.read().decode(), sample, labels)


def metric_in(page: str, sample: str, labels: Mapping[str, str] | None = None) -> int:
    """The same of a page's text."""
    wanted = (labels or {}).items()
    total = 0.0
    for family in text_string_to_metric_families(page):
        total += sum(each.value for each in family.samples if each.name == sample and wanted <= each.labels.items())
    return int(total)


def echoes(port: int) -> Callable[[], int]:
    """Asks an echo of ours how many calls it has echoed: eight bytes, big-endian."""

    def count() -> int:
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
        with grpc.insecure_channel(f"{HOST}:{port}", options=options) as channel:
            reply: bytes = channel.unary_unary("/bench.Echo/Count")(b"", timeout=_TIMEOUT_SECONDS)
        return int.from_bytes(reply, "big")

    return count
