"""Take a batch to a champion with the servers of the Compose stack: ``make stack-rehearsal``.

PostgreSQL, the store, MLflow, Dagster's three processes, serving and, where they are installed,
Prometheus and Alertmanager run with the commands and settings of the Compose file. It has to be
root, or to be allowed namespaces as a user.
"""

import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlops_assets.lib.spec.specs import load_spec
from tests.deploy.rehearsal.stack import BIN, Stack
from tests.deploy.tools import ROOT
from tests.platform import DATA, HEART

INSIDE = "--inside"
DEADLINE_SECONDS = 600.0
# Services whose program may not be here, and the program.
OPTIONAL = {"prometheus": "prometheus", "alertmanager": "prometheus-alertmanager", "grafana": "-"}
GRAPHQL = "http://webserver:3000/graphql"
SIOCSIFFLAGS, UP_AND_RUNNING = 0x8914, 0x41


def main() -> None:
    """Make a network of its own, and rehearse in it."""
    if INSIDE not in sys.argv:
        who = [] if os.geteuid() == 0 else ["--map-root-user"]
        # Processes of its own, too: none outlives this one, however it ends.
        own = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = ["unshare", *who, *own, sys.executable]
        os.execvp("unshare", [*command, "-m", "tests.deploy.rehearsal", INSIDE])
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as name:
        stack = Stack(Path(name), _variables())
        _network(Path(name), [*stack.services])
        try:
            rehearse(stack)
        finally:
            stack.stop()


def rehearse(stack: Stack) -> None:
    """Start everything, land a file, wait for the champion, and look where things went."""
    began = time.monotonic()
    for name in stack.services:
        if not shutil.which(OPTIONAL.get(name, "true")):
            print(f"{name:14} is not installed here", flush=True)
            continue
        print(f"{name:14} healthy after {stack.start(name):6.1f} s", flush=True)
    landed = time.monotonic()
    print(f"{'everything':14} healthy after {landed - began:6.1f} s", flush=True)
    print(stack.execute("code", "mlops", "land", HEART, str(DATA / "heart_cleveland.csv")).strip())
    model = _until("a champion", lambda: _served(stack))
    seconds = time.monotonic() - landed
    print(f"version {model['version']} serves {seconds:.1f} s after the file landed", flush=True)
    row = {column.name: column.example for column in load_spec(HEART).contract.columns}
    answer = ask("http://serving:8000/predict/heart_disease", row, stack.variables)
    print(f"it answers {answer['class']!r} with probability {answer['probability']:.3f}")
    _until("end of the runs", lambda: all(run["status"] == "SUCCESS" for run in _runs()))
    print("Dagster's runs succeeded:", ", ".join(run["jobName"] for run in _runs()))
    print(stack.execute("code", "mlops", "ledger", "verify", HEART).strip())
    status = stack.execute("code", "mlops", "status", HEART)
    assert "  retrain " in status, status  # which needs Dagster's instance
    if "prometheus" in stack.running:
        _until("Prometheus' targets", _scraped)
        print("Prometheus scrapes every target that is here")


def ask(url: str, body: Any = None, variables: dict[str, str] | None = None) -> Any:
    """The JSON that a service answers."""
    headers = {"Content-Type": "application/json"}
    if variables:
        headers["Authorization"] = f"Bearer {variables['MLOPS_SERVING_API_KEY']}"
    sent = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, sent, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def _served(stack: Stack) -> Any:
    try:
        model = ask(f"http://serving:8000/model/{HEART}", None, stack.variables)
    except urllib.error.HTTPError:
        return None
    return model if model["ready"] else None


def _runs() -> list[dict[str, str]]:
    query = {"query": "{ runsOrError { ... on Runs { results { jobName status } } } }"}
    found: list[dict[str, str]] = ask(GRAPHQL, query)["data"]["runsOrError"]["results"]
    return found


def _scraped() -> bool:
    targets = ask("http://prometheus:9090/api/v1/targets")["data"]["activeTargets"]
    return all(target["health"] == "up" for target in targets)


def _until(what: str, look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"no {what} after {DEADLINE_SECONDS:g} s"
        time.sleep(0.5)
    return found


def _variables() -> dict[str, str]:
    """What a person would write into ``.env``."""
    made = subprocess.run(
        [BIN / "mlops", "keys", "api", "dagster"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout  # fmt: skip
    key, line = re.findall(r": (\S+)$", made, re.MULTILINE)
    names = ("POSTGRES_PASSWORD", "GRAFANA_PASSWORD", "STORE_SECRET_KEY")
    return {
        **{name: secrets.token_hex(24) for name in names},
        "STORE_ACCESS_KEY": "rehearsal",
        "MLOPS_SERVING_API_KEY": key,
        "SERVING_API_KEYS": line,
    }


def _network(folder: Path, names: list[str]) -> None:
    """Turn the loopback on, and let every service's name mean it."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", UP_AND_RUNNING))
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {' '.join(names)}\n")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)


if __name__ == "__main__":
    main()
