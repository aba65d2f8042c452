"""A dump by the arguments of the nightly job, restored by the commands of its page."""

import os
import re
import shlex
import subprocess
from pathlib import Path

from tests.deploy import manifests
from tests.deploy.manifests import pods
from tests.deploy.tools import ROOT
from tests.postgres import PASSWORD, USER, Postgres, programs

PAGE = (ROOT / "docs" / "operations" / "backups.md").read_text(encoding="utf-8")


def test_what_is_dumped_comes_back(postgres: Postgres, tmp_path: Path) -> None:
    (job,) = (p for p in pods(manifests.component("backup")) if p.owner.startswith("CronJob"))
    dumps = [each for each in job.containers if each.get("command") == ["pg_dump"]]
    assert [each["args"][-1] for each in dumps] == ["dagster", "mlflow"]
    for name in ("dagster", "mlflow"):
        _psql(postgres, f"create database {name}")
    _psql(postgres, "create table runs (id int primary key, note text)", "dagster")
    _psql(postgres, "insert into runs values (1, 'före'), (2, null)", "dagster")
    before = _psql(postgres, "select * from runs order by id", "dagster")
    for each in dumps:
        moved = [a.replace("/backup", str(tmp_path)) for a in each["args"]]
        _run(postgres, ["pg_dump", *moved])
    # What has happened since is gone afterwards, and so is what was lost.
    _psql(
        postgres, "delete from runs where id = 1; insert into runs values (3, 'since')", "dagster"
    )
    _psql(postgres, "create table since (id int)", "dagster")
    commands = re.findall(r"^(?:dropdb|createdb|pg_restore) .*$", PAGE, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["dropdb", "createdb", "pg_restore"]
    for name in ("dagster", "mlflow"):
        for command in commands:
            text = command.replace("$NAME", name).replace("/backup", str(tmp_path))
            _run(postgres, shlex.split(text))
    assert _psql(postgres, "select * from runs order by id", "dagster") == before
    assert "since" not in _psql(postgres, r"\dt", "dagster")


def _psql(server: Postgres, statement: str, database: str = "postgres") -> str:
    options = ["--no-psqlrc", "--tuples-only", "--set=ON_ERROR_STOP=1"]
    return _run(server, ["psql", *options, f"--command={statement}", database])


def _run(server: Postgres, command: list[str]) -> str:
    given = {
        **os.environ,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGUSER": USER,
        "PGPASSWORD": PASSWORD,
    }
    name, *arguments = command
    done = subprocess.run(
        [programs() / name, *arguments], env=given, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout
