"""``mlops doctor``: looks at everything that can be wrong on one machine, and says what to do.

It changes nothing. Every examination answers by itself, whatever the others find.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from mlops_assets import home
from mlops_assets.lib.http import call
from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.ledger import Ledger, LedgerError, champion
from mlops_assets.lib.spec.specs import load_specs
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.withdraw import serves_withdrawn
from serving.storage.bucket import SCHEME

Level = Literal["ok", "warn", "fail"]
MOST_PYTHON = (3, 13)
LITTLE_DISK, FULL_DISK = 5e9, 1e9
# A file under a temporary name may be at work for so long.
OLD_SECONDS = 600.0
HEARTBEAT_SECONDS = 90.0


@dataclass(frozen=True)
class Finding:
    """What one examination found.

    Attributes:
        about: What was looked at.
        level: ``warn`` is worth knowing; ``fail`` stands in the way.
        said: What was found.
        do: What to do about it; empty where nothing is to be done.
    """

    about: str
    level: Level
    said: str
    do: str = ""


def examine() -> list[Finding]:
    """Look at this machine and at the folder of all state."""
    looks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        _disk,
        _storage,
        _ports,
        _use_cases,
        _processes,
        _dagster,
        _mlflow,
    ]
    found: list[Finding] = []
    for look in looks:
        try:
            found += look()
        except Exception as error:  # one that breaks must not hide what the others see
            about = look.__name__.removeprefix("_").replace("_", " ")
            found.append(Finding(about, "fail", f"{type(error).__name__}: {error}"))
    return found


def as_text(findings: list[Finding]) -> str:
    """The findings for a person, with what to do under each."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:<5} {finding.about}: {finding.said}")
        if finding.do:
            lines.append(f"      -> {finding.do}")
    bad = sum(finding.level == "fail" for finding in findings)
    warned = sum(finding.level == "warn" for finding in findings)
    lines.append(f"{bad} failures, {warned} warnings")
    return "\n".join(lines)


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if not (3, 11) <= sys.version_info[:2] <= MOST_PYTHON:
        yield Finding("Python", "fail", version, "use Python 3.11, 3.12 or 3.13")
    else:
        yield Finding("Python", "ok", f"{version} in {sys.prefix}")


def _packages() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    lock = home.PROJECT / "requirements" / "runtime.txt"
    if not lock.is_file():
        return
    wrong = []
    lines = [line.rstrip("\\ \n") for line in lock.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if not line or line.startswith((" ", "#", "--")):
            continue
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            found = "not installed"
        if not wanted.specifier.contains(found if found[0].isdigit() else "0", prereleases=True):
            wrong.append(f"{wanted.name} {found} ({wanted.specifier} is locked)")
    if wrong:
        said = f"{len(wrong)} differ from the lock: {', '.join(wrong[:3])}"
        yield Finding("packages", "warn", said, "make distclean setup")
    else:
        yield Finding("packages", "ok", "as locked")


def _disk() -> Iterator[Finding]:
    folder = home.home()
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(there).free
    sizes = {
        name: sum(f.stat().st_size for f in (folder / name).rglob("*") if f.is_file())
        for name in ("storage", "mlflow", "dagster")
    }
    used = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items())
    level: Level = "fail" if free < FULL_DISK else "warn" if free < LITTLE_DISK else "ok"
    do = "" if level == "ok" else "free some space; `mlops prune` removes what is not needed"
    yield Finding("disk", level, f"{free / 1e9:.1f} GB free at {folder}; {used}", do)


def _storage() -> Iterator[Finding]:
    store = Storage(home.storage_root())
    root, remote = store.root, store.root.startswith(SCHEME)
    if not remote and not Path(root).is_dir():
        yield Finding("storage", "ok", f"{root} is not there yet; it is made when first written to")
        return
    try:
        store.check()
    except OSError as error:
        do = "see `Storage on S3` in docs/operations.md" if remote else "move it to a local disk"
        yield Finding("storage", "fail", str(error), do)
        return
    old = [
        key
        for key in store.leftovers(".")
        if store.exists(key) and time.time() - store.changed(key) > OLD_SECONDS
    ]
    if old:
        said = f"{len(old)} half-written files of killed processes, for example {old[0]}"
        yield Finding("storage", "warn", said, "harmless; `mlops prune` removes them")
    else:
        yield Finding("storage", "ok", f"{root} can be written; nothing half-written")


def _ports() -> Iterator[Finding]:
    listening = {
        connection.laddr.port: connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr
    }
    pages = {"dagster": "server_info", "serving": "health/live", "mlflow": "health"}
    for name, page in pages.items():
        port = home.port(name)
        if port not in listening:
            yield Finding(f"port {port}", "ok", f"free for {name}")
            continue
        try:
            call(f"{home.url(name)}/{page}", timeout=3)
        except (OSError, ValueError) as error:
            # MLflow's answers OK, which is no JSON.
            if name == "mlflow" and isinstance(error, ValueError):
                yield Finding(f"port {port}", "ok", f"{name} answers")
                continue
            said = f"{_who(listening[port])} listens where {name} should"
            do = f"stop it, or choose another port: MLOPS_{name.upper()}_PORT={port + 1}"
            yield Finding(f"port {port}", "warn", said, do)
        else:
            yield Finding(f"port {port}", "ok", f"{name} answers")


def _who(pid: int | None) -> str:
    try:
        process = psutil.Process(pid) if pid is not None else None
        return f"process {pid} ({process.name()})" if process else "somebody else's process"
    except psutil.Error:
        return f"process {pid}"


def _use_cases() -> Iterator[Finding]:
    specs = load_specs()
    yield Finding("specs", "ok", ", ".join(specs))
    store = Storage(home.storage_root())
    for spec in specs.values():
        yield from _use_case(store, spec)


def _use_case(store: Storage, spec: UseCase) -> Iterator[Finding]:
    from mlops_assets.lib.bundles.bundle import verify_stored
    from serving.bundle.manifest import BundleError

    try:
        entries = Ledger(store, spec.name).verify()
    except LedgerError as error:
        do = "somebody edited it: bring it back from a backup; nothing is promoted until it holds"
        yield Finding(f"{spec.name} ledger", "fail", str(error), do)
        return
    yield Finding(f"{spec.name} ledger", "ok", f"{len(entries)} entries, the chain holds")
    crowned = champion(entries)
    if crowned is None:
        yield Finding(f"{spec.name} champion", "ok", "none yet")
        return
    about, version = f"{spec.name} champion", crowned["version"]
    try:
        manifest = verify_stored(store, crowned["path"], crowned["bundle"])
    except BundleError as error:
        do = f"materialise {spec.name}/registered_version, or promote another version"
        yield Finding(about, "fail", f"the bundle of version {version} is damaged: {error}", do)
        return
    agreed = manifest["lineage"]["contract"]
    present = spec.contract
    if agreed["version"] == present.version and agreed["digest"] != present.digest:
        said = f"it has changed since version {version} was trained, and is still {present.version}"
        do = "raise contract.version if the data mean something else; if not, nothing is to be done"
        yield Finding(f"{spec.name} contract", "warn", said, do)
    gone = serves_withdrawn(store, entries)
    if gone:
        said = f"version {version} was trained on {', '.join(gone)}, which is withdrawn"
        do = "land better data: the next promoted version replaces it"
        yield Finding(about, "warn", said, do)
    role = desired_state.read(store, spec.name, home.environment()).get("champion")
    if role is None or role["digest"] != crowned["bundle"]:
        said = f"the desired state names {role and role['version']}, the ledger {version}"
        do = f"a rollout is at work, or was killed: materialise {spec.name}/rollout"
        yield Finding(about, "warn", said, do)
    elif not gone:
        yield Finding(about, "ok", f"version {version}, its files are whole")


def _processes() -> Iterator[Finding]:
    from mlops_assets.demo.processes import is_at_work, left_over

    found = left_over(home.home())
    if not found:
        return
    if is_at_work(home.home()):
        yield Finding("demo", "ok", f"at work, with {len(found)} processes")
        return
    said = f"{len(found)} processes of a demo that was killed"
    yield Finding("demo", "warn", said, "`make demo` or `make clean` stops them")


def _dagster() -> Iterator[Finding]:
    import dagster as dg

    from mlops_assets.launcher import is_alive, reported_process

    if not (home.home() / "dagster").is_dir():
        yield Finding("Dagster", "ok", "no instance yet; the first start makes it")
        return
    unfinished = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    unfinished += [dg.DagsterRunStatus.CANCELING]
    with dg.DagsterInstance.from_config(str(home.write_dagster_home())) as instance:
        runs = instance.get_runs(dg.RunsFilter(statuses=unfinished))
        processes = [(run, reported_process(instance, run.run_id)) for run in runs]
        stuck = [run for run, process in processes if process and not is_alive(*process)]
        daemons = instance.get_daemon_statuses()
        beats = [s.last_heartbeat.timestamp for s in daemons.values() if s.last_heartbeat]
        # Dagster itself calls a daemon healthy for half an hour after its last sign of life.
        alive = bool(beats) and time.time() - max(beats) < HEARTBEAT_SECONDS
    if stuck:
        named = ", ".join(f"{run.job_name} {run.run_id[:8]}" for run in stuck)
        do = (
            "its daemon ends them within seconds"
            if alive
            else "start Dagster (`make demo` or `make dev`): it ends them and asks for them again"
        )
        yield Finding("Dagster", "warn", f"runs whose process is gone: {named}", do)
    else:
        state = "its daemon is at work" if alive else "not running"
        yield Finding("Dagster", "ok", f"{len(runs)} runs at work, none stuck; {state}")


def _mlflow() -> Iterator[Finding]:
    from mlops_assets.resources import MlflowTracking

    uri = home.mlflow_uri()
    if uri.startswith("sqlite") and not (home.mlflow_folder() / home.MLFLOW_READY).exists():
        yield Finding("MLflow", "ok", "no store yet; the first training makes it")
        return
    import dagster as dg

    tracking = MlflowTracking(
        tracking_uri=uri, ui=home.url("mlflow"), dagster_ui=home.url("dagster")
    )
    with dg.DagsterInstance.from_config(str(home.write_dagster_home())) as instance:
        orphans = tracking.orphans(instance)
    if orphans:
        said = f"{len(orphans)} runs say RUNNING though their Dagster run has ended"
        do = "start Dagster: its sensor mlflow_reaper ends them"
        yield Finding("MLflow", "warn", said, do)
    else:
        yield Finding("MLflow", "ok", "the store opens; no run is left RUNNING")
