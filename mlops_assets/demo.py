"""``make demo``: the whole loop on one machine, told in plain words.

It starts Dagster, the serving app and the MLflow UI, lands the Cleveland data, and then only
watches: the sensors do the work. What it tells is read from the storage root, where every stage
leaves its record.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from mlops_assets import home
from mlops_assets.lib import current
from mlops_assets.lib.batches import Batches, batch_key
from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.ledger import Ledger
from mlops_assets.lib.spec import UseCase
from mlops_assets.lib.specs import load_spec
from mlops_assets.lib.storage import Storage
from mlops_assets.processes import LOGS, Servers, stop_all
from mlops_assets.progress import Progress

if TYPE_CHECKING:
    from dagster import DagsterRun

USE_CASE = "heart_disease"
DATA = Path(__file__).parent / "data" / "heart_cleveland.csv"
# The patient that the original service's documentation asked about.
PATIENT = {
    "age": 63, "sex": 1, "cp": 3, "trestbps": 145, "chol": 233, "fbs": 1, "restecg": 0,
    "thalach": 150, "exang": 0, "oldpeak": 2.3, "slope": 0, "ca": 0, "thal": 1,
}  # fmt: skip
DEADLINE_SECONDS = 900.0
POLL_SECONDS = 0.25
LOOK_SECONDS = 3.0
PAGE_SECONDS = 60.0
# Sensors try again within a few looks.
QUIET_LOOKS = 6


class DemoError(Exception):
    """Why the demo cannot go on, for a person."""


def run_demo(*, once: bool) -> int:
    """Show the loop.

    Args:
        once: Exit when the champion has answered, in place of staying up.

    Returns:
        0 if the champion served, 1 if not.
    """
    folder = home.home()
    folder.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with _only_one(folder):
            left = stop_all(folder)
            if left:
                print(f"Stopped {left} processes that an earlier demo had left behind.")
            _check_ports()
            servers = Servers(folder)
            try:
                return _show(servers, once=once)
            except KeyboardInterrupt:
                print("\nStopping ...", flush=True)
                return 0 if not once else 130
            finally:
                servers.stop()
                print("Every process of the demo has stopped.", flush=True)
    except (DemoError, ValueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    with (folder / ".demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"another demo is at work on {folder}") from None
        yield


def _check_ports() -> None:
    for name in ("dagster", "serving", "mlflow"):
        port = home.port(name)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise DemoError(
                    f"port {port}, which {name} needs, is in use. Stop what uses it, or choose "
                    f"another: MLOPS_{name.upper()}_PORT={port + 1} make demo"
                ) from None


def _environment() -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return clean | {
        "MLOPS_HOME": str(home.home()),
        "DAGSTER_HOME": str(home.write_dagster_home()),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def _start(servers: Servers) -> None:
    python, environment = sys.executable, _environment()
    dagster = [str(Path(python).parent / "dagster"), "dev", "--host", "127.0.0.1"]
    servers.start(
        "dagster", [*dagster, "--port", str(home.port("dagster"))], environment, home.PROJECT
    )
    serving = [python, "-m", "serving", "--use-case", USE_CASE, "--port", str(home.port("serving"))]
    serving += ["--storage-root", str(home.storage_root()), "--environment", home.environment()]
    servers.start("serving", serving, environment, home.PROJECT)


def _start_mlflow(servers: Servers) -> None:
    """The MLflow UI comes up once a run has made the store: two makers would collide."""
    if "mlflow" in servers.running or not home.mlflow_uri().startswith("sqlite"):
        return
    if not (home.mlflow_folder() / "ready").exists():
        return
    command = [str(Path(sys.executable).parent / "mlflow"), "server", "--workers", "1"]
    command += ["--backend-store-uri", home.mlflow_uri(), "--host", "127.0.0.1"]
    command += ["--default-artifact-root", (home.mlflow_folder() / "artifacts").as_uri()]
    # Its job runner, for evaluations of language models, would start eight more processes.
    environment = _environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command += ["--port", str(home.port("mlflow"))]
    servers.start("mlflow", command, environment, home.PROJECT)


def _show(servers: Servers, *, once: bool) -> int:
    spec = load_spec(USE_CASE)
    store = Storage(home.storage_root())
    progress = Progress(store, spec)
    print(
        f"Starting Dagster, the serving app and MLflow; their logs are in {servers.folder / LOGS}"
    )
    _start(servers)
    _land(store, progress)
    runs = _Runs()
    served: dict[str, Any] | None = None
    deadline = time.monotonic() + DEADLINE_SECONDS
    while served is None:
        ended = servers.ended()
        if ended is not None:
            name, code = ended
            tail = servers.log(name).read_text(encoding="utf-8", errors="replace")[-1500:]
            raise DemoError(f"{name} ended with code {code}; its log ends:\n{tail}")
        if time.monotonic() > deadline:
            raise DemoError(
                f"not done after {DEADLINE_SECONDS:g} s; look into {servers.folder / LOGS}"
            )
        _start_mlflow(servers)
        progress.tell()
        problem = progress.problem() or runs.problem()
        if problem is not None:
            raise DemoError(problem)
        served = _served(store, spec)
        time.sleep(POLL_SECONDS)
    while runs.busy() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    progress.tell()
    _start_mlflow(servers)
    if not once:
        _wait_for_pages(servers)
    _summary(store, spec, served, progress)
    if once:
        return 0
    print("\nPress Ctrl-C to stop.", flush=True)
    while True:
        ended = servers.ended()
        if ended is not None:
            raise DemoError(f"{ended[0]} ended with code {ended[1]}; see {servers.log(ended[0])}")
        _start_mlflow(servers)
        progress.tell()
        time.sleep(1)


def _wait_for_pages(servers: Servers) -> None:
    """Wait until the pages whose addresses are printed can be opened."""
    deadline = time.monotonic() + PAGE_SECONDS
    for name in servers.running:
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", home.port(name)), timeout=2).close()
                break
            time.sleep(POLL_SECONDS)


def _land(store: Storage, progress: Progress) -> None:
    batches = Batches(store, USE_CASE)
    key = batch_key(DATA.name, file_digest(DATA))
    if batches.receipt(key) is None:
        batches.land(DATA)
        progress.say(f"Landed {DATA.name}; the landing sensor looks every few seconds")
    else:
        progress.say(f"Going on from the kept state: {DATA.name} has landed before")


class _Runs:
    """The runs of Dagster's instance, looked at every few seconds."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self.next_look = time.monotonic() + LOOK_SECONDS
        self.quiet = 0

    def _since(self) -> "Sequence[DagsterRun]":
        from dagster import DagsterInstance, RunsFilter

        with DagsterInstance.from_config(str(home.home())) as instance:
            return instance.get_runs(RunsFilter(created_after=self.started))

    def busy(self) -> bool:
        """Whether a run of this demo is not finished."""
        return any(not run.is_finished for run in self._since())

    def problem(self) -> str | None:
        """Why waiting has no point: a run has failed, and nothing tries again."""
        if time.monotonic() < self.next_look:
            return None
        runs = self._since()
        self.next_look = time.monotonic() + LOOK_SECONDS
        failed = [run for run in runs if run.is_failure]
        busy = any(not run.is_finished for run in runs)
        self.quiet = self.quiet + 1 if failed and not busy else 0
        if self.quiet < QUIET_LOOKS:
            return None
        return (
            f"{failed[0].job_name} has failed and is not tried again: "
            f"{home.url('dagster')}/runs/{failed[0].run_id} says why (`make dev` shows it)"
        )


def _served(store: Storage, spec: UseCase) -> dict[str, Any] | None:
    """The answer of the champion, once the app serves what the ledger has promoted last."""
    entries = Ledger(store, spec.name).entries()
    last = next((e for e in reversed(entries) if e["decision"] in ("approved", "promoted")), None)
    if last is None or last["decision"] != "promoted":
        return None
    request = urllib.request.Request(
        f"{home.url('serving')}/predict",
        data=json.dumps(PATIENT).encode(),
        headers={"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            answer: dict[str, Any] = json.load(response)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None
    return answer if answer["digest"] == last["bundle"] else None


def _summary(store: Storage, spec: UseCase, answer: dict[str, Any], progress: Progress) -> None:
    evaluation = current.read(store, spec.name, "evaluation") or {}
    print()
    progress.table()
    print(f"\n{spec.title}")
    print(f"  champion     version {answer['version']}, {evaluation['winner']}")
    for side, name in (("out_of_fold", "out of fold"), ("test", "test rows")):
        shown = [
            f"{metric} {evaluation[side][metric]['value']:.3f} "
            f"({evaluation[side][metric]['low']:.3f} to {evaluation[side][metric]['high']:.3f})"
            for metric in ("roc_auc", "accuracy")
        ]
        print(f"  {name:<13}{', '.join(shown)}")
    print("\nAddresses")
    print(f"  Dagster    {home.url('dagster')}")
    print(f"  serving    {home.url('serving')}/docs")
    print(f"  MLflow     {home.url('mlflow')}")
    print("\nAsk the champion")
    print(f"  curl -s {home.url('serving')}/predict -d '{json.dumps(PATIENT)}'")
    print(f"  {json.dumps(answer)}", flush=True)
