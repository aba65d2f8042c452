"""Every command of the tutorial, in its order, in a copy of the repository."""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.project_copy import ROOT, ProjectCopy

pytestmark = pytest.mark.timeout(900)

TUTORIAL = ROOT / "docs" / "tutorial.md"
ACTIVATE = ". .venv/bin/activate\n"
BASH = ["bash", "-e", "-u", "-o", "pipefail", "-c"]
# With job control, as in a terminal: without it, what runs in the background ignores Ctrl-C, and
# Dagster a request to end.
JOB_CONTROL = "set -m\n"


def script(project: ProjectCopy) -> str:
    """The commands as one script; the ports of the page are those of the copy."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", TUTORIAL.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 8
    assert blocks[0] == ACTIVATE  # the copy uses the environment that runs this test
    port = project.environment["MLOPS_SERVING_PORT"]
    return "".join(blocks[1:]).replace("127.0.0.1:8000", f"127.0.0.1:{port}")


def test_every_command_of_the_tutorial_works(tmp_path: Path) -> None:
    project = ProjectCopy(tmp_path)
    out = tmp_path / "out.txt"
    with out.open("w") as said:
        process = subprocess.Popen(
            [*BASH, JOB_CONTROL + script(project)],
            cwd=project.root,
            env=project.environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(840)
        finally:
            stop_session(process.pid)
    text = out.read_text()
    logs = [project.root / f"{name}.log" for name in ("dagster", "serving")]
    assert code == 0, text + "".join(p.read_text()[-3000:] for p in logs if p.exists())
    assert "569 rows keep this contract and 0 do not" in text
    assert "no mistake found" in text
    assert re.search(r'"label": ?"malignant"', text)
    assert re.search(r"tumours \d+ \S+ promoted version 1", text)


def stop_session(session: int) -> None:
    """Kill what a session has left, and nothing else: a code server may outlive its Dagster."""
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(process.pid) == session:
                os.kill(process.pid, signal.SIGKILL)
