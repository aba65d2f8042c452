"""Runs the real server in a process of its own, on a port the system chooses."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Queue
from typing import Any

import httpx

from tests.serving.bundles import USE_CASE

ROOT = Path(__file__).parents[2]
# Warnings are errors in the server too, but for one that another package's choice brings in. By the
# environment, for it reaches the workers.
WARNINGS = "error,ignore:sqlglotrs is deprecated:DeprecationWarning"
DEADLINE_SECONDS = 30.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, or fail and name it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_SECONDS} s for {what}"
        time.sleep(0.02)


def clean_environment(**variables: str) -> dict[str, str]:
    """The environment without the settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SERVING_", "MLOPS_"))}
    return {**kept, **variables}


class Server:
    """A running server; stderr is read all the time, so that it never blocks."""

    def __init__(
        self,
        root: Path | str,
        environ: Mapping[str, str] | None = None,
        client: Mapping[str, Any] | None = None,
    ) -> None:
        self._spool = tempfile.TemporaryDirectory()
        command = [sys.executable, "-m", "serving", "--storage-root", str(root), "--port", "0"]
        given = {
            "PYTHONWARNINGS": WARNINGS,
            "SERVING_USE_CASE": USE_CASE,
            "SERVING_POLL_SECONDS": "0.2",
            "SERVING_DRAIN_SECONDS": "0.1",
            "SERVING_LOG_SPOOL": self._spool.name,
        }
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=clean_environment(**{**given, **(environ or {})}),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._listening: Queue[str | None] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        line = self._listening.get(timeout=DEADLINE_SECONDS)
        assert line is not None, f"the server ended: {self.lines}"
        url = httpx.URL(json.loads(line)["url"])
        assert url.port is not None
        self.port = url.port
        base = f"{url.scheme}://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=base, timeout=DEADLINE_SECONDS, **(client or {}))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if '"listening"' in line:
                self._listening.put(line)
        self._listening.put(None)

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def predict(self, payload: Any) -> httpx.Response:
        return self.client.post("/predict", json=payload)

    def model(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get("/model").json()
        return found

    def wait_for(self, version: str) -> None:
        wait_until(lambda: bool(self.model()["version"] == version), f"version {version}")

    def wait_for_challenger(self) -> None:
        def serves() -> bool:
            return bool(self.model()["on_trial"].get("challenger", {}).get("serves"))

        wait_until(serves, "the challenger")

    def wait_for_problem(self, part: str) -> dict[str, Any]:
        wait_until(lambda: part in (self.model()["problem"] or ""), f"a problem with {part!r}")
        return self.model()

    def reconnect(self) -> None:
        """Forget connections to a worker that is gone."""
        self.client.close()
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=DEADLINE_SECONDS
        )

    def stop(self) -> int:
        """Ask the process to end, wait for it and return its exit status."""
        self.client.close()
        self.process.terminate()
        try:
            status = self.process.wait(timeout=DEADLINE_SECONDS)
        finally:
            self.process.kill()
        self._reader.join(timeout=DEADLINE_SECONDS)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self._spool.cleanup()
        return status
