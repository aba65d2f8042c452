"""One server with everything on, and those who try to get past it."""

import hashlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.serving.bundles import PAYLOAD, desire, make_bundle, sign
from tests.serving.certificates import issue
from tests.serving.server import Server, wait_until
from tests.serving.test_signature import KEY, public

ALICE, BOB = "alice-0123456789abcdef", "bob-0123456789abcdef"
SECRET = "a-name-that-no-log-may-hold"


def hashed(name: str, key: str) -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"


class Collector(BaseHTTPRequestHandler):
    """Takes traces as a collector does."""

    spans: list[Span]
    paths: set[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            raise AssertionError("not asked for")
        request = ExportTraceServiceRequest.FromString(body)
        self.paths.add(self.path)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass(frozen=True)
class Guarded:
    """A server with everything on, and what belongs to it."""

    server: Server
    root: Path
    keys: Path
    context: ssl.SSLContext
    collector: type[Collector]

    def ask(self, path: str, *headers: tuple[str, str], method: str = "POST") -> tuple[int, Any]:
        """Send a row to a path just as it is written, with headers just as they are."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.server.port, timeout=10, context=self.context
        )
        with closing(connection):
            connection.putrequest(method, path)
            body = json.dumps(PAYLOAD).encode()
            for name, value in (*headers, ("content-length", str(len(body)))):
                connection.putheader(name, value.encode("utf-8"))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.server.port), timeout=10)
        return self.context.wrap_socket(plain, server_hostname="127.0.0.1")


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    return answer


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    root = tmp_path_factory.mktemp("guarded")
    authority = issue(root, "authority")
    pair = issue(root, "server", authority)
    keys = root / "keys"
    keys.write_text(f"# who may ask\n{hashed('alice', ALICE)}\n")
    built = make_bundle(root)
    sign(built.folder, built.digest, KEY)
    desire(root, built, "production")
    collector = type("OneCollector", (Collector,), {"spans": [], "paths": set()})
    context = ssl.create_default_context(cafile=str(authority.certificate))
    with HTTPServer(("127.0.0.1", 0), collector) as receiver:
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        server = Server(
            root,
            environ={
                "SERVING_ENVIRONMENT": "production",
                "SERVING_TRUSTED_KEYS": public(KEY),
                "SERVING_API_KEYS_FILE": str(keys),
                "SERVING_TLS_CERTIFICATE": str(pair.certificate),
                "SERVING_TLS_KEY": str(pair.key),
                "SERVING_RATE": "100000",
                "SERVING_BODY_SECONDS": "1",
                "SERVING_LOG_LEVEL": "DEBUG",
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.server_port}",
                "OTEL_BSP_SCHEDULE_DELAY": "200",
            },
            client={"verify": context, "headers": {"x-api-key": ALICE}},
        )
        server.wait_for("1")
        yield Guarded(server, root, keys, context, collector)
        assert server.stop() == 0
        receiver.shutdown()
        thread.join()


def test_a_key_is_asked_for(guarded: Guarded) -> None:
    ask = guarded.ask
    assert ask("/predict", ("x-api-key", ALICE))[0] == 200
    assert ask("/predict", ("authorization", f"Bearer {ALICE}"))[0] == 200
    assert ask("/predict", ("Authorization", f"bearer   {ALICE} "))[0] == 200
    # What a proxy adds for itself is no key.
    assert ask("/predict", ("authorization", "Basic YTpi"), ("x-api-key", ALICE))[0] == 200

    answer = httpx.get(f"{guarded.server.client.base_url}/model", verify=guarded.context)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["detail"].startswith("an API key is needed")
    assert len(answer.headers["x-request-id"]) == 32
    for headers in (
        [("x-api-key", "")],
        [("x-api-key", ALICE[:-1])],
        [("x-api-key", ALICE + "\u00e9")],
        [("x-api-key", "ключ")],
        [("x-api-key", "x" * 10_000)],
        [("x-api-key", hashlib.sha256(ALICE.encode()).hexdigest())],
        [("x-api-key", hashed("alice", ALICE))],
        [("authorization", ALICE)],
        [("authorization", f"Bearer{ALICE}")],
        [("authorization", f"Basic {ALICE}")],
        [("x-api-key", ALICE), ("x-api-key", ALICE)],
        [("x-api-key", "wrong"), ("x-api-key", ALICE)],
        [("x-api-key", ALICE), ("authorization", "Bearer wrong")],
        [("x_api_key", ALICE)],
        [("cookie", f"x-api-key={ALICE}")],
    ):
        status, body = ask("/predict", *headers)
        assert (status, b"probability" in body) == (401, False), headers
    assert ask(f"/predict?x-api-key={ALICE}&api_key={ALICE}")[0] == 401


@pytest.mark.parametrize(
    "path",
    [
        "/health/live/../predict", "//predict", "/predict/", "/PREDICT",
        "/health/live/../../predict", "/health/live%2f..%2f..%2fpredict", "/health/live;/predict",
        "/health/live/predict", "/health/live?/../../predict=1/predict", "/health%00/predict",
        "/./predict", "/%70redict",
        "/predict#/health/live", "/metrics/../predict", "http://other/predict", "/health/live/",
        "/docs", "/openapi.json", "/metrics", "/model", "/",
    ],
)  # fmt: skip
def test_no_path_leads_past_the_key(guarded: Guarded, path: str) -> None:
    for method in ("POST", "GET"):
        status, body = guarded.ask(path, method=method)
        assert b"probability" not in body
        assert b"columns" not in body
        if not path.startswith("/health/live?"):  # a query changes nothing: this is the probe
            assert status in (400, 401), body


def test_probes_need_no_key(guarded: Guarded) -> None:
    with httpx.Client(base_url=guarded.server.client.base_url, verify=guarded.context) as client:
        for path in ("/health/live", "/health/ready", "/health/startup"):
            assert client.get(path).status_code == 200
        assert client.post("/health/live").status_code == 405
        assert client.get("/metrics").status_code == 401


def test_keys_change_while_it_runs(guarded: Guarded) -> None:
    def status(key: str) -> int:
        return guarded.ask("/predict", ("x-api-key", key))[0]

    before = guarded.keys.read_text()
    problem = "API keys stay as they are"

    def warned(times: int) -> None:
        def seen() -> bool:
            status(ALICE)
            return sum(problem in line for line in guarded.server.lines) >= times

        wait_until(seen, f"warning {times}")

    assert status(BOB) == 401
    guarded.keys.unlink()
    warned(1)
    assert status(ALICE) == 200
    for number, junk in enumerate(("", f"{ALICE}\n"), start=2):
        guarded.keys.write_text(junk)
        warned(number)
        assert status(ALICE) == 200
    guarded.keys.write_text(before + hashed("bob", BOB))
    wait_until(lambda: status(BOB) == 200, "the new key")
    assert status(ALICE) == 200
    guarded.keys.write_text(before)
    wait_until(lambda: status(BOB) == 401, "the end of the key")
    assert ALICE not in "".join(guarded.server.lines)


def test_request_ids(guarded: Guarded) -> None:
    client = guarded.server.client

    def answered(given: str) -> str:
        return str(
            client.get("/health/live", headers={"x-request-id": given}).headers["x-request-id"]
        )

    assert answered("Order_1.2-3") == "Order_1.2-3"
    assert answered("a" * 64) == "a" * 64
    made = {answered(given) for given in ("", "a" * 65, "a b", "<x>", "a\tb", "a,b")}
    assert all(len(bytes.fromhex(each)) == 16 for each in made)
    assert len(made) == 6
    for answer in (
        client.get("/none"),
        client.post("/predict"),
        client.post("/predict", content="{"),
    ):
        assert answer.status_code >= 400
        assert answer.headers.get_list("x-request-id") == [answer.headers["x-request-id"]]


def test_bodies_that_are_too_large_or_never_come(guarded: Guarded) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {ALICE}\r\n".encode()

    def answer(rest: bytes, first: bytes = head) -> tuple[bytes, float]:
        with guarded.connect() as connection:
            started = time.monotonic()
            connection.sendall(first + rest)
            found = connection.recv(65536)
            return found, time.monotonic() - started

    # Refused by its length, before any of it was sent.
    found, seconds = answer(b"Content-Length: 1048577\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 413 ")
    assert seconds < 1
    assert answer(b"Content-Length: 999999999999999999\r\n\r\n")[0].startswith(b"HTTP/1.1 413 ")
    for wrong in (
        b"-1",
        b"1e3",
        b"9" * 40,
        b"1\r\nContent-Length: 2",
        b"1\r\nTransfer-Encoding: x",
    ):
        found, _ = answer(b"Content-Length: " + wrong + b"\r\n\r\n{")
        assert found.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ")), wrong
    chunks = b"100000\r\n" + b" " * 0x100000 + b"\r\n1\r\n \r\n0\r\n\r\n"
    assert answer(b"Transfer-Encoding: chunked\r\n\r\n" + chunks)[0].startswith(b"HTTP/1.1 413 ")

    found, seconds = answer(b"Content-Length: 10\r\n\r\n{")
    assert found.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in found
    assert b"x-request-id: " in found
    assert 1 <= seconds < 3
    # A head that never ends, by time and by size; and nothing at all.
    assert answer(b"", b"GET /health/live HTTP/1.1\r\nX-A: b")[0].startswith(b"HTTP/1.1 408 ")
    with guarded.connect() as connection:
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")
    found = answer(b"X-Long: " + b"x" * 300_000)[0]
    assert found == b"" or found.startswith(b"HTTP/1.1 431 ")
    # All of it in one piece, as a socket without TLS would read it.
    found = answer(b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n")[0]
    assert found.startswith(b"HTTP/1.1 431 ")
    assert guarded.server.predict(PAYLOAD).status_code == 200


def test_only_signed_bundles_are_served(guarded: Guarded) -> None:
    server, root = guarded.server, guarded.root
    unsigned = make_bundle(root, 2)
    desire(root, unsigned, "production")
    server.wait_for_problem("manifest.sig: missing; only signed bundles are served here")
    assert server.model()["version"] == "1"
    assert server.predict(PAYLOAD).status_code == 200
    sign(unsigned.folder, unsigned.digest, Ed25519PrivateKey.generate())
    server.wait_for_problem("which is not trusted")
    sign(unsigned.folder, unsigned.digest, KEY)
    server.wait_for("2")


def test_a_request_is_a_span_of_its_callers_trace(guarded: Guarded) -> None:
    server, spans = guarded.server, guarded.collector.spans
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    given = {"traceparent": f"00-{trace}-{parent}-01"}
    row = {**PAYLOAD, "note": SECRET}
    version = server.client.post("/predict", json=row, headers=given).json()["version"]
    server.client.post(f"/predict?{SECRET}", json={"age": SECRET}, headers={"traceparent": "junk"})

    def found(status: int) -> list[Span]:
        ours = [s for s in spans if s.name == "POST /predict"]
        return [s for s in ours if any(a.value.int_value == status for a in s.attributes)]

    wait_until(lambda: bool(found(422)) and any(s.trace_id.hex() == trace for s in spans), "spans")
    (span,) = [s for s in spans if s.trace_id.hex() == trace]
    assert (span.parent_span_id.hex(), span.kind) == (parent, Span.SPAN_KIND_SERVER)
    assert {a.key: a.value.string_value or a.value.int_value for a in span.attributes} == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/predict",
        "mlops.model.version": version,
        "mlops.use_case": "heart_disease",
    }
    assert found(422)[-1].parent_span_id == b""
    assert guarded.collector.paths == {"/v1/traces"}
    assert SECRET not in str(spans)


def test_what_the_log_holds(guarded: Guarded) -> None:
    server = guarded.server
    answer = server.client.post(f"/predict?{SECRET}", json={**PAYLOAD, "note": SECRET})
    identity = answer.headers["x-request-id"]
    wait_until(lambda: identity in "".join(server.lines), "the line")
    (line,) = [each for each in server.log if each.get("request_id") == identity]
    assert line["level"] == "DEBUG"
    assert (line["method"], line["route"], line["status"]) == ("POST", "/predict", 200)
    assert line["api_key"] == "alice"
    assert 0 < line["seconds"] < 10
    text = "".join(server.lines)
    assert all(secret not in text for secret in (SECRET, ALICE, BOB))
