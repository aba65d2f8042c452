import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from mlops_assets.lib.sources.inbox import SourceError
from tests.faulty import Answer, HttpServer, http_server
from tests.lib.sources.helpers import Place

BODY = b"age\n" + b"1\n" * 1000
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


def answer(path: str, asked: Mapping[str, str]) -> Answer:
    if asked.get("if-none-match") == '"v1"':
        return Answer(304)
    return Answer(200, BODY, {"ETag": '"v1"', "Content-Type": "text/csv"})


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with http_server(answer) as made:
        yield made


def at(server: HttpServer, path: str = "/data/heart.csv", **spec: Any) -> dict[str, Any]:
    return {"name": "statlog", "kind": "http", "url": server.url + path, "attempts": 2, **spec}


def test_a_file_is_asked_for_again_only_if_it_changed(place: Place, server: HttpServer) -> None:
    first = place.fetch(**at(server))
    assert [landed.name for landed in first.new] == ["heart.csv"]
    assert place.landed[0].read_bytes() == BODY
    assert place.fetch(**at(server)).about["status"] == 304
    assert server.asked[-1]["if-none-match"] == '"v1"'
    # Without a validator the content decides.
    server.faults.append(Answer(200, BODY))
    again = place.fetch(**at(server))
    assert again.about["status"] == 200
    assert again.new == []


@pytest.mark.parametrize(
    "fault",
    [
        Answer(503, b"busy", {"Retry-After": "0"}),
        Answer(429, b"slow down"),
        Answer(200, BODY[:100], {"Content-Length": str(len(BODY))}),  # drops half-way
    ],
)
def test_what_may_pass_is_asked_again(place: Place, server: HttpServer, fault: Answer) -> None:
    server.faults.append(fault)
    assert len(place.fetch(**at(server)).new) == 1
    assert len(server.asked) == 2
    assert place.landed[0].read_bytes() == BODY


@pytest.mark.parametrize(
    ("fault", "spec", "said", "asked"),
    [
        (Answer(200, PAGE), {}, "127.0.0.1 gives a page of HTML in place of data", 1),
        (Answer(200, b"\n<p>hi", {"Content-Type": "text/html; charset=utf-8"}), {}, "HTML", 1),
        (Answer(200, BODY), {"max_bytes": 100}, "it has 2004 bytes, max_bytes is 100", 1),
        (Answer(200, BODY), {"sha256": "0" * 64}, "its digest is [0-9a-f]{64}, sha256 says 0", 1),
        (Answer(200, b""), {}, "the server gives an empty file", 1),
        (Answer(404), {}, "127.0.0.1 answers 404 Not Found", 1),
        (
            Answer(302, headers={"Location": "file:///etc/passwd"}),
            {},
            r"127.0.0.1:\d+: .*unsupported protocol",
            1,
        ),
        (
            Answer(302, headers={"Location": "ftp://a.test/x"}),
            {},
            r"127.0.0.1:\d+: .*unsupported protocol",
            1,
        ),
    ],
)
def test_what_is_no_data_is_refused_at_once(
    place: Place, server: HttpServer, fault: Answer, spec: dict[str, Any], said: str, asked: int
) -> None:
    server.faults.append(fault)
    with pytest.raises(SourceError, match=f"source statlog: .*{said}"):
        place.fetch(**at(server, **spec))
    assert len(server.asked) == asked
    assert place.landed == []


def test_a_body_without_a_length_or_packed_is_measured_as_it_comes(
    place: Place, server: HttpServer
) -> None:
    import gzip

    packed = gzip.compress(b"1\n" * 5_000_000)
    server.faults.append(Answer(200, packed, {"Content-Encoding": "gzip"}))
    with pytest.raises(SourceError, match="larger than max_bytes, 1000000"):
        place.fetch(**at(server, max_bytes=1_000_000))


def test_one_that_stays_busy_is_named(place: Place, server: HttpServer) -> None:
    server.faults.extend([Answer(503, headers={"Retry-After": "0"})] * 2)
    with pytest.raises(SourceError, match=r"127\.0\.0\.1 answers 503 Service Unavailable"):
        place.fetch(**at(server))


def test_one_that_is_not_there_is_named(place: Place) -> None:
    at_nobody = {"name": "web", "kind": "http", "url": "http://127.0.0.1:9/a.csv", "attempts": 1}
    with pytest.raises(SourceError, match=r"source web: 127\.0\.0\.1:9: .*Connection refused"):
        place.fetch(**at_nobody)


def test_credentials_are_sent_to_their_own_server_only(place: Place, server: HttpServer) -> None:
    place.environment["TOKEN"] = "Bearer hunter2"
    digest = hashlib.sha256(BODY).hexdigest()
    spec = at(server, headers_env={"X-Key": "TOKEN"}, sha256=digest)
    with http_server(answer) as other:
        server.faults.append(Answer(307, headers={"Location": f"{other.url}/there.csv"}))
        assert [landed.name for landed in place.fetch(**spec).new] == ["heart.csv"]
        assert server.asked[0]["x-key"] == "Bearer hunter2"
        assert "x-key" not in other.asked[0]
    server.faults.append(Answer(401, b"not with Bearer hunter2"))
    with pytest.raises(SourceError, match="answers 401 Unauthorized; look at TOKEN") as e:
        place.fetch(**spec)
    assert "hunter2" not in str(e.value)


@pytest.mark.parametrize(
    ("path", "headers", "name"),
    [
        ("/a/b%20c.csv?x=1", {}, "b c.csv"),
        ("/export", {"Content-Type": "text/csv"}, "export.csv"),
        ("/", {}, "statlog"),
        ("/x", {"Content-Disposition": 'attachment; filename="../../.hidden/q1.csv"'}, "q1.csv"),
        ("/x", {"Content-Disposition": "attachment; filename=.bashrc"}, "bashrc"),
        ("/x", {"Content-Disposition": "attachment; filename*=UTF-8''d%C3%A4ten.csv"}, "däten.csv"),
        ("/" + "n" * 300 + ".csv", {}, "n" * 40 + ".csv"),
    ],
)
def test_the_name_is_safe(
    place: Place, server: HttpServer, path: str, headers: dict[str, str], name: str
) -> None:
    server.faults.append(Answer(200, BODY, headers))
    place.fetch(**at(server, path))
    assert place.names == [name]
