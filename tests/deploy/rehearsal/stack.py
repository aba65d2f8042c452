"""Services of the Compose file as processes, with the commands and settings that are written there.

What a container gives is given in another way: a network of its own, in which every service's name
is this machine, and a folder in the place of each volume and mounted file. An image is a program of
this environment or of this machine. What is left is the file: commands, settings, health checks,
and the order in which services start.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tools import DEPLOY, ROOT
from tests.postgres import copied, programs

FOLDER = DEPLOY / "compose"
BIN = Path(sys.executable).parent
DEADLINE_SECONDS = 180.0
# Of images that are not ours, where it has another name.
PROGRAMS = {"store": "weed", "alertmanager": "prometheus-alertmanager"}
# PostgreSQL does not run as root, as which namespaces are made.
NOBODY = 65534
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


class NotReadyError(Exception):
    """A service ended, or its health check did not pass in time; with the end of its log."""


def image(target: str) -> tuple[list[str], dict[str, str], list[str]]:
    """Command, environment and health check of one of our images, from the Dockerfile."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    part = text[text.index(f"AS {target}\n") :]
    part = part[: part.find("\nFROM ") if "\nFROM " in part else None]
    found = dict(re.findall(r"(?m)^(ENTRYPOINT|CMD) (\[.*\])", part))
    check = re.search(r"(?m)^HEALTHCHECK .*CMD (\[.*\])", part)
    assert check is not None, target
    environment = dict(
        pair.split("=", 1)
        for line in re.findall(r"(?m)^ENV (.*)", part)
        for pair in line.split()
        if not pair.startswith("PATH=")
    )
    return json.loads(found.get("ENTRYPOINT") or found["CMD"]), environment, json.loads(check[1])


class Stack:
    """The services of the Compose file.

    Attributes:
        variables: What ``.env`` says.
        folder: For volumes, files that are mounted, and logs.
    """

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        self.variables = variables
        self.declared = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
        self.services: dict[str, dict[str, Any]] = self.declared["services"]
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._done: set[str] = set()
        self._paths = {name: self._mounted(name) for name in self.services}

    def start(self, name: str) -> float:
        """Start a service, and before it those that it waits for.

        Returns:
            The seconds until it was healthy; 0 if it was already.

        Raises:
            NotReadyError: With the end of its log.
        """
        for other in self.services[name].get("depends_on", {}):
            self.start(other)
        if name in self._done:
            return 0.0
        start = time.monotonic()
        with self._log(name).open("ab") as log:
            command, kept = self._command(name)
            self.running[name] = subprocess.Popen(
                command,
                env=self.environment(name),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **kept,
            )
        self._wait(name)
        self._done.add(name)
        return time.monotonic() - start

    def environment(self, name: str) -> dict[str, str]:
        """What a process of a service finds in its environment."""
        service = self.services[name]
        given = {key: str(value) for key, value in service.get("environment", {}).items()}
        ours = image(_target(service))[1] if _target(service) else {}
        path = f"{BIN}{os.pathsep}{programs()}{os.pathsep}{os.environ['PATH']}"
        # PostgreSQL's clients would look for a socket that only its image has.
        common = {"PATH": path, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "PGHOST": "postgres"}
        filled = {key: self._here(name, value) for key, value in (ours | given).items()}
        return common | filled

    def execute(self, name: str, *command: str) -> str:
        """Run a command in a service, as ``docker compose exec`` does."""
        done = subprocess.run(
            [self._here(name, word) for word in command],
            env=self.environment(name),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise NotReadyError(f"{name}: {' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout

    def stop(self) -> None:
        """End what runs, the last one first."""
        for process in reversed(self.running.values()):
            process.terminate()
        for process in reversed(self.running.values()):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _wait(self, name: str) -> None:
        process, deadline = self.running[name], time.monotonic() + DEADLINE_SECONDS
        service = self.services[name]
        if service.get("restart") == "no":
            if process.wait(DEADLINE_SECONDS):
                raise NotReadyError(f"{name} ended with {process.returncode}: {self._said(name)}")
            return
        test = service.get("healthcheck", {}).get("test")
        check = test[1:] if test else image(_target(service))[2]
        while True:
            try:
                self.execute(name, *check)
            except NotReadyError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise NotReadyError(f"{error}; {self._said(name)}") from None
                time.sleep(0.5)
            else:
                return

    def _command(self, name: str) -> tuple[list[str], dict[str, Any]]:
        service = self.services[name]
        given = [self._here(name, word) for word in service.get("command", [])]
        if target := _target(service):
            command = image(target)[0]
            return given or [self._here(name, word) for word in command], {}
        if name == "postgres":
            return self._postgres(), {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        return [PROGRAMS.get(name, name), *given], {}

    def _postgres(self) -> list[str]:
        """Make its data folder and databases, as the image's entry point does."""
        paths, environment = dict(self._paths["postgres"]), self.environment("postgres")
        data = Path(paths["/var/lib/postgresql/data"])
        binaries = copied(self.folder)
        password = self.folder / "password"
        password.write_text(environment["POSTGRES_PASSWORD"])
        for path in (self.folder, data, password):
            os.chown(path, NOBODY, NOBODY)
        self._as_nobody(
            binaries / "initdb", "-A", "scram-sha-256", "-U", environment["POSTGRES_USER"],
            "-E", "UTF8", "--locale=C", "--no-sync", "--pwfile", password, "-D", data,
        )  # fmt: skip
        script = f"CREATE DATABASE {environment['POSTGRES_DB']};\n"
        script += (FOLDER / "databases.sql").read_text(encoding="utf-8")
        statements = re.sub(r"(?m)^--.*\n", "", script).replace("\n", " ").split(";")
        for statement in filter(str.strip, statements):
            self._as_nobody(
                binaries / "postgres", "--single", "-D", data, "postgres", given=statement
            )
        return [str(binaries / "postgres"), "-D", str(data), "-h", "0.0.0.0", "-k", ""]

    def _as_nobody(self, *command: str | Path, given: str = "") -> None:
        done = subprocess.run(
            [str(word) for word in command], input=given, capture_output=True, text=True,
            cwd=self.folder, user=NOBODY, group=NOBODY, extra_groups=[],
        )  # fmt: skip
        if done.returncode:
            raise NotReadyError(f"postgres: {done.stderr}")

    def _mounted(self, name: str) -> list[tuple[str, str]]:
        """Paths in the container and here, the longest first; mounted files are copied."""
        service, found = self.services[name], []
        root = self.folder / name
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            here = self.folder / "volumes" / source
            if source.startswith("."):
                here = root / target.strip("/")
                here.parent.mkdir(parents=True, exist_ok=True)
                original = (FOLDER / source).resolve()
                (shutil.copytree if original.is_dir() else shutil.copy)(original, here)
                found.append((str(Path(target).parent), str(here.parent)))
            else:
                here.mkdir(parents=True, exist_ok=True)
            found.append((target, str(here)))
        for config in service.get("configs", []):
            here = root / config["target"].strip("/")
            here.parent.mkdir(parents=True, exist_ok=True)
            here.write_text(self._filled(self.declared["configs"][config["source"]]["content"]))
            found.append((config["target"], str(here)))
        found.sort(key=lambda pair: -len(pair[0]))
        for path in root.rglob("*"):
            if path.suffix in (".yaml", ".yml"):
                path.write_text(_replaced(path.read_text(encoding="utf-8"), found))
        return found

    def _here(self, name: str, text: str) -> str:
        return _replaced(self._filled(text), self._paths[name])

    def _filled(self, text: str) -> str:
        def fill(found: re.Match[str]) -> str:
            if found[1] in self.variables:
                return self.variables[found[1]]
            assert found[2] != "?", f"{found[1]}: {found[3]}"
            return found[3] or ""

        return VARIABLE.sub(fill, text)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _said(self, name: str) -> str:
        return self._log(name).read_text(errors="replace")[-3000:]


def _target(service: dict[str, Any]) -> str:
    """The target of our Dockerfile that a service runs, or nothing."""
    found = re.match(r"\$\{IMAGE[^}]*\}/(\w+):", service["image"])
    return found[1] if found else ""


def _replaced(text: str, paths: list[tuple[str, str]]) -> str:
    """The text with paths of the container as paths of this machine."""
    if not paths:
        return text
    known = dict(paths)
    pattern = "|".join(re.escape(path) for path, _ in paths)
    return re.sub(rf"(?<![\w/.])(?:{pattern})(?![\w-])", lambda found: known[found[0]], text)
