"""`grpc.health.v1`: whether this worker, and each of its signals, can be asked (grpc/grpc doc/health-checking.md)."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from grpc_health.v1 import health_pb2  # the messages alone: this does not import grpc

from serving.errors import UnknownSignal
from serving.handlers.watchers import Watchers
from serving.handlers.wire import parse

SERVICE: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_Reply = health_pb2.HealthCheckResponse
SERVING, NOT_SERVING, SERVICE_UNKNOWN = (
    _Reply(status=status).SerializeToString() for status in (_Reply.SERVING, _Reply.NOT_SERVING, _Reply.SERVICE_UNKNOWN)
)


class HealthBook:
    """What health checks are told, service by service. Lives as long as the worker.

    "" is the worker as a whole, every other service is a signal. A worker is born NOT_SERVING.
    """

    def __init__(self) -> None:
        self._states: dict[str, bytes] = {"": NOT_SERVING}
        self._closed = False
        self._watchers = Watchers()

    @property
    def watchers(self) -> int:
        """How many calls watch now."""
        return len(self._watchers)

    def serving(self, service: str) -> bool:
        """Whether `service` is SERVING."""
        return bool(self._states.get(service) == SERVING)

    def set_serving(self, service: str, serving: bool) -> None:
        """What is said of `service` from now on. Without effect after `shutdown`."""
        state = SERVING if serving else NOT_SERVING
        if self._closed or self._states.get(service) == state:
            return
        self._states[service] = state
        self._watchers.wake()

    def shutdown(self) -> None:
        """Every service is NOT_SERVING, for good. Those who watch are told, and their calls end."""
        self._states = dict.fromkeys(self._states, NOT_SERVING)
        self._closed = True
        self._watchers.wake()

    def check(self, body: bytes) -> bytes:
        """Answers a `HealthCheckRequest`. UnknownSignal for a service that is none."""
        service = _service(body)
        state = self._states.get(service)
        if state is None:
            served = ", ".join(sorted(name for name in self._states if name)) or "none"
            raise UnknownSignal(
                f'service: expected "" or a signal that is served here ({served}), found {service[:80]!r}'
            )
        return state

    async def watch(self, body: bytes) -> AsyncGenerator[bytes, None]:
        """The state of a service, and each new one: SERVICE_UNKNOWN for as long as there is no such service.

        A watcher that reads slowly gets the newest state, not every state.
        """
        service, last = _service(body), b""
        with self._watchers.watching() as changed:
            while True:
                changed.clear()
                state = self._states.get(service, SERVICE_UNKNOWN)
                if state != last:
                    last = state
                    yield state
                elif self._closed:
                    return
                else:
                    await changed.wait()


def _service(body: bytes) -> str:
    service: str = parse(health_pb2.HealthCheckRequest, body).service
    return service
