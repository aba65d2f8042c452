"""Dagster's instance: that of ``DAGSTER_HOME``, or the local one, which is made here.

Two processes that open a new SQLite instance at the same time both run its migrations, and one
fails; a kill in the middle leaves an instance that never opens again. So one process makes it under
a temporary name, and renames it.
"""

import fcntl
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets import home

if TYPE_CHECKING:
    from dagster import DagsterInstance

# Where Dagster is not that of this machine: a container's has its own.
VARIABLE = "DAGSTER_HOME"
LOCK = ".dagster.lock"
PARTIAL = ".dagster.partial"
HALF_MADE = "dagster.half-made-"
# Beside the storage: it was seen to open.
READY = "ready"


def has_instance() -> bool:
    """Whether there is an instance to be asked: nothing is made by a look."""
    return bool(os.environ.get(VARIABLE)) or (home.home() / "dagster").is_dir()


def open_instance() -> "DagsterInstance":
    """The instance, to be used as a context manager; the local one is made where there is none."""
    from dagster import DagsterInstance

    folder = os.environ.get(VARIABLE)
    if not folder:
        # What is there is left as it is, half made or not: `mlops doctor` only looks.
        folder = str(home.write_dagster_home() if has_instance() else prepare())
    return DagsterInstance.from_config(folder)


def prepare() -> Path:
    """Make the storage of Dagster's instance unless it is there.

    What another program left half made, and holds no run, is set aside.

    Returns:
        The folder of the instance, for ``DAGSTER_HOME``.
    """
    folder = home.write_dagster_home()
    storage = folder / "dagster"
    if (storage / READY).exists():
        return folder
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (storage / READY).exists():
            return folder
        if storage.is_dir() and _opens(folder):
            (storage / READY).touch()
            return folder
        if storage.is_dir():
            storage.rename(folder / f"{HALF_MADE}{datetime.now(UTC):%Y%m%dT%H%M%S}")
        _make(folder)
    return folder


def _opens(folder: Path) -> bool:
    from alembic.util.exc import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        _open(folder)
    except (CommandError, SQLAlchemyError):
        runs = folder / "dagster" / "history" / "runs"
        if any(path.name != "index.db" for path in runs.glob("*.db")):
            raise
        return False
    return True


def _open(folder: Path) -> None:
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(folder)) as instance:
        instance.get_runs_count()


def _make(folder: Path) -> None:
    partial = folder / PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    text = (folder / "dagster.yaml").read_text(encoding="utf-8")
    text = text.replace(f"base_dir: {folder}/dagster", f"base_dir: {partial}/dagster")
    (partial / "dagster.yaml").write_text(text, encoding="utf-8")
    _open(partial)
    (partial / "dagster" / READY).touch()
    (partial / "dagster").rename(folder / "dagster")
    shutil.rmtree(partial)
