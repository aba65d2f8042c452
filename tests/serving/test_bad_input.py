"""Whatever is sent: an answer that the documentation knows, never an error of the server."""

import gzip
import json
import socket
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.serving.bundles import PAYLOAD, USE_CASE, desire, make_bundle
from tests.serving.server import Server

ROW_ENDPOINTS: Final = ("/predict", "/explain")
ENDPOINTS: Final = (*ROW_ENDPOINTS, "/feedback", f"/v2/models/{USE_CASE}/infer")
REFUSED: Final = dict.fromkeys(ENDPOINTS, 422) | {ENDPOINTS[-1]: 400}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    root = tmp_path_factory.mktemp("steady")
    desire(root, make_bundle(root))
    server = Server(root)
    server.wait_for("1")
    yield server.client
    # Everything was answered by a server that is still well, and has nothing to tell of.
    assert server.client.post("/predict", json=PAYLOAD).status_code == 200
    assert server.stop() == 0
    assert {line["level"] for line in server.log} == {"INFO"}


def refusal(answer: httpx.Response) -> str:
    """The reason, as one text."""
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    return json.dumps(found["error" if "error" in found else "detail"])


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="null"),
        pytest.param(b"5", id="a number"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b'"\\ud800"', id="half a surrogate pair"),
        pytest.param(b"\xff\xfe{", id="no UTF-8"),
        pytest.param(b"[]", id="no row"),
        pytest.param(b"[" + b"5," * 10_000 + b"5]", id="10,001 rows"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep arrays"),
        pytest.param(b'{"a":' * 50_000 + b"1" + b"}" * 50_000, id="deep objects"),
        pytest.param(b'{"inputs": ' + b"[" * 100_000, id="deep and cut off"),
        pytest.param(b"age=63&cp=3", id="a form"),
        pytest.param(b"\x1f\x8b\x08\x00" + bytes(100), id="compressed"),
        pytest.param(b"1" * 10_000, id="a number of 10,000 digits"),
    ],
)
def test_body_that_is_no_request(client: httpx.Client, endpoint: str, body: bytes) -> None:
    answer = client.post(endpoint, content=body)
    assert answer.status_code == REFUSED[endpoint], answer.text
    # A reason is for people: it does not repeat what was sent.
    assert 10 < len(refusal(answer)) < 10_000


@pytest.mark.parametrize("endpoint", ROW_ENDPOINTS)
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("age", "NaN"),
        ("age", "Infinity"),
        ("oldpeak", "-Infinity"),
        ("oldpeak", "1e400"),
        ("oldpeak", "1" * 400),
        ("oldpeak", "1" * 5000),
        ("age", "9223372036854775808"),
        ("age", "1" * 5000),
        ("age", "63.5"),
        ("age", '"63"'),
        ("age", "true"),
        ("age", "[63]"),
        ("age", '{"a": {"b": []}}'),
        ("smoker", "1"),
        ("note", "5"),
        ("note", '"\\ud83d"'),
        ("seen", '"2024-02-30"'),
        ("seen", '"99999-01-01"'),
        ("region", '"north\\u0000"'),
        ("\\u0000", "1"),
        ("\N{FULLWIDTH LATIN SMALL LETTER N}ote", "1"),
        ("x" * 10_000, "1"),
    ],
)
def test_value_that_is_none(client: httpx.Client, endpoint: str, column: str, value: str) -> None:
    row = {name: json.dumps(other) for name, other in PAYLOAD.items()} | {column: value}
    body = "{" + ", ".join(f'"{name}": {text}' for name, text in row.items()) + "}"
    answer = client.post(endpoint, content=body.encode())
    assert answer.status_code == 422, answer.text
    assert len(refusal(answer)) < 1000


@pytest.mark.parametrize("value", ["\x00", "🏥" * 5000, "' or 1=1; --", "￿\u202e", "{}", "\\"])
def test_text_is_text(client: httpx.Client, value: str) -> None:
    for endpoint in ROW_ENDPOINTS:
        answer = client.post(endpoint, json={**PAYLOAD, "note": value})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_body_of_10_megabytes(client: httpx.Client, endpoint: str) -> None:
    body = json.dumps({**PAYLOAD, "note": "x" * 10_000_000}).encode()
    answer = client.post(endpoint, content=body)
    assert answer.status_code == 413
    assert "larger than 1048576 bytes" in refusal(answer)


@pytest.mark.parametrize(
    "kind", ["text/csv", "application/x-www-form-urlencoded", "application/xml", "", "?", "x" * 500]
)
def test_content_says_what_it_is_and_not_its_header(client: httpx.Client, kind: str) -> None:
    body: Any = json.dumps(PAYLOAD).encode()
    for endpoint in ROW_ENDPOINTS:
        answer = client.post(endpoint, content=body, headers={"Content-Type": kind})
        assert answer.status_code == 200, answer.text


def test_an_entity_that_cannot_be_kept_as_it_is(client: httpx.Client) -> None:
    tensors = {"inputs": [{"name": "age", "datatype": "INT64", "shape": [1], "data": [63]}]}
    for entity, reason in (
        ("Müller-1".encode("latin-1"), "must be UTF-8"),
        ("ü".encode() * 257, "must have at most 256 characters; got 257"),
    ):
        headers = {b"X-Entity-Id": entity}
        answer = client.post("/predict", json=PAYLOAD, headers=headers)
        assert answer.status_code == 422
        (problem,) = answer.json()["detail"]
        assert (problem["loc"], problem["msg"]) == (["header", "X-Entity-Id"], reason)
        answer = client.post(ENDPOINTS[-1], json=tensors, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (400, f"X-Entity-Id: {reason}")
    entity = "ü".encode() * 256
    answer = client.post("/predict", json=PAYLOAD, headers={b"X-Entity-Id": entity})
    assert answer.status_code == 200


def test_an_offer_of_another_protocol_is_ignored(client: httpx.Client) -> None:
    body = json.dumps(PAYLOAD).encode()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    chunks = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    whole, plain = head + offer + length + body, head + length + body
    websocket = head + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + length + body
    for parts in (
        [head + offer + length, body],
        [head, offer[:40], offer[40:] + length + body[:10], body[10:]],
        [head + offer + chunks],
        [whole + plain + whole + websocket],
    ):
        address = client.base_url.host, int(client.base_url.port or 80)
        with socket.create_connection(address) as connection:
            connection.settimeout(10)
            for part in parts:
                connection.sendall(part)
                time.sleep(0.05)
            # And what comes after it, on the same connection.
            connection.sendall(plain.replace(b"Host", b"Connection: close\r\nHost"))
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        asked = b"".join(parts).count(b"POST ") + 1
        assert answer.count(b"HTTP/1.1 200 ") == answer.count(b'"probability":') == asked


@pytest.mark.parametrize("endpoint", ["/predict", ENDPOINTS[-1]])
def test_a_compressed_body_is_called_that(client: httpx.Client, endpoint: str) -> None:
    body = gzip.compress(json.dumps(PAYLOAD).encode())
    answer = client.post(endpoint, content=body, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, refusal(answer)) == (415, '"the body must not be compressed"')


@pytest.mark.parametrize(
    "path",
    [
        "/explain/", "/feedback/..%2f..", "/explain/%00", "/v2/models/%2e%2e/infer", "/predict/☃",
        "/v2/models/" + "x" * 5000 + "/infer", "/v2/models/a/versions/%F0%9F%8F%A5/infer",
    ],
)  # fmt: skip
def test_path_that_leads_nowhere(client: httpx.Client, path: str) -> None:
    answer = client.post(path, json=PAYLOAD)
    assert answer.status_code == 404
    assert len(refusal(answer)) < 500
