"""The doctor finds what is wrong, says what to do, and changes nothing."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.test_utils import create_run_for_test

from mlops_assets.home import write_dagster_home
from mlops_assets.lib.bundles.sandbox import free_port
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.doctor.examine import as_text, examine
from mlops_assets.operations.doctor.finding import Finding
from tests.disk import fill
from tests.platform import HEART, Platform, environment
from tests.serving.logged import add, ids_in, make, names, wait_for_records
from tests.serving.server import wait_until

MLOPS = Path(sys.executable).parent / "mlops"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of state, with ports that nobody uses."""
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    for name in ("DAGSTER", "SERVING", "MLFLOW"):
        monkeypatch.setenv(f"MLOPS_{name}_PORT", str(free_port()))
    return tmp_path


@pytest.fixture
def used(home: Path, trained: Platform) -> Path:
    """A copy of the state of the trained platform."""
    for name in ("storage", "mlflow"):
        shutil.copytree(trained.home / name, home / name)
    (home / "mlflow" / "ready").touch()
    return home


def found(about: str) -> Finding:
    return next(f for f in examine() if f.about in (about, f"{HEART} {about}"))


def troubles() -> list[Finding]:
    """But for the disk, which is this machine's."""
    return [f for f in examine() if f.level != "ok" and f.about not in ("disk", "packages")]


def test_a_new_machine_is_well(home: Path) -> None:
    assert troubles() == []
    assert list(home.iterdir()) == []


def test_a_machine_that_has_trained_is_well(used: Path) -> None:
    before = sorted(p for p in used.rglob("*") if p.is_file())
    assert troubles() == []
    assert found("ledger").said == "1 entries, the chain holds"
    ours = {used / "dagster.yaml"}
    assert {p for p in used.rglob("*") if p.is_file()} - ours >= set(before)


def test_an_edited_ledger_is_a_failure(used: Path) -> None:
    path = used / "storage" / HEART / "ledger" / "00000001.json"
    path.write_text(path.read_text().replace("approved", "rejected"))
    finding = found("ledger")
    assert finding.level == "fail"
    assert "was edited" in finding.said
    done = subprocess.run(
        [MLOPS, "doctor", "--json"],
        env=environment(used),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert {"about": f"{HEART} ledger", "level": "fail"}.items() <= next(
        f for f in json.loads(done.stdout) if f["level"] == "fail"
    ).items()


def test_half_written_files_are_counted_when_they_are_old(used: Path) -> None:
    partial = used / "storage" / HEART / "raw" / ".partial-1"
    partial.write_text("half")
    assert found("storage").level == "ok"
    hour_ago = time.time() - 3600
    os.utime(partial, (hour_ago, hour_ago))
    finding = found("storage")
    assert finding.level == "warn"
    assert "mlops prune" in finding.do


def test_a_damaged_segment_is_found_and_taken_again_once_it_is_mended(home: Path) -> None:
    log = make(home, log_roll_seconds=3600)
    log.start()
    add(log, names(0, 3))
    spool = home / "spool"
    wait_until(
        lambda: [path.read_bytes().count(b"\n") for path in spool.rglob("*.ndjson")] == [4],
        "a segment of three records",
    )
    (segment,) = spool.rglob("*.ndjson")
    aside = segment.parents[1] / "damaged" / "worker-000001.ndjson"
    aside.parent.mkdir()
    segment.rename(aside)
    assert log.stop()
    assert log.dropped == {"damaged": 3}
    finding = found("spool")
    assert finding.level == "warn"
    assert finding.said.endswith(f"for example {aside}")
    mended = aside.parents[1] / "mended"
    assert f"put the file into {mended}, from where" in finding.do
    mended.mkdir()
    aside.rename(mended / aside.name)
    log = make(home)
    log.start()
    assert wait_for_records(log, 3)
    assert ids_in(home / "storage") == names(0, 3)
    assert found("spool").level == "ok"


def test_a_spool_that_nobody_empties_is_found(home: Path) -> None:
    root, spool = home / "storage", home / "spool"
    root.write_text("no folder, so that nothing can be stored")
    command = [sys.executable, "-m", "tests.serving.log_writer", str(root), str(spool)]
    with subprocess.Popen([*command, str(home / "said")]) as writer:
        try:
            wait_until(lambda: len(list(spool.rglob("*.ndjson"))) > 1, "a segment that has ended")
            hour_ago = time.time() - 3600
            segment = min(spool.rglob("*.ndjson"))
            os.utime(segment, (hour_ago, hour_ago))
            assert found("spool").level == "ok"  # its worker is at work
        finally:
            writer.kill()
    finding = found("spool")
    assert finding.level == "warn"
    assert finding.said == (
        f"1 segments of the prediction log wait for a serving app, for example {segment}"
    )
    assert f"start one with the spool {spool}" in finding.do
    assert segment.exists()


def test_a_port_that_somebody_else_uses_is_named_with_its_process(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("MLOPS_SERVING_PORT", str(port))
        finding = found(f"port {port}")
    assert finding.level == "warn"
    assert str(os.getpid()) in finding.said
    assert f"MLOPS_SERVING_PORT={port + 1}" in finding.do


def test_a_full_disk_is_a_failure_once(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_HOME", str(disk / "home"))
    write_dagster_home()
    (disk / "home" / "dagster").mkdir()
    fill(disk)
    failures = [finding for finding in examine() if finding.level == "fail"]
    assert [(f.about, f.said[:11]) for f in failures] == [("disk", "0.0 GB free")]


def test_an_mlflow_that_says_nothing_is_waited_for_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"version": "1", "bundle": "b", "path": "p", "actor": "test"}
    Ledger(Storage(home / "storage"), HEART).append("rejected", facts)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.setblocking(False)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        monkeypatch.setenv("MLOPS_LEDGER_ANCHOR", "on")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        said = {finding.about: finding for finding in troubles()}
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert said.keys() == {"churn ledger", f"{HEART} ledger", "MLflow"}
    assert said["MLflow"].level == "fail"
    assert said["MLflow"].said.startswith(f"MLflow at {url} does not answer: Read timed out.")
    assert said[f"{HEART} ledger"].said == (
        "1 entries, the chain holds, and is not held against its anchor: MLflow does not answer"
    )


def test_a_run_whose_process_is_gone_is_found(home: Path) -> None:
    write_dagster_home()
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run = create_run_for_test(instance, job_name="job", status=dg.DagsterRunStatus.STARTED)
        instance.report_engine_event("Started", run, EngineEventData.in_process(process.pid))
    finding = found("Dagster")
    assert finding.level == "warn"
    assert run.run_id[:8] in finding.said
    assert "make demo" in finding.do


def test_a_damaged_champion_is_a_failure(used: Path, trained: Platform) -> None:
    (approved,) = trained.ledger.entries()
    facts = {name: approved[name] for name in ("version", "bundle", "path")}
    Ledger(Storage(used / "storage"), HEART).append("promoted", facts)
    assert "the desired state names" in found("champion").said
    model = used / "storage" / approved["path"] / "model.onnx"
    model.write_bytes(model.read_bytes() + b"x")
    finding = found("champion")
    assert finding.level == "fail"
    assert "model.onnx" in finding.said


def test_an_examination_that_breaks_hides_no_other(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_DAGSTER_PORT", "none")
    findings = examine()
    assert any(f.about == "ports" and f.level == "fail" for f in findings)
    assert any(f.about == "specs" and f.level == "ok" for f in findings)
    assert "1 failures" in as_text(findings)


def test_a_sensor_that_fails_and_an_address_that_is_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.remote_origin import (
        InProcessCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.scheduler.instigation import (
        InstigatorState,
        InstigatorStatus,
        TickData,
        TickStatus,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster_shared.error import SerializableErrorInfo

    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(python_file="any.py"))
    repository = RemoteRepositoryOrigin(location, "any")
    origin = RemoteInstigatorOrigin(repository, f"{HEART}_alerts")
    write_dagster_home()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING)
        instance.add_instigator_state(state)
        about = (origin.get_id(), f"{HEART}_alerts", InstigatorType.SENSOR)
        error = SerializableErrorInfo("KeyError: 'a record'", [], "KeyError")
        for number, status in enumerate((TickStatus.SKIPPED, TickStatus.FAILURE)):
            failed = error if status == TickStatus.FAILURE else None
            instance.create_tick(
                TickData(
                    *about,
                    status,
                    time.time() + number,
                    error=failed,
                    selector_id=state.selector_id,
                )
            )
    monkeypatch.setenv("MLOPS_ALERT_URLS", "critcal=json://fine")
    said = {finding.about: finding for finding in troubles()}
    assert said["automation"].level == "fail"
    assert said["automation"].said == f"{HEART}_alerts: KeyError: 'a record'"
    assert "address 1 of MLOPS_ALERT_URLS" in said["alerts"].said
