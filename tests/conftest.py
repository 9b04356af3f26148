"""What every test runs under: a coroutine of ours that blocks the loop fails its test."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

from tests.rings import remove_rings

# Machines are shared and noisy: how long one example takes says nothing.
settings.register_profile("usual", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", parent=settings.get_profile("usual"), max_examples=5000)
settings.load_profile("usual")


@pytest.fixture(autouse=True)
def honest_loop() -> Iterator[BlockBuster]:
    """Blocking calls made by the serving path inside a running loop raise BlockingError.

    Only what answers requests is held to this: the monitor writes its decisions durably in a loop of its own.
    """
    with blockbuster_ctx(scanned_modules=["serving", "protos"]) as detector:
        yield detector


@pytest.fixture(autouse=True, scope="session")
def grpc_poller() -> Iterator[None]:
    """grpcio's asyncio poller lives as long as the tests do.

    Its thread is joined when its last user goes: in a running loop that is a blocking call, wherever the server or
    channel happens to be collected.
    """
    grpc.aio.init_grpc_aio()
    yield
    grpc.aio.shutdown_grpc_aio()


@pytest.fixture(autouse=True, scope="session")
def no_rings_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Rings of the homes that this run made go with it; those of anything beside it stay."""
    yield
    remove_rings(tmp_path_factory.getbasetemp())
