"""A run whose process is gone is noticed, by its process number and its start time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._core.test_utils import create_run_for_test

from mlops_assets.launcher import LocalRunLauncher, is_alive


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster.yaml").write_text(
        "run_launcher: {module: mlops_assets.launcher, class: LocalRunLauncher}\n"
        "telemetry: {enabled: false}\n"
    )
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def started(instance: dg.DagsterInstance, pid: int | None) -> dg.DagsterRun:
    run: dg.DagsterRun = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
    if pid is not None:
        instance.report_engine_event("Started", run, EngineEventData.in_process(pid))
    return run


def health(instance: dg.DagsterInstance, run: dg.DagsterRun) -> WorkerStatus:
    launcher = instance.run_launcher
    assert isinstance(launcher, LocalRunLauncher)
    return launcher.check_run_worker_health(run).status


def test_a_living_process_is_running(instance: dg.DagsterInstance) -> None:
    assert health(instance, started(instance, os.getpid())) == WorkerStatus.RUNNING


def test_a_killed_process_is_gone(instance: dg.DagsterInstance) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    run = started(instance, process.pid)
    assert health(instance, run) == WorkerStatus.RUNNING
    process.kill()
    process.wait()
    assert health(instance, run) == WorkerStatus.FAILED


def test_a_number_that_somebody_else_has_now_is_not_the_run() -> None:
    began = psutil.Process().create_time()
    assert is_alive(os.getpid(), began + 1)
    assert not is_alive(os.getpid(), began - 3600)


def test_a_run_that_reports_nothing_is_waited_for_and_then_failed(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(instance, None)
    assert health(instance, run) == WorkerStatus.RUNNING
    monkeypatch.setattr("mlops_assets.launcher.REPORT_SECONDS", -1.0)
    assert health(instance, run) == WorkerStatus.FAILED
