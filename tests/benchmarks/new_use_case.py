"""Time from ``mlops new`` on a CSV of 50,000 rows to the first answered request.

Everything is what a person would start, in a copy of the repository: ``mlops new``, ``mlops dev``,
``mlops serve``, ``mlops land``. The clock runs through all of it.
"""

import contextlib
import csv
import json
import math
import os
import random
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from mlops_assets.lib.spec.spec_file import documents
from tests.project_copy import ProjectCopy

ROWS = 50_000
NAME = "orders"
DEADLINE_SECONDS = 1800


def write_sample(path: Path) -> None:
    """Orders that are sent back or not: 12 columns of every usual kind."""
    draw = random.Random(7)
    numbers = [f"Measure {n}" for n in range(1, 6)]
    header = ["Order ID", "Amount", "Items", "Country", "Paid By", "New Customer", *numbers]
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow([*header, "Returned"])
        for index in range(ROWS):
            amount, items = draw.lognormvariate(4, 0.8), draw.randint(1, 9)
            country, paid = draw.choice("ABCDEF"), draw.choice(["card", "invoice", "transfer"])
            new = draw.random() < 0.3
            values = [draw.gauss(0, 1) for _ in numbers]
            score = -2.5 + 0.6 * new + 0.8 * (paid == "invoice") + 0.5 * values[0]
            score += 0.004 * amount - 0.1 * items + 0.3 * values[1] * values[2]
            returned = draw.random() < 1 / (1 + math.exp(-score))
            shown = ["" if draw.random() < 0.02 else round(value, 4) for value in values]
            row: list[Any] = [f"O{index:07}", round(amount, 2), items, country, paid]
            writer.writerow([*row, "yes" if new else "no", *shown, int(returned)])


def ask(project: ProjectCopy, row: dict[str, Any]) -> dict[str, Any] | None:
    """The answer of the serving app, or None as long as it has no champion."""
    url = f"http://127.0.0.1:{project.environment['MLOPS_SERVING_PORT']}/predict"
    request = urllib.request.Request(url, json.dumps(row).encode())
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except (urllib.error.URLError, OSError):
        return None


def main() -> None:
    """Print the time of each part."""
    with tempfile.TemporaryDirectory() as scratch:
        project = ProjectCopy(Path(scratch))
        sample = Path(scratch) / "orders.csv"
        write_sample(sample)
        began = time.perf_counter()
        new = project.run("mlops", "new", NAME, "--from", str(sample), "--target", "Returned")
        assert new.returncode == 0, new.stderr
        drafted = time.perf_counter() - began
        folder = project.root / "mlops_assets" / "defs" / NAME
        (document,) = documents(folder / "defs.yaml")
        row = {column.name: column.example for column in document.spec().contract.inputs}
        servers = [_start(project, "dev"), _start(project, "serve", NAME)]
        try:
            landed = project.run("mlops", "land", NAME, str(sample))
            assert landed.returncode == 0, landed.stderr
            answer = None
            while answer is None:
                if time.perf_counter() - began > DEADLINE_SECONDS:
                    raise TimeoutError(project.run("mlops", "status", NAME).stdout)
                time.sleep(0.25)
                answer = ask(project, row)
            answered = time.perf_counter() - began
            shown = project.run("mlops", "status", NAME).stdout
            candidates = ", ".join(document.spec().training.candidates)
            print(f"{ROWS:,} rows, {len(row)} inputs; candidates: {candidates}")
            print(f"mlops new                               {drafted:6.1f} s")
            print(f"mlops new to the first answered request {answered:6.1f} s")
            print(shown, flush=True)
        finally:
            _stop(servers)


def _stop(servers: list[subprocess.Popen[bytes]]) -> None:
    """End the servers with all that they have started; `dagster dev` does not always end itself."""
    for server in servers:
        server.terminate()
    for server in servers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _start(project: ProjectCopy, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["mlops", *command],
        cwd=project.root,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


if __name__ == "__main__":
    main()
