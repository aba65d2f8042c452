"""One load test from its first connection to its last answer, inside one event loop."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from mlops_assets.load.connection import Connection
from mlops_assets.load.measured import Measured
from mlops_assets.load.target import Target

TIMED_OUT: Final = "no answer in time"
NO_CONNECTION: Final = "no connection free in time"
_SWEEP_SECONDS: Final = 0.05
# Servers close idle connections, after 5 s often. A request that is sent at that moment is lost
# through no fault of the server, so the client is the one that lets go, and earlier.
_IDLE_SECONDS: Final = 2.0


@dataclass(slots=True)
class Request:
    """A request: which body, when it was due, and whether it counts."""

    position: int
    due: float
    counts: bool


class Run(ABC):
    """Sends requests that are due over the connections that are free."""

    def __init__(
        self, target: Target, measured: Measured, connections: int, timeout: float
    ) -> None:
        """Prepare a run.

        Args:
            target: What is sent, and where to.
            measured: Collects what is seen.
            connections: The most there may be.
            timeout: Seconds after which a request counts as not answered.
        """
        self._target = target
        self._measured = measured
        self._most = connections
        self._timeout = timeout
        self._waiting: deque[Request] = deque()
        self._busy: dict[Connection, Request] = {}
        # The last one used is the next one used, so that those too many fall idle.
        self._idle: list[Connection] = []
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = 0

    async def go(self) -> float:
        """Run to the end.

        Returns:
            The seconds that it took.

        Raises:
            OSError: The server cannot be reached.
        """
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._over: asyncio.Future[None] = loop.create_future()
        # What goes wrong in a callback would be a line in a log, and figures nobody should trust.
        loop.set_exception_handler(self._broken)
        try:
            self._idle.append(await self._connected())
        except OSError as error:
            where = f"{self._target.host} port {self._target.port}"
            raise ConnectionError(f"{where} cannot be reached: {_words(error)}") from None
        started = perf_counter()
        sweeper = loop.create_task(self._sweep())
        try:
            self._start(started)
            await self._over
        finally:
            seconds = perf_counter() - started
            self._stop()
            tasks = [sweeper, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            connections = [*self._idle, *self._busy]
            self._idle, self._busy = [], {}
            self._waiting.clear()
            for connection in connections:
                connection.abort("the test is over")
            # So that they are closed before the loop is.
            await asyncio.sleep(0)
        return seconds

    @abstractmethod
    def _start(self, now: float) -> None:
        """Let the first requests arrive."""

    @abstractmethod
    def _stop(self) -> None:
        """Let no more requests arrive."""

    @abstractmethod
    def _follow(self, now: float, after_failure: bool) -> None:
        """Let a request follow one that ended, if that is how this loop goes on."""

    @abstractmethod
    def _expects_more(self) -> bool:
        """Whether requests will still arrive when none is waiting or on its way."""

    def _arrive(self, due: float, counts: bool) -> None:
        """Send a request that is due, or let it wait for a connection."""
        position = self._arrived % len(self._target.requests)
        self._arrived += 1
        self._waiting.append(Request(position, due, counts))
        if counts:
            self._measured.late.append(perf_counter() - due)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._waiting and self._idle:
            connection, request = self._idle.pop(), self._waiting.popleft()
            self._busy[connection] = request
            connection.send(self._target.requests[request.position])
        room = self._most - len(self._busy) - self._opening
        for _ in range(min(len(self._waiting) - self._opening, room)):
            self._opening += 1
            task = self._loop.create_task(self._open())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connected(self) -> Connection:
        target = self._target
        async with asyncio.timeout(self._timeout):
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._answered, self._lost),
                target.host,
                target.port,
                ssl=target.tls,
            )
        return connection

    async def _open(self) -> None:
        try:
            connection = await self._connected()
        except OSError as error:  # a timeout is one
            self._opening -= 1
            if self._waiting:
                why = f"cannot connect: {_words(error)}"
                self._fail(self._waiting.popleft(), perf_counter(), why)
            return
        self._opening -= 1
        self._idle.append(connection)
        self._dispatch()

    def _answered(self, connection: Connection, status: int, body: bytes) -> None:
        now = perf_counter()
        request = self._busy.pop(connection)
        if connection.usable:
            self._idle.append(connection)
        if request.counts:
            self._measured.answered(
                request.position, now - request.due, now - connection.sent, status, body
            )
        self._ended(now, after_failure=False)

    def _lost(self, connection: Connection, why: str) -> None:
        request = self._busy.pop(connection, None)
        if request is not None:
            self._fail(request, connection.sent, why)
        elif connection in self._idle:
            self._idle.remove(connection)

    def _fail(self, request: Request, sent: float, why: str) -> None:
        now = perf_counter()
        if request.counts:
            self._measured.failed(now - request.due, now - sent, why)
        self._ended(now, after_failure=True)

    def _ended(self, now: float, after_failure: bool) -> None:
        self._follow(now, after_failure)
        self._dispatch()
        self._end_if_done()

    def _end_if_done(self) -> None:
        if not (self._busy or self._waiting or self._expects_more() or self._over.done()):
            self._over.set_result(None)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = perf_counter()
            for connection in [c for c in self._busy if now - c.sent > self._timeout]:
                connection.abort(TIMED_OUT)
            while self._waiting and now - self._waiting[0].due > self._timeout:
                self._fail(self._waiting.popleft(), now, NO_CONNECTION)
            for connection in [c for c in self._idle if now - c.sent > _IDLE_SECONDS]:
                self._idle.remove(connection)
                connection.abort("idle")

    def _broken(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(context["message"])
        if not self._over.done():
            self._over.set_exception(error)


def _words(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
