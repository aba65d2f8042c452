"""The machine: Python, packages, the disk, ports, and processes that were left over."""

import shutil
import sys
from collections.abc import Iterator

import psutil

from mlops_assets import home
from mlops_assets.lib.http import call
from mlops_assets.operations.doctor.finding import Finding, Level

MOST_PYTHON = (3, 13)
LITTLE_DISK, FULL_DISK, NO_DISK = 5e9, 1e9, 1e6


def python() -> Iterator[Finding]:
    """The version of Python."""
    version = ".".join(map(str, sys.version_info[:3]))
    if not (3, 11) <= sys.version_info[:2] <= MOST_PYTHON:
        yield Finding("Python", "fail", version, "use Python 3.11, 3.12 or 3.13")
    else:
        yield Finding("Python", "ok", f"{version} in {sys.prefix}")


def packages() -> Iterator[Finding]:
    """Whether what is installed is what the lock names."""
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


def disk() -> Iterator[Finding]:
    """Free space, and what takes it."""
    folder, free = home.home(), _free()
    sizes = {
        name: sum(f.stat().st_size for f in (folder / name).rglob("*") if f.is_file())
        for name in ("storage", "mlflow", "dagster")
    }
    used = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items())
    level: Level = "fail" if free < FULL_DISK else "warn" if free < LITTLE_DISK else "ok"
    do = "" if level == "ok" else "free some space; `mlops prune` removes what is not needed"
    yield Finding("disk", level, f"{free / 1e9:.1f} GB free at {folder}; {used}", do)


def is_full() -> bool:
    """Whether there is no room for what SQLite writes beside a database that is only read."""
    return _free() < NO_DISK


def _free() -> int:
    folder = home.home()
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    return shutil.disk_usage(there).free


def ports() -> Iterator[Finding]:
    """Whether each server's port is free, or has the server behind it."""
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


def processes() -> Iterator[Finding]:
    """What a killed demo has left at work."""
    from mlops_assets.demo.processes import is_at_work, left_over

    found = left_over(home.home())
    if not found:
        return
    if is_at_work(home.home()):
        yield Finding("demo", "ok", f"at work, with {len(found)} processes")
        return
    said = f"{len(found)} processes of a demo that was killed"
    yield Finding("demo", "warn", said, "`make demo` or `make clean` stops them")
