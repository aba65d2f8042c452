import asyncio
import hashlib
import json
import logging
import os
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from starlette.types import Message, Receive, Scope, Send

from serving.__main__ import main
from serving.access.keys import ApiKeys, parse_api_keys
from serving.access.limits import Limits, client_of
from serving.access.middleware import Access, Rules
from serving.access.tls import uvicorn_options
from serving.metrics import Metrics
from tests.serving.bundles import USE_CASE
from tests.serving.certificates import as_pem, issue
from tests.serving.server import ROOT, Server, clean_environment


def hashed(name: str, key: str) -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"


def test_tokens_come_back_with_time() -> None:
    limits = Limits(rate=2, burst=4)
    assert [limits.wait("a", 10.0) for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert limits.wait("b", 10.0) == 0
    # What was refused cost nothing.
    assert [limits.wait("a", 10.5), limits.wait("a", 10.5)] == [0, 0.5]
    assert [limits.wait("a", 1e9) for _ in range(5)] == [0, 0, 0, 0, 0.5]


def test_workers_share_a_rate() -> None:
    workers = [Limits(rate=10, burst=20, workers=4) for _ in range(4)]
    granted = sum(w.wait("a", at / 100) == 0 for at in range(1000) for w in workers)
    assert granted == pytest.approx(10 * 10 + 20, abs=4)
    few = Limits(rate=1, burst=1, workers=8)
    assert [few.wait("a", 0.0) == 0, few.wait("a", 1.0) == 0, few.wait("a", 8.0) == 0] == [
        True,
        False,
        True,
    ]


def test_the_clients_that_are_remembered_are_bounded() -> None:
    limits = Limits(rate=0.01, burst=1, most=100)
    limits.wait("steady", 0.0)
    for number in range(10_000):
        limits.wait(f"@{number}", 0.0)
        assert limits.wait("steady", 0.0) > 0
    assert len(limits._buckets) == 100


def test_who_a_request_counts_for() -> None:
    assert client_of("alice", "192.0.2.1") == "alice"
    assert client_of(None, "192.0.2.1") == "@192.0.2.1"
    assert client_of(None, "2001:db8::1") == client_of(None, "2001:db8:0:0:ffff::2%eth0")
    assert client_of(None, "2001:db8::1") != client_of(None, "2001:db8:0:1::1")
    assert client_of(None, "") == "@"
    assert client_of(None, ":" * 1000) == "@" + ":" * 64


def test_the_time_of_a_refusal_tells_nothing() -> None:
    """Keys with a right beginning are refused as quickly as others, within the noise."""
    known = [f"{number}-0123456789abcdef" for number in range(50)]
    keys = ApiKeys(parse_api_keys(",".join(hashed(f"of-{key}", key) for key in known)))
    right = known[1].encode()
    candidates = {"none": b"x" * len(right), "most": right[:-1] + b"x", "all": right}
    best = dict.fromkeys(candidates, 1.0)
    for _ in range(30):
        for name, key in candidates.items():
            started = time.perf_counter()
            for _ in range(500):
                keys.name(key)
            best[name] = min(best[name], (time.perf_counter() - started) / 500)
    assert max(best.values()) < 1.5 * min(best.values())


class Broken:
    """An app that fails as the test wants."""

    def __init__(self, error: Exception, begin: bool) -> None:
        self.error, self.begin = error, begin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.begin:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise self.error


async def ask(app: Any) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope: Scope = {"type": "http", "method": "POST", "path": "/x", "headers": [], "client": None}
    await app(scope, receive, send)
    return sent


def test_an_error_is_told_without_the_value_that_caused_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    error = RuntimeError("cannot convert 'a patient'")
    error.__cause__ = KeyError("a patient")
    rules = Rules(ApiKeys({}), Limits(1, 9), frozenset(), 1000, 5.0)
    start, body = asyncio.run(ask(Access(Broken(error, False), Metrics(), rules)))
    assert start["status"] == 500
    assert json.loads(body["body"]).keys() == {"detail", "request_id"}
    (record,) = caplog.records
    fields = record.__dict__["fields"]
    assert "a patient" not in str(fields)
    assert record.exc_info is None
    for part in ("builtins.KeyError", "builtins.RuntimeError", "test_access_parts.py:"):
        assert part in fields["exception"]
    # An answer that has begun cannot become another one.
    with pytest.raises(RuntimeError, match="an answer broke off"):
        asyncio.run(ask(Access(Broken(error, True), Metrics(), rules)))


def test_wrong_files_for_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = issue(tmp_path, "authority")
    one, two = issue(tmp_path, "one", authority), issue(tmp_path, "two", authority)
    junk, locked = tmp_path / "junk", tmp_path / "locked"
    junk.write_text("junk")
    locked.write_bytes(as_pem(one.private, serialization.BestAvailableEncryption(b"secret")))
    missing = tmp_path / "missing"
    for certificate, key, client_ca, message in (
        (missing, one.key, None, "missing: no such file"),
        (one.certificate, missing, None, "missing: no such file"),
        (one.certificate, two.key, None, "two.key is not the key of"),
        (one.certificate, junk, None, "are not a certificate and its key in PEM"),
        (junk, one.key, None, "are not a certificate and its key in PEM"),
        (one.certificate, locked, None, "has a passphrase"),
        (one.certificate, one.key, junk, "junk: holds no certificate in PEM"),
        (one.certificate, None, None, "needs both --tls-certificate and --tls-key"),
        (None, None, authority.certificate, "needs both"),
    ):
        with pytest.raises(ValueError, match=message):
            uvicorn_options(certificate, key, client_ca)
    command = ["--use-case", USE_CASE, "--port", "0", "--tls-certificate", str(one.certificate)]
    assert main([*command, "--tls-key", str(two.key)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"serving: TLS: {two.key} is not the key of {one.certificate}"


def test_clients_may_need_a_certificate_and_have_a_rate(tmp_path: Path) -> None:
    authority = issue(tmp_path, "authority")
    pair, client = issue(tmp_path, "server", authority), issue(tmp_path, "client", authority)
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(client.certificate, client.key)
    server = Server(
        tmp_path,
        environ={
            "SERVING_TLS_CERTIFICATE": str(pair.certificate),
            "SERVING_TLS_KEY": str(pair.key),
            "SERVING_TLS_CLIENT_CA": str(authority.certificate),
            "SERVING_RATE": "0.1",
            "SERVING_BURST": "5",
        },
        client={"verify": context},
    )
    try:
        assert server.client.get("/health/live").status_code == 200
        unknown = ssl.create_default_context(cafile=str(authority.certificate))
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{server.client.base_url}/health/live", verify=unknown)
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{server.port}/health/live")
        statuses = [server.client.get("/model").status_code for _ in range(6)]
        assert statuses == [200] * 5 + [429]
        answer = server.client.get("/model")
        assert answer.json() == {"detail": "too many requests"}
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        assert answer.headers["x-request-id"]
        assert server.client.get("/health/live").status_code == 200
    finally:
        assert server.stop() == 0


def test_traces_without_their_package(tmp_path: Path) -> None:
    missing = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    path = tmp_path / "path"
    path.mkdir()
    (path / "sitecustomize.py").write_text(f"import sys; sys.modules[{missing!r}] = None")
    environ = clean_environment(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318",
        PYTHONPATH=f"{path}{os.pathsep}{ROOT}",
        SERVING_LOG_SPOOL=str(tmp_path / "spool"),
    )
    # A worker finds out, and the supervisor does not try again what can never work.
    done = subprocess.run(
        [sys.executable, "-m", "serving", "--use-case", USE_CASE, "--port", "0"],
        env=environ, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith("serving: OTEL_EXPORTER_OTLP_ENDPOINT is set, but opentelemetry")
    assert "pip install 'mlops-assets[tracing]'" in line
