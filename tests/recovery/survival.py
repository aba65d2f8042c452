"""Kills everything at a point, starts again, and holds the outcome against one without a kill."""

import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pyarrow.parquet as pq
import pytest

from mlops_assets.automation.jobs import GIVEN_UP
from mlops_assets.demo.processes import Servers, left_over
from mlops_assets.home import write_dagster_home
from mlops_assets.lib.bundles.sandbox import free_port
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.storage.root import PARTIAL_PREFIX, Storage
from serving.bundle.manifest import verify
from tests.platform import DATA, HEART, environment
from tests.recovery.points import VARIABLE

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 600.0
POLL_SECONDS = 0.2


class Stack:
    """Dagster's daemon and the serving app on one home, started and killed as a whole."""

    def __init__(self, home: Path, points: Sequence[str]) -> None:
        self.home = home
        self.points = list(points)
        port = str(free_port())
        self.environment = {
            **environment(home),
            "DAGSTER_HOME": str(home),
            "MLOPS_SERVING_PORT": port,
            VARIABLE: ",".join(points),
        }
        self.serving = [sys.executable, "-m", "serving", "--use-case", HEART, "--port", port]
        self.serving += ["--storage-root", str(home / "storage"), "--environment", "dev"]
        self.store = Storage(home / "storage")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Everything is at work; at the end of the block it is killed, without a word."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLOPS_HOME", str(self.home))
            write_dagster_home()
        servers = Servers(self.home)
        daemon = [str(Path(sys.executable).parent / "dagster-daemon"), "run"]
        daemon += ["-m", "tests.recovery.location", "-d", str(ROOT)]
        try:
            servers.start("daemon", daemon, self.environment, ROOT)
            servers.start("serving", self.serving, self.environment, ROOT)
            yield
        finally:
            kill_all(self.home)
            servers.stop()  # nothing is left of them but their exit codes

    def killed(self) -> list[str]:
        """The points that have been reached."""
        folder = self.home / "killed"
        return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []

    def promoted(self) -> bool:
        """Whether the ledger says so, and every run has ended."""
        entries = Ledger(self.store, HEART).entries()
        if not entries or entries[-1]["decision"] != "promoted":
            return False
        return not unfinished(self.home) and not running_in_mlflow(self.home)


def kill_all(home: Path) -> None:
    """Kill every process that works on a home; a new one may be starting at that moment."""
    while found := left_over(home):
        for process in found:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(found, timeout=10)


def wait_until(done: Any, what: str, home: Path) -> None:
    """Wait for a condition, or say what the daemon said last."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not done():
        log = (home / "server-logs" / "daemon.log").read_text(errors="replace")
        if time.monotonic() > deadline or GIVEN_UP in log:
            raise AssertionError(f"not within {DEADLINE_SECONDS:g} s: {what}\n{log[-6000:]}")
        time.sleep(POLL_SECONDS)


def survive(
    home: Path, points: Sequence[str], everything_after: Iterable[int] | None = None
) -> list[str]:
    """Land a batch, kill the run at each point in turn, and let the rest happen.

    Args:
        home: An empty folder.
        points: Where a run is killed.
        everything_after: After so many kills everything else is killed, too, and started again;
            after each without it. In between, the daemon has to notice that a run is gone.

    Returns:
        The points at which a run was killed.
    """
    stack = Stack(home, points)
    Batches(stack.store, HEART).land(DATA / "heart_cleveland.csv")
    for count in range(1, len(points) + 1) if everything_after is None else everything_after:
        with stack.running():
            wait_until(
                lambda count=count: len(stack.killed()) >= count or stack.promoted(),
                f"kill {count} of {', '.join(points)}",
                home,
            )
    with stack.running():
        wait_until(stack.promoted, f"promotion after {stack.killed()}", home)
    return stack.killed()


def unfinished(home: Path) -> list[str]:
    """Runs of Dagster that have not ended."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return [run.run_id for run in instance.get_runs() if not run.is_finished]


def running_in_mlflow(home: Path) -> int:
    """Runs that MLflow believes to be at work."""
    return len(_in_mlflow(home, "select 1 from runs where status = 'RUNNING'"))


def _in_mlflow(home: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db", timeout=30)) as database:
        return database.execute(query).fetchall()


def outcome(home: Path) -> dict[str, Any]:
    """What must be the same with and without a kill.

    Raises:
        AssertionError: If a Parquet file is half there, or the ledger or a bundle does not hold.
    """
    store = Storage(home / "storage")
    files = [p for p in Path(store.root).rglob("*.parquet") if PARTIAL_PREFIX not in str(p)]
    assert files
    for file in files:
        pq.read_table(file)
    entries = Ledger(store, HEART).verify()
    for name in store.list(f"{HEART}/bundles"):
        verify(store.local(f"{HEART}/bundles/{name}"), name)
    versions = _in_mlflow(home, "select version from model_versions")
    aliases = _in_mlflow(home, "select alias, version from registered_model_aliases order by 1")
    batches = Batches(store, HEART)
    desired = (store.read_json(f"{HEART}/desired/dev.json") or {})["roles"]["champion"]
    return {
        "batches": batches.keys(),
        "pointers": [
            (batches.pointer(key, stage) or {})["digest"]
            for key in batches.keys()  # noqa: SIM118 (no mapping)
            for stage in ("raw", "validated", "features")
        ],
        "training sets": store.list(f"{HEART}/training_sets"),
        "decisions": [(entry["decision"], entry["bundle"]) for entry in entries],
        "versions": versions,
        "aliases": aliases,
        "desired": desired["digest"],
        "unfinished": unfinished(home),
        "running in MLflow": running_in_mlflow(home),
    }
