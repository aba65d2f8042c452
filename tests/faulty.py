"""Real servers on loopback that do wrong what a test asks for, then do right."""

import http.client
import select
import socket
import socketserver
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """One answer; a ``Content-Length`` of its own makes it end too early."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class HttpServer:
    """What it has been asked, and what it says.

    Attributes:
        url: Without a slash at its end.
        usual: Answers a path and headers once the faults are used up.
        faults: Answers that come first, one a request.
        asked: Headers of each request, by lower-case name; the path under ``path``.
    """

    url: str
    usual: Callable[[str, Mapping[str, str]], Answer]
    faults: deque[Answer] = field(default_factory=deque)
    asked: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def http_server(usual: Callable[[str, Mapping[str, str]], Answer]) -> Iterator[HttpServer]:
    """Run a server for GET and HEAD."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.asked.append({**headers, "path": self.path, "method": self.command})
            fault = made.faults.popleft() if made.faults else None
            answer = fault or made.usual(self.path, made.asked[-1])
            self.send_response(answer.status)
            sent = {
                "Content-Length": str(len(answer.body)),
                **answer.headers,
                "Connection": "close",
            }
            for name, value in sent.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(answer.body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = HttpServer(f"http://127.0.0.1:{server.server_port}", usual)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


def forward_to(endpoint: str) -> Callable[[str, Mapping[str, str]], Answer]:
    """Answers by asking another server; ``Host`` stays, since S3 requests are signed with it."""
    upstream = urlsplit(endpoint).netloc

    def usual(path: str, asked: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection(upstream, timeout=30)
        try:
            headers = {k: v for k, v in asked.items() if k not in ("path", "method")}
            connection.request(asked["method"], path, headers=headers)
            response = connection.getresponse()
            body = response.read()
            kept = ("etag", "last-modified", "content-type", "content-length", "content-range")
            sent = {k: v for k, v in response.getheaders() if k.lower() in kept}
            return Answer(response.status, body, sent)
        finally:
            connection.close()

    return usual


@contextmanager
def cutting_proxy(port: int, after: int) -> Iterator[int]:
    """A proxy to a port of loopback that drops its first connection after some bytes of answers.

    Yields:
        The port that it listens at.
    """
    left = [after]

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as server:
                while True:
                    for ready in select.select([self.request, server], [], [], 30)[0]:
                        data = ready.recv(4096)
                        if not data or (ready is server and left and left[0] < len(data)):
                            left.clear()
                            return
                        if ready is server and left:
                            left[0] -= len(data)
                        (self.request if ready is server else server).sendall(data)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield int(proxy.server_address[1])
        finally:
            proxy.shutdown()
            thread.join()
