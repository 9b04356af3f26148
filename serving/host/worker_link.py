"""The supervisor's end of one worker: its process, its pipe, and who waits for which acknowledgement."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from serving.errors import ListenRefused, PipeBroken, WorkerFailed
from serving.host.pipe import Ack, Drain, Message, Open, Pipe, Ready, Setup, open_pipe

START_SECONDS = 30.0
ACK_SECONDS = 30.0


class WorkerLink:
    """A running worker. Owned by `start_worker`.

    is_open: it takes calls. failures: signal → why it does not serve it as it was ordered last.
    """

    def __init__(self, setup: Setup, process: subprocess.Popen[bytes], pipe: Pipe) -> None:
        self.setup = setup
        self.is_open = False
        self.failures: dict[str, str] = {}
        self.gone = asyncio.Event()
        self._process = process
        self._pipe = pipe
        self._waiting: dict[int, asyncio.Future[Ack]] = {}
        self._number = 0

    @property
    def address(self) -> str:
        """Where it answers, HOST:PORT or unix:PATH."""
        return self.setup.address

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def send(self, order: Message) -> asyncio.Future[Ack]:
        """Sends `order`; the future is its acknowledgement, or WorkerFailed when the worker dies first."""
        ack: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self._number += 1
        self._waiting[self._number] = ack
        try:
            if self.gone.is_set():
                raise PipeBroken("its end of the pipe is closed")
            self._pipe.send(self._number, order)
        except PipeBroken as error:
            self._fail_waiting(self._dead(error))
        return ack

    async def order(self, order: Message) -> Ack:
        """Sends `order` and waits for its acknowledgement. WorkerFailed when none comes in time."""
        return await acknowledged(self, self.send(order))

    async def greet(self) -> None:
        """Sends the setup and waits until the worker takes orders. ListenRefused or WorkerFailed when it does not."""
        self._pipe.send(0, self.setup)
        try:
            _, ready = await asyncio.wait_for(self._pipe.reply(), START_SECONDS)
        except (PipeBroken, TimeoutError) as error:
            raise self._dead(error) from error
        if not isinstance(ready, Ready):
            raise WorkerFailed(f"worker {self.setup.worker}: expected Ready, found {type(ready).__name__}")
        if ready.error:
            raise ListenRefused(ready.error)

    async def tell(self, orders: Sequence[Message]) -> None:
        """Has the worker carry out `orders`. WorkerFailed when it does not."""
        for ack in [self.send(order) for order in orders]:
            self.note(await acknowledged(self, ack))

    async def open(self) -> None:
        """Has the worker take calls, once all that it was told before is in place. ListenRefused when it cannot."""
        said = await self.order(Open())
        if said.error:
            raise ListenRefused(said.error)
        self.is_open = True

    def note(self, ack: Ack) -> None:
        """Keeps what an acknowledgement says about what is not served."""
        if ack.failures is not None:
            self.failures = ack.failures

    async def read_acks(self) -> None:
        """Gives each acknowledgement to who waits for it, until the worker is gone."""
        try:
            while True:
                number, reply = await self._pipe.reply()
                ack = self._waiting.pop(number, None)
                if isinstance(reply, Ack) and ack is not None and not ack.done():
                    ack.set_result(reply)
        except PipeBroken as error:
            self._fail_waiting(self._dead(error))
        finally:
            self._fail_waiting(self._dead(None))
            self.gone.set()

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()

    async def stop(self, grace_seconds: float) -> None:
        """Lets the worker drain; kills it when it has not ended within its grace and a second."""
        if not self.gone.is_set():
            self.send(Drain())
        try:
            await asyncio.wait_for(self._ended(), grace_seconds + 1.0)
        except TimeoutError:
            self._process.kill()
            await self._ended()

    async def _ended(self) -> None:
        """Waits until the process is gone, without a thread: many workers may go at once."""
        if self._process.poll() is not None:
            return
        ended = asyncio.Event()
        loop, descriptor = asyncio.get_running_loop(), os.pidfd_open(self.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        self._process.wait()  # at once: it is over

    def _fail_waiting(self, error: WorkerFailed) -> None:
        waiting, self._waiting = self._waiting, {}
        for ack in waiting.values():
            if not ack.done():
                ack.set_exception(error)
                ack.exception()  # looked at: who stopped waiting for it need not hear of it

    def _dead(self, error: BaseException | None) -> WorkerFailed:
        why = f": {error}" if error is not None and str(error) else ""
        return WorkerFailed(f"worker {self.setup.worker}: expected it to answer, found it gone{why}; it is restarted")


async def acknowledged(link: WorkerLink, ack: asyncio.Future[Ack]) -> Ack:
    """Waits for `ack`. A worker that does not answer in time is killed (and so restarted): WorkerFailed."""
    try:
        return await asyncio.wait_for(ack, ACK_SECONDS)
    except TimeoutError as error:
        link.kill()
        raise WorkerFailed(
            f"worker {link.setup.worker}: expected an answer within {ACK_SECONDS} s, found none; it is restarted"
        ) from error


@asynccontextmanager
async def start_worker(setup: Setup) -> AsyncIterator[WorkerLink]:
    """A worker process that takes orders. It is drained and gone when the block is left."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "serving.host.worker", str(theirs.fileno())]
    process = await asyncio.to_thread(_spawn, command, theirs, setup.listener)
    pipe = await open_pipe(ours)
    link = WorkerLink(setup, process, pipe)
    reading: asyncio.Task[None] | None = None
    try:
        await link.greet()
        reading = asyncio.create_task(link.read_acks())
        yield link
    finally:
        await link.stop(setup.grace_seconds)
        if reading is not None:
            await reading
        pipe.close()


def _spawn(command: list[str], theirs: socket.socket, listener: int | None) -> subprocess.Popen[bytes]:
    with theirs:
        inherited = (theirs.fileno(),) if listener is None else (theirs.fileno(), listener)
        return subprocess.Popen(  # noqa: S603 - our own module, run by our own interpreter
            command, pass_fds=inherited, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
