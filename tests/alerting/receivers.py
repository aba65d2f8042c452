"""What stands at the other end: a webhook in every mood, and a mail server."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook:
    """A receiver.

    Attributes:
        status: It answers; None for no answer at all.
        taken: The messages, in their order.
        on_message: Called between a message and its answer.
    """

    def __init__(self) -> None:
        self.status: int | None = 200
        self.taken: list[dict[str, Any]] = []
        self.on_message: Callable[[], None] = lambda: None
        self.port = 0
        self.released = threading.Event()

    @property
    def titles(self) -> list[str]:
        return [f"{message['type']}: {message['title']}" for message in self.taken]

    def url(self, secret: str = "secret") -> str:
        return f"json://user:{secret}@127.0.0.1:{self.port}/{secret}/?token={secret}"


@contextmanager
def webhook() -> Iterator[Webhook]:
    made = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.taken.append(json.loads(body))
            made.on_message()
            if made.status is None:
                made.released.wait(30)
                return
            self.send_response(made.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.port = server.server_port
    with _running(server):
        yield made
        made.released.set()


@contextmanager
def mail_server(mails: list[str]) -> Iterator[int]:
    """Takes every mail; gives its port."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 test")
            while line := self.rfile.readline().decode().strip():
                if line.upper() == "DATA":
                    self._say("354 go on")
                    lines = iter(self.rfile.readline, b".\r\n")
                    mails.append(b"".join(lines).decode())
                self._say("221 bye" if line.upper() == "QUIT" else "250 ok")

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with _running(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as server:
        yield server.server_address[1]


@contextmanager
def _running(server: Any) -> Iterator[Any]:
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
