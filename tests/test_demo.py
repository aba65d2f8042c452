"""``make demo`` for real: from nothing to a champion that answers, and nothing left running."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlops_assets.demo.processes import left_over
from mlops_assets.lib.bundles.sandbox import free_port
from tests.platform import HEART, environment

pytestmark = pytest.mark.timeout(900)

MLOPS = Path(sys.executable).parent / "mlops"
NAMES = ("DAGSTER", "SERVING", "MLFLOW", "EXPORTER")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def settings(home: Path) -> dict[str, str]:
    ports = {f"MLOPS_{name}_PORT": str(free_port()) for name in NAMES}
    return environment(home) | ports


@pytest.fixture(scope="module")
def once(home: Path, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MLOPS, "demo", "--once"],
        env=settings,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_champion_serves_and_everything_stops(
    once: subprocess.CompletedProcess[str], home: Path
) -> None:
    assert once.returncode == 0, once.stdout + once.stderr
    for word in ("Raw:", "Validated:", "Features:", "Candidate xgboost", "Gate:", "Rollout:"):
        assert word in once.stdout
    answer = json.loads(once.stdout.strip().splitlines()[-2])
    assert answer["use_case"] == HEART
    assert answer["version"] == "1"
    assert 0 < answer["probability"] < 1
    assert left_over(home) == []


def test_a_second_demo_stops_what_a_killed_one_left_goes_on_and_ends_by_ctrl_c(
    once: subprocess.CompletedProcess[str], home: Path, settings: dict[str, str]
) -> None:
    assert once.returncode == 0
    with _running_demo(settings, stdout=subprocess.DEVNULL):
        deadline = time.monotonic() + 60
        while len(left_over(home)) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert left_over(home)
    with _running_demo(settings, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "Press Ctrl-C" in line:
                break
        assert re.search(r"Stopped \d+ processes", said)
        assert "Going on from the kept state" in said
        assert "version 1" in said
        address = f"http://127.0.0.1:{settings['MLOPS_DAGSTER_PORT']}/server_info"
        with urllib.request.urlopen(address) as response:
            assert json.load(response)["dagster_version"]
        address = f"http://127.0.0.1:{settings['MLOPS_EXPORTER_PORT']}/metrics"
        with urllib.request.urlopen(address) as response:
            metrics = response.read().decode()
        status = _status(settings)
        cleaned = subprocess.run(
            [MLOPS, "clean"], env=settings, capture_output=True, text=True, check=False
        )
        assert cleaned.returncode == 1
        assert "a demo is at work" in cleaned.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert status["serving"]["ready"]
    assert status["champion"] == status["desired"]
    assert status["serving"]["digest"] == status["champion"]["digest"]
    assert "mlops_exporter_up 1.0" in metrics
    spent = rf'mlops_last_run_cpu_seconds{{job="{HEART}_retrain",status="success"}} (.*)'
    assert float(re.findall(spent, metrics)[0]) > 5
    # The instance has survived the restart: the three runs of the first demo, and no new ones.
    assert _runs(home) == {f"{HEART}_{verb}": 1 for verb in ("ingest", "retrain", "deploy")}
    assert left_over(home) == []


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [MLOPS, "demo", "--once"],
            env={**os.environ, "MLOPS_HOME": str(tmp_path), "MLOPS_SERVING_PORT": str(port)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert f"port {port}, which serving needs, is in use" in done.stderr
    assert f"MLOPS_SERVING_PORT={port + 1} make demo" in done.stderr


@contextmanager
def _running_demo(settings: dict[str, str], stdout: int) -> Iterator[subprocess.Popen[str]]:
    """A demo that is killed at the end of the block if it still runs."""
    with subprocess.Popen([MLOPS, "demo"], env=settings, stdout=stdout, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _status(settings: dict[str, str]) -> dict[str, dict[str, str]]:
    done = subprocess.run(
        [MLOPS, "status", HEART, "--json"], env=settings, capture_output=True, text=True, check=True
    )
    state: dict[str, dict[str, str]] = json.loads(done.stdout)
    return state


def _runs(home: Path) -> dict[str, int]:
    import dagster as dg

    with dg.DagsterInstance.from_config(str(home)) as instance:
        runs = instance.get_runs()
    assert all(run.status == dg.DagsterRunStatus.SUCCESS for run in runs)
    names = [run.job_name for run in runs]
    return {name: names.count(name) for name in names}
