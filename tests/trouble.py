"""A store in trouble: what stands between a client and a real store, and spoils its answers."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Trouble:
    """What stands between a client and the store, and what it does to the next requests.

    Attributes:
        busy: How many requests are answered 503 before they reach the store.
        lost: How many PUTs reach the store and are answered 503 nevertheless.
        seen: Method and path of each request.
    """

    def __init__(self, store: str) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._busy = 0
        self.lost = 0
        self.seen: list[str] = []

    @property
    def busy(self) -> int:
        return self._busy

    @busy.setter
    def busy(self, requests: int) -> None:
        # A client that tries again in the background must not undo it.
        with self._lock:
            self._busy = requests

    def _is_busy(self) -> bool:
        with self._lock:
            busy = self._busy > 0
            self._busy -= busy
        return busy

    def answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        self.seen.append(f"{method} {path}")
        if self._is_busy():
            return 503, {}, b"<Error><Code>SlowDown</Code></Error>"
        # The signature covers the name under which the client knows the store.
        request = urllib.request.Request(
            f"{self.store}{path}", body or None, headers, method=method
        )
        try:
            with urllib.request.urlopen(request) as reply:
                found = reply.status, dict(reply.headers), reply.read()
        except urllib.error.HTTPError as error:
            found = error.code, dict(error.headers), error.read()
        if method == "PUT" and self.lost:
            self.lost -= 1
            return 503, {}, b""
        return found


@contextmanager
def listening(trouble: Trouble) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, content = trouble.answer(
                self.command, self.path, dict(self.headers), body
            )
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = headers.get("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = relay  # noqa: N815 (http.server's names)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
