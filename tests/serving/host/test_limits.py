"""Limits of the data plane come from `[transport]` of signalbox.toml, and reach the worker."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from promotion.config import ConfigError
from protos.client import AsyncClient, CallError
from serving.host.hosting import Hosting
from serving.host.supervisor import read_limits, serve
from serving.transport.http2.limits import Limits, Rate

COLUMNS = 3


def test_what_is_left_out_keeps_its_default(config: Any) -> None:
    told = msgspec.toml.decode("message_bytes = 1000\nidle_seconds = 60\npings = { burst = 5, per_second = 1 }")
    found = read_limits(msgspec.structs.replace(config, transport=told))
    assert found == Limits(message_bytes=1000, idle_seconds=60.0, pings=Rate(5, 1))
    assert read_limits(config) == Limits()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"mesage_bytes": 1000}, "mesage_bytes"),
        ({"message_bytes": 0.5}, "int"),
        ({"continuation_frames": -1}, "continuation_frames: expected 0 to"),
        ({"pings": 3}, "pings"),
    ],
)
def test_what_is_no_limit_is_refused_by_name(config: Any, told: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_limits(msgspec.structs.replace(config, transport=told))


@pytest.mark.parametrize("transport", ["native", "grpcio"])
async def test_a_worker_keeps_them(desk: Any, transport: Any) -> None:
    config = msgspec.structs.replace(desk.config, transport={"message_bytes": 1000})
    async with (
        serve(desk.home, config, Hosting(listen="127.0.0.1:0", transport=transport)) as supervisor,
        AsyncClient(*supervisor.addresses) as client,
    ):
        assert len(await client.score("large_caps", features=np.ones((10, COLUMNS), np.float32))) == 10
        with pytest.raises(CallError) as refused:
            await client.score("large_caps", features=np.ones((100, COLUMNS), np.float32))
    assert refused.value.code == "RESOURCE_EXHAUSTED"
