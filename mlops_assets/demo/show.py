"""The demo itself: the whole loop, told in plain words.

It starts Dagster, the serving app and the MLflow UI, lands the Cleveland data, and then only
watches: the sensors do the work. What it tells is read from the storage root, where every stage
leaves its record.
"""

import contextlib
import json
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from mlops_assets import home
from mlops_assets.demo.drift import Shift
from mlops_assets.demo.processes import LOGS, Servers, alone, stop_all
from mlops_assets.demo.progress import Progress, Runs
from mlops_assets.demo.servers import (
    PortInUseError,
    check_ports,
    start,
    start_exporter,
    start_mlflow,
)
from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.http import call
from mlops_assets.lib.records.batches import Batches, batch_key
from mlops_assets.lib.records.history import awaiting_rollout, champion
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage

USE_CASE = "heart_disease"
DATA = Path(__file__).parents[1] / "data" / "heart_cleveland.csv"
# The patient that the original service's documentation asked about.
PATIENT = {
    "age": 63, "sex": 1, "cp": 3, "trestbps": 145, "chol": 233, "fbs": 1, "restecg": 0,
    "thalach": 150, "exang": 0, "oldpeak": 2.3, "slope": 0, "ca": 0, "thal": 1,
}  # fmt: skip
DEADLINE_SECONDS = 900.0
POLL_SECONDS = 0.25
PAGE_SECONDS = 60.0


class DemoError(Exception):
    """Why the demo cannot go on, for a person."""


def run_demo(*, once: bool, drift: bool = False) -> int:
    """Show the loop.

    Args:
        once: Exit when the champion has answered, in place of staying up.
        drift: Then go on with other patients, until what follows from them is decided.

    Returns:
        0 if the champion served, and with ``drift`` the loop was closed; 1 if not.
    """
    folder = home.home()
    folder.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with alone(folder) as held:
            if not held:
                raise DemoError(f"another demo is at work on {folder}")
            left = stop_all(folder)
            if left:
                print(f"Stopped {left} processes that an earlier demo had left behind.")
            check_ports()
            servers = Servers(folder)
            try:
                return _show(servers, once=once, drift=drift)
            except KeyboardInterrupt:
                print("\nStopping ...", flush=True)
                return 0 if not once else 130
            finally:
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C leaves nothing behind
                servers.stop()
                print("Every process of the demo has stopped.", flush=True)
    except (DemoError, PortInUseError, ValueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show(servers: Servers, *, once: bool, drift: bool) -> int:
    spec = load_spec(USE_CASE)
    store = Storage(home.storage_root())
    progress = Progress(store, spec)
    print(
        f"Starting Dagster, the serving app and MLflow; their logs are in {servers.folder / LOGS}"
    )
    start(servers, USE_CASE)
    _land(store, progress)
    runs = Runs()
    served: dict[str, Any] | None = None
    deadline = time.monotonic() + DEADLINE_SECONDS
    while served is None:
        _still_up(servers)
        # Much may have landed: as long as something is at work, there is something to wait for.
        if time.monotonic() > deadline and not runs.busy():
            raise DemoError(
                f"not done after {DEADLINE_SECONDS:g} s, and nothing is at work; look into "
                f"{servers.folder / LOGS}"
            )
        start_mlflow(servers)
        progress.tell()
        problem = progress.problem() or runs.problem()
        if problem is not None:
            raise DemoError(problem)
        served = _served(store, spec)
        time.sleep(POLL_SECONDS)
    while runs.busy() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    progress.tell()
    start_mlflow(servers)
    if not once:
        start_exporter(servers)
        _wait_for_pages(servers)
    _summary(store, spec, served, progress)
    shift = Shift(store, spec, progress) if drift else None
    try:
        if shift is not None:
            _close_the_loop(servers, shift)
        return 0 if once else _stay(servers, progress)
    finally:
        if shift is not None and shift.traffic is not None:
            shift.traffic.stop()


def _close_the_loop(servers: Servers, shift: Shift) -> None:
    """Watch what follows from a shifted batch and shifted traffic, up to a decision."""
    before, deadline = shift.decided(), time.monotonic() + DEADLINE_SECONDS
    while not (shift.seen() and shift.decided() > before):
        _still_up(servers)
        if time.monotonic() > deadline:
            raise DemoError(f"no decision after {DEADLINE_SECONDS:g} s; `mlops status` says more")
        start_mlflow(servers)
        shift.look()
        shift.progress.tell()
        time.sleep(POLL_SECONDS)
    shift.progress.tell()
    shift.summary()


def _stay(servers: Servers, progress: Progress) -> int:
    print("\nPress Ctrl-C to stop.", flush=True)
    while True:
        _still_up(servers)
        start_mlflow(servers)
        progress.tell()
        time.sleep(1)


def _still_up(servers: Servers) -> None:
    ended = servers.ended()
    if ended is not None:
        name, code = ended
        tail = servers.log(name).read_text(encoding="utf-8", errors="replace")[-1500:]
        raise DemoError(f"{name} ended with code {code}; its log ends:\n{tail}")


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


def _predict(spec: UseCase) -> str:
    # With its name: it is right for a server of several use cases, too.
    return f"{home.url('serving')}/predict/{spec.name}"


def _served(store: Storage, spec: UseCase) -> dict[str, Any] | None:
    """The answer of the champion, once the app serves what the ledger has promoted last."""
    entries = Ledger(store, spec.name).entries()
    last = champion(entries)
    if last is None or awaiting_rollout(entries) is not None:
        return None
    try:
        answer: dict[str, Any] = call(_predict(spec), PATIENT)
    except OSError:  # it is starting, or has nothing to serve yet
        return None
    return answer if answer["digest"] == last["bundle"] else None


def _summary(store: Storage, spec: UseCase, answer: dict[str, Any], progress: Progress) -> None:
    # The champion's own: the newest evaluation may be that of a rejected version.
    bundle = f"{spec.name}/bundles/{answer['digest']}"
    lineage = (store.read_json(f"{bundle}/manifest.json") or {})["lineage"]
    evaluation = store.read_json(f"{spec.name}/evaluations/{lineage['evaluation']}.json") or {}
    print()
    progress.table()
    print(f"\n{spec.title}")
    print(f"  champion     version {answer['version']}, {lineage['algorithm']}")
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
    print(f"  metrics    {home.url('exporter')}/metrics, {home.url('serving')}/metrics")
    print("\nAsk the champion")
    print(f"  curl -s {_predict(spec)} -d '{json.dumps(PATIENT)}'")
    print(f"  {json.dumps(answer)}", flush=True)
