"""The container's health check, against the real server."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from serving.alive import main
from tests.serving.certificates import issue
from tests.serving.server import ROOT, Server, clean_environment, wait_until

Start = Callable[..., Server]


def test_a_server_is_alive_until_it_hangs_or_stops(tmp_path: Path, start_server: Start) -> None:
    server = start_server(tmp_path)  # it has nothing to serve, and is alive
    environ = {"SERVING_HOST": "0.0.0.0", "SERVING_PORT": str(server.port)}
    command = [sys.executable, "-m", "serving.alive"]

    def ask() -> subprocess.CompletedProcess[str]:
        given = clean_environment(**environ, HTTP_PROXY="http://127.0.0.1:9")
        return subprocess.run(
            command, cwd=ROOT, env=given, capture_output=True, text=True, check=False
        )

    # On a busy machine an answer may take longer than a health check waits for it.
    wait_until(lambda: ask().returncode == 0, "an answer")
    wait_until(lambda: main({**environ, "SERVING_HOST": "127.0.0.1"}) == 0, "an answer")
    # Another scheme than the server's is no answer.
    assert main({**environ, "SERVING_TLS_CERTIFICATE": "/a.pem"}) == 1
    server.stop()
    done = ask()
    assert done.returncode == 1
    assert f"127.0.0.1 port {server.port} does not answer" in done.stderr


def test_a_server_with_certificates_is_alive(tmp_path: Path, start_server: Start) -> None:
    pair = issue(tmp_path, "server")
    given = {"SERVING_TLS_CERTIFICATE": str(pair.certificate), "SERVING_TLS_KEY": str(pair.key)}
    server = start_server(tmp_path, environ=given, client={"verify": False})
    environ = {**given, "SERVING_PORT": str(server.port)}
    wait_until(lambda: main(environ) == 0, "an answer")
    server.stop()
    # It asks every client for a certificate; the health check has none.
    given["SERVING_TLS_CLIENT_CA"] = str(pair.certificate)
    server = start_server(tmp_path, environ=given, client={"verify": False})
    asked = {**given, "SERVING_PORT": str(server.port)}
    wait_until(lambda: main(asked) == 0, "an answer")
