"""One HTTP/1.1 connection with one request on its way: what a load test sends and times.

Raw, because the client shares the machine's cores with what it measures, and because each request
of a ready-made client costs more than the server's own work. Nothing is allocated for a request
but its answer, and no task or future stands between the socket and the clock.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Final, cast

import httptools

#: Why a request has no answer.
CLOSED: Final = "connection closed before the answer"
NOT_HTTP: Final = "answer is not HTTP"


class Connection(asyncio.Protocol):
    """Sends one request at a time, and calls back when its answer is whole or lost.

    Attributes:
        sent: When the last request was sent, by `perf_counter`; at first, when it was connected.
        usable: Whether another request may be sent.
    """

    def __init__(
        self,
        answered: Callable[["Connection", int, bytes], None],
        lost: Callable[["Connection", str], None],
    ) -> None:
        """Keep whom to tell.

        Args:
            answered: Called with the status and the body of an answer.
            lost: Called with the reason when the connection ends, with or without a request.
        """
        self._answered = answered
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._whole = False
        self._reason = CLOSED
        self.sent = 0.0
        self.usable = False

    def send(self, request: bytes) -> None:
        """Send a request. The connection must be made, and the answer before be there."""
        self.sent = perf_counter()
        cast("asyncio.Transport", self._transport).write(request)

    def abort(self, reason: str) -> None:
        """End the connection at once, for a reason that `lost` is then told."""
        self._reason = reason
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember what to write to."""
        self._transport = cast("asyncio.Transport", transport)
        self.sent = perf_counter()
        self.usable = True

    def connection_lost(self, exception: Exception | None) -> None:
        """Tell that there is no connection any more."""
        self.usable = False
        if exception is not None and self._reason == CLOSED:
            self._reason = str(exception) or type(exception).__name__
        self._lost(self, self._reason)

    def data_received(self, data: bytes) -> None:
        """Read on in the answer, and hand it over when it is whole."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort(NOT_HTTP)
            return
        if not self._whole:
            return
        # Here and not in the parser's callback, which would take an error of ours for its own.
        body, self._body, self._whole = self._body, b"", False
        self._answered(self, self._parser.get_status_code(), body)
        if not self.usable:
            cast("asyncio.Transport", self._transport).close()

    def on_body(self, body: bytes) -> None:
        """Keep a part of the answer."""
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        """Note that the answer is whole, and whether another may follow."""
        self._whole = True
        # Only known now: afterwards the parser waits for the next answer.
        self.usable = self._parser.should_keep_alive()
