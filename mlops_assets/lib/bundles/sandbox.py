"""The sandbox: the real serving app, in a process of its own, with nothing but one bundle.

A version is blessed only after this app has loaded it and answered its golden rows.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.lib.bundles import signing
from mlops_assets.lib.bundles.bundle import golden_rows
from mlops_assets.lib.http import call
from mlops_assets.lib.records import desired_state
from mlops_assets.lib.storage.root import Storage

START_SECONDS = 60.0
ENVIRONMENT = "sandbox"
_NOT_PASSED_ON = ("SERVING_", "OTEL_", signing.KEY_VARIABLE)


@dataclass(frozen=True)
class Trial:
    """What the sandboxed app did with a bundle.

    Attributes:
        problem: Why it did not serve the bundle; None if it did.
        answered: Golden rows that were answered.
        difference: Largest difference between an answer and the training pipeline's probability.
        seconds: Median time of an answer.
        late_seconds: Within which 99 of 100 answers came.
        start_seconds: From process start to ready.
    """

    problem: str | None
    answered: int = 0
    difference: float = float("inf")
    seconds: float = float("inf")
    late_seconds: float = float("inf")
    start_seconds: float = 0.0


def try_bundle(bundle: Path, digest: str, use_case: str, columns: list[str]) -> Trial:
    """Serve a bundle in a sandbox and ask it for its golden rows.

    Args:
        bundle: Folder of the bundle.
        digest: Its digest.
        use_case: Whose model.
        columns: The contract's columns.
    """
    with tempfile.TemporaryDirectory() as scratch:
        root = Storage(scratch)
        root.publish(bundle, f"{use_case}/bundles/{digest}")
        champion = {
            "version": "sandbox",
            "bundle": f"{use_case}/bundles/{digest}",
            "digest": digest,
            "percent": 100,
        }
        desired_state.write(root, use_case, ENVIRONMENT, {"champion": champion})
        log = Path(scratch) / "log"
        started = time.monotonic()
        with _app(use_case, root.root, log) as (url, process):
            problem = _wait(url, process, log)
            if problem is not None:
                return Trial(problem)
            ready = time.monotonic() - started
            return _replay(url, bundle, columns, ready)


@contextmanager
def _app(use_case: str, root: str, log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    command = [sys.executable, "-m", "serving", "--use-case", use_case, "--port", str(port)]
    command += ["--storage-root", root, "--environment", ENVIRONMENT]
    command += ["--log-spool", f"{root}/spool", "--drain-seconds", "0"]
    # Nothing that is meant for the servers of this deployment, and not the key that signs.
    clean = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_PASSED_ON)}
    with log.open("w") as output:
        process = subprocess.Popen(command, stderr=output, stdout=output, env=clean)
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> str | None:
    """Wait until the app is ready; say why it is not."""
    deadline = time.monotonic() + START_SECONDS
    said = f"not ready after {START_SECONDS:g} s"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = f"it ended with status {process.returncode}"
            break
        try:
            # Before its first look at the desired state the app has no opinion.
            call(f"{url}/health/startup")
            model = call(f"{url}/model")
            if model["ready"]:
                return None
            if model["problem"]:
                return str(model["problem"])
        except OSError:  # nothing listens yet, or it is not ready
            pass
        time.sleep(0.05)
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    return f"{said}; its log ends: {tail}"


def _replay(url: str, bundle: Path, columns: list[str], ready: float) -> Trial:
    differences, times = [], []
    for row, expected in golden_rows(bundle, columns):
        started = time.perf_counter()
        try:
            answer = call(f"{url}/predict", row, timeout=10)
        except urllib.error.HTTPError as error:
            return Trial(f"/predict answered {error.code}: {error.read().decode()[:500]}")
        except OSError as error:
            return Trial(f"/predict did not answer: {error}")
        times.append(time.perf_counter() - started)
        differences.append(abs(answer["probability"] - expected))
    late = sorted(times)[math.ceil(0.99 * len(times)) - 1]
    return Trial(None, len(times), max(differences), statistics.median(times), late, ready)
