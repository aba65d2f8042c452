"""Starts and stops the servers that are measured, each in processes of its own."""

import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from mlops_assets.lib.bundles.sandbox import free_port
from tests.platform import HEART
from tests.serving.server import ROOT, clean_environment

START_SECONDS = 120.0
READY = "/health/ready"


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        name: For the table.
        url: Where it listens.
        path: Of its endpoint.
        bodies: What is sent to it.
        process: The first of its processes.
        started_in: Seconds from the start of the process until it was ready.
    """

    name: str
    url: str
    path: str
    bodies: Sequence[bytes]
    process: psutil.Process
    started_in: float

    def processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """User and system time of all its processes."""
        times = [process.cpu_times() for process in self.processes()]
        return sum(spent.user + spent.system for spent in times)


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    *,
    path: str,
    bodies: Sequence[bytes],
    ready: str,
    port: int | None = None,
    cwd: Path = ROOT,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Start a server, wait until it is ready, and end it with all its processes.

    Args:
        name: For the table.
        command: Of the server; ``{port}`` stands for a free port.
        path: Of the endpoint that is measured.
        bodies: What is sent to it.
        ready: A path that answers 200 when it is ready.
        port: Where it listens; a free one without.
        cwd: Where it runs.
        environ: Added to the environment.

    Raises:
        RuntimeError: It ends, or does not get ready; with what it said last.
    """
    port = port or free_port()
    with tempfile.TemporaryFile("w+") as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            [part.replace("{port}", str(port)) for part in command],
            cwd=cwd,
            env=clean_environment(**(environ or {})),
            stdout=said,
            stderr=said,
        )
        tree = psutil.Process(process.pid)
        try:
            while not _answers(port, ready):
                if process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                    said.seek(0)
                    raise RuntimeError(f"{name} did not get ready: {said.read()[-2000:]}")
                time.sleep(0.01)
            seconds = time.perf_counter() - started
            yield Running(name, f"http://127.0.0.1:{port}", path, bodies, tree, seconds)
        finally:
            _end(process, tree)


def ours(
    root: Path,
    bodies: Sequence[bytes],
    *,
    use_case: str = HEART,
    workers: int = 1,
    python: str = sys.executable,
    cwd: Path = ROOT,
) -> AbstractContextManager[Running]:
    """The serving app on a storage root, as a user starts it, with everything on."""
    command = [python, "-m", "serving", "--use-case", use_case, "--storage-root", str(root)]
    command += ["--port", "{port}"] + (["--workers", str(workers)] if workers > 1 else [])
    name = "ours" if workers == 1 else f"ours, {workers} workers"
    # What the tests of this project set for themselves must not decide what is imported.
    return running(
        name,
        command,
        path="/predict",
        bodies=bodies,
        ready=READY,
        cwd=cwd,
        environ={"PYTHONPATH": str(cwd)},
    )


def constant(contract: Path, bodies: Sequence[bytes]) -> AbstractContextManager[Running]:
    """The FastAPI app that validates and answers a constant."""
    command = [sys.executable, "-m", "tests.benchmarks.serving.constant", str(contract), "{port}"]
    return running(
        "FastAPI, a validated constant", command, path="/predict", bodies=bodies, ready=READY
    )


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes], tree: psutil.Process) -> None:
    family = tree.children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    for child in alive:
        child.kill()
