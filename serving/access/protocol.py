"""Clients that never finish a request: uvicorn waits for them for ever, and keeps what they send.

Its HTTP parser has no limit for a request's head either. Both are held here, below the app, at the
price of one look for each piece of data that arrives.

Clients, too, that offer to go on in another protocol, as `curl --http2` and Java's do with every
first request: uvicorn would lose their body. The offer may be ignored (RFC 9110, 7.8), and is.
"""

import sys
from asyncio import TimerHandle, Transport
from typing import ClassVar, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Request line and headers. Cookies and tokens need some thousand bytes.
LARGEST_HEAD_BYTES: Final = 64 * 1024
#: With what the app has refused already and the client still sends.
LARGEST_REQUEST_BYTES: Final = 32 * 1024 * 1024
# So that the app's own answer comes first, where there is an app's answer.
_GRACE_SECONDS: Final = 2.0


class _TooLargeError(Exception):
    """A head that is whole, and larger than it may be."""


class GuardedProtocol(HttpToolsProtocol):
    """A connection whose requests have to arrive within a time and a size.

    Attributes:
        seconds: Within which a request must have arrived, head and body.
    """

    seconds: ClassVar[float] = 20.0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Since when a request is arriving, and how much of it is there.
        self._since: float | None = self.loop.time()
        self._bytes = 0
        self._offered = False
        self._too_large = False
        self._timer: TimerHandle = self.loop.call_later(self.seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > LARGEST_HEAD_BYTES:
            self._too_large = True
            raise _TooLargeError
        self._offered = any(name == b"upgrade" for name, _ in self.headers) and (
            self.parser.should_upgrade()
        )
        if not self._offered:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self._offered:
            super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Called where the parser has stopped behind a head: read on, as if there was no offer."""
        stopped = sys.exception()
        if not self._offered or not isinstance(stopped, httptools.HttpParserUpgrade):
            return
        self._offered = False
        parser = self.parser
        version = parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % each for each in self.headers if each[0] != b"upgrade"] + [b""]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(b"\r\n".join([*lines, self._data[stopped.args[0] :]]))

    def send_400_response(self, msg: str) -> None:
        if self._too_large:
            self._end(b"431 Request Header Fields Too Large")
        else:
            super().send_400_response(msg)

    def _feed(self, data: bytes) -> None:
        self._data = data
        super().data_received(data)

    def data_received(self, data: bytes) -> None:
        self._feed(data)
        self._data = b""
        scope = self.scope
        head = scope is not None and "path" in scope
        if head and not self.cycle.more_body:
            self._since = None
            return
        if self._since is None:
            self._since, self._bytes = self.loop.time(), 0
        self._bytes += len(data)
        if self._bytes > LARGEST_REQUEST_BYTES:
            self.transport.abort()
        elif not head and self._bytes > LARGEST_HEAD_BYTES:
            self._end(b"431 Request Header Fields Too Large")

    def _look(self) -> None:
        """End a request that is late; look again when the next one could be."""
        if self.transport.is_closing():
            return
        left = self.seconds
        if self._since is not None:
            head = self.scope is not None and "path" in self.scope
            late = self._since + self.seconds + (_GRACE_SECONDS if head else 0)
            left = late - self.loop.time()
            if left <= 0:
                if head:
                    self.transport.close()
                else:
                    self._end(b"408 Request Timeout")
                return
        self._timer = self.loop.call_later(left, self._look)

    def _end(self, status: bytes) -> None:
        if not self.transport.is_closing():
            head = b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(head)
            self.transport.close()


def guarded(seconds: float) -> type[GuardedProtocol]:
    """The protocol for `uvicorn.Config(http=...)`.

    Args:
        seconds: Within which a request must have arrived.
    """
    return type("GuardedProtocol", (GuardedProtocol,), {"seconds": seconds})
