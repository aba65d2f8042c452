"""Dagster's storage is made once, by one process, and a half-made one does not stay in the way."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from alembic.util.exc import CommandError
from dagster._core.test_utils import create_run_for_test

from mlops_assets import instance
from mlops_assets.operations.doctor import stores


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    return tmp_path


def half_make(home: Path) -> None:
    """What a kill in the middle of the migrations leaves."""
    with sqlite3.connect(home / "dagster" / "schedules" / "schedules.db") as database:
        database.execute("insert into alembic_version values ('another')")
    database.close()
    (home / "dagster" / instance.READY).unlink()


def test_processes_that_start_together_make_one(home: Path) -> None:
    code = (
        "from mlops_assets import instance; from dagster import DagsterInstance\n"
        "with DagsterInstance.from_config(str(instance.prepare())) as i: i.get_runs_count()"
    )
    together = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(120) for process in together] == [0, 0, 0]
    assert not (home / instance.PARTIAL).exists()
    assert (home / "dagster" / "history" / "runs.db").is_file()


def test_a_half_made_one_is_set_aside(home: Path) -> None:
    instance.prepare()
    half_make(home)
    (told,) = stores.dagster()
    assert (told.level, "CommandError" in told.said) == ("fail", True)
    assert "`mlops dev` or `make demo` mends it" in told.do
    with dg.DagsterInstance.from_config(str(instance.prepare())) as made:
        assert made.get_runs_count() == 0
    assert [finding.level for finding in stores.dagster()] == ["ok"]
    assert len(list(home.glob(f"{instance.HALF_MADE}*"))) == 1


def test_one_that_holds_runs_is_never_set_aside(home: Path) -> None:
    with dg.DagsterInstance.from_config(str(instance.prepare())) as made:
        run = create_run_for_test(made)
        made.report_run_canceled(run)
    half_make(home)
    with pytest.raises(CommandError):
        instance.prepare()
    assert (home / "dagster" / "history" / "runs" / f"{run.run_id}.db").is_file()


def test_one_that_dagster_made_itself_is_kept(home: Path) -> None:
    with dg.DagsterInstance.from_config(str(instance.prepare())) as made:
        create_run_for_test(made)
    (home / "dagster" / instance.READY).unlink()
    with dg.DagsterInstance.from_config(str(instance.prepare())) as made:
        assert made.get_runs_count() == 1
