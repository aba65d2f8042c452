"""The faults of ``dagster-mlflow`` that are mended: shared runs, false states, a racing store."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import mlflow as library
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from mlops_assets.resources import MlflowTracking


def tracked_in(folder: Path) -> MlflowTracking:
    return MlflowTracking(
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        ui="http://ui",
        dagster_ui="http://dagster",
    )


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was made once: MLflow's migrations take more than a second."""
    folder = tmp_path_factory.mktemp("empty")
    tracked_in(folder).client()
    return folder / "mlflow.db"


@pytest.fixture
def tracking(empty: Path, tmp_path: Path) -> MlflowTracking:
    shutil.copy(empty, tmp_path)
    return tracked_in(tmp_path)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture(autouse=True)
def no_run_left_active() -> Iterator[None]:
    yield
    library.end_run()


def candidate(name: str, error: BaseException | None) -> dg.AssetsDefinition:
    """An asset that tracks one run, and may raise within it."""

    @dg.asset(name=name)
    def made(context: dg.AssetExecutionContext, mlflow: MlflowTracking) -> None:
        with mlflow.run(context, "experiment", {"algorithm": name}) as tracked:
            tracked.log_metric("score", 1.0)
            if error is not None:
                raise error

    return made


def runs(tracking: MlflowTracking) -> dict[str, str]:
    """Status by asset, of every run."""
    client = tracking.client()
    experiment = client.get_experiment_by_name("experiment")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert len({run.data.tags["dagster_asset"] for run in found}) == len(found)
    return {run.data.tags["dagster_asset"]: run.info.status for run in found}


def test_two_assets_of_one_run_have_a_run_each(tracking: MlflowTracking) -> None:
    result = dg.materialize(
        [candidate("one", None), candidate("two", None)], resources={"mlflow": tracking}
    )
    assert result.success
    assert runs(tracking) == {"one": "FINISHED", "two": "FINISHED"}


def test_a_failing_asset_leaves_a_failed_run_and_spoils_no_other(tracking: MlflowTracking) -> None:
    result = dg.materialize(
        [candidate("bad", RuntimeError("no")), candidate("good", None)],
        resources={"mlflow": tracking},
        raise_on_error=False,
    )
    assert not result.success
    assert runs(tracking) == {"bad": "FAILED", "good": "FINISHED"}


def test_an_interrupted_asset_leaves_a_killed_run(tracking: MlflowTracking) -> None:
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        dg.materialize(
            [candidate("stopped", dg.DagsterExecutionInterruptedError())],
            resources={"mlflow": tracking},
        )
    assert runs(tracking) == {"stopped": "KILLED"}


def test_processes_that_meet_a_fresh_store_do_not_collide(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    code = (
        "from mlops_assets.resources import MlflowTracking;"
        f"MlflowTracking(tracking_uri={uri!r}, ui='', dagster_ui='').client()"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in started:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said


def test_a_bundle_is_registered_once(tracking: MlflowTracking, tmp_path: Path) -> None:
    dg.materialize([candidate("one", None)], resources={"mlflow": tracking})
    client = tracking.client()
    experiment = client.get_experiment_by_name("experiment")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    arguments = ("heart", bundle, "a" * 64, run.info.run_id, "# Card", {"training_set": "t"})
    assert [tracking.register(*arguments) for _ in range(2)] == ["1", "1"]
    other = ("heart", bundle, "b" * 64, *arguments[3:])
    assert tracking.register(*other) == "2"
    assert str(client.get_model_version_by_alias("heart", "challenger").version) == "2"
    assert tracking.champion("heart") is None
    tracking.crown("heart", "1")
    assert tracking.champion("heart") == "1"


def tracked_runs(tracking: MlflowTracking) -> list[Run]:
    client = tracking.client()
    experiment = client.get_experiment_by_name("experiment")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_a_run_and_its_asset_are_linked_to_dagster(tracking: MlflowTracking) -> None:
    @dg.asset(key=["heart", "candidates", "xgboost"])
    def made(context: dg.AssetExecutionContext, mlflow: MlflowTracking) -> None:
        with mlflow.run(context, "experiment", {"algorithm": "xgboost"}):
            pass

    result = dg.materialize([made], resources={"mlflow": tracking})
    (run,) = tracked_runs(tracking)
    page = f"http://dagster/runs/{result.run_id}"
    assert run.data.tags["dagster_run_url"] == page
    note = run.data.tags["mlflow.note.content"]
    assert f"[run {result.run_id[:8]}]({page})" in note
    link = "(http://dagster/assets/heart/candidates/xgboost)"
    assert f"[asset heart/candidates/xgboost]{link}" in note
    assert run.info.run_name == "heart/candidates/xgboost"
    assert run.data.tags["algorithm"] == "xgboost"
    assert run.data.tags["dagster_run_id"] == result.run_id


def test_a_run_has_an_owner_from_its_first_moment(
    tracking: MlflowTracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise dg.DagsterExecutionInterruptedError

    monkeypatch.setattr(library, "set_tags", killed)
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        dg.materialize([candidate("one", None)], resources={"mlflow": tracking})
    (run,) = tracked_runs(tracking)
    assert run.data.tags["dagster_run_id"]


def test_a_run_that_cannot_be_tagged_has_failed_and_spoils_no_other(
    tracking: MlflowTracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = library.set_tags

    def broken(tags: dict[str, Any]) -> None:
        if tags["dagster_asset"] == "bad":
            raise RuntimeError("the store is locked")
        tag(tags)

    monkeypatch.setattr(library, "set_tags", broken)
    dg.materialize(
        [candidate("bad", None), candidate("good", None)],
        resources={"mlflow": tracking},
        raise_on_error=False,
    )
    found = {run.info.run_name: run.info.status for run in tracked_runs(tracking)}
    assert found == {"bad": "FAILED", "good": "FINISHED"}


TRIALS: list[dict[str, Any]] = [
    {"number": 0, "log_loss": 0.5, "C": 0.1, "class_weight": None},
    {"number": 1, "log_loss": 0.25, "C": 2.0, "class_weight": "balanced"},
]


def searching(trials: list[dict[str, Any]]) -> dg.AssetsDefinition:
    """An asset that tracks one run, and its trials beneath it."""

    @dg.asset(name="searching")
    def made(context: dg.AssetExecutionContext, mlflow: MlflowTracking) -> None:
        with mlflow.run(context, "experiment", {}) as tracked:
            mlflow.log_trials(tracked.active_run(), trials)
            tracked.log_metric("score", 1.0)

    return made


def test_trials_are_finished_children_of_their_run(tracking: MlflowTracking) -> None:
    result = dg.materialize([searching(TRIALS)], resources={"mlflow": tracking})
    assert result.success
    found = {run.info.run_name: run for run in tracked_runs(tracking)}
    assert found.keys() == {"searching", "trial 0", "trial 1"}
    parent = found.pop("searching")
    assert (parent.data.metrics, parent.info.status) == ({"score": 1.0}, "FINISHED")
    for trial in found.values():
        assert trial.info.status == "FINISHED"
        assert trial.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert trial.data.tags["dagster_run_id"] == result.run_id
        assert trial.info.experiment_id == parent.info.experiment_id
    assert found["trial 0"].data.metrics == {"log_loss": 0.5}
    assert found["trial 0"].data.params == {"C": "0.1", "class_weight": "None"}
    assert found["trial 1"].data.metrics == {"log_loss": 0.25}
    assert found["trial 1"].data.params == {"C": "2.0", "class_weight": "balanced"}


def test_run_without_trials_has_no_children(tracking: MlflowTracking) -> None:
    assert dg.materialize([searching([])], resources={"mlflow": tracking}).success
    assert len(tracked_runs(tracking)) == 1


def started(tracking: MlflowTracking, owner: str | None) -> str:
    """The id of an MLflow run that says RUNNING, of some Dagster run."""
    client = tracking.client()
    found = client.get_experiment_by_name("experiment")
    experiment = found.experiment_id if found else client.create_experiment("experiment")
    tags = {} if owner is None else {"dagster_run_id": owner}
    return str(client.create_run(experiment, tags=tags).info.run_id)


def dagster_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> str:
    return instance.add_run(dg.DagsterRun(job_name="retrain", status=status)).run_id


@pytest.mark.parametrize(
    ("dagster", "status"),
    [
        (dg.DagsterRunStatus.FAILURE, "FAILED"),
        (dg.DagsterRunStatus.SUCCESS, "FAILED"),
        (dg.DagsterRunStatus.CANCELED, "KILLED"),
        (dg.DagsterRunStatus.NOT_STARTED, "RUNNING"),
        (dg.DagsterRunStatus.STARTING, "RUNNING"),
        (dg.DagsterRunStatus.STARTED, "RUNNING"),
        (dg.DagsterRunStatus.CANCELING, "RUNNING"),
    ],
)
def test_run_ends_when_its_dagster_run_has_ended(
    tracking: MlflowTracking,
    instance: dg.DagsterInstance,
    dagster: dg.DagsterRunStatus,
    status: str,
) -> None:
    run = started(tracking, dagster_run(instance, dagster))
    ended = tracking.end_orphans(instance)
    assert ended == ([] if status == "RUNNING" else [run])
    info = tracking.client().get_run(run).info
    assert info.status == status
    assert (info.end_time is None) == (status == "RUNNING")


@pytest.mark.parametrize("owner", [None, "", "5f3c6d0e-1111-4222-8333-444455556666"])
def test_run_of_nobody_or_of_another_dagster_is_left_alone(
    tracking: MlflowTracking, instance: dg.DagsterInstance, owner: str | None
) -> None:
    dagster_run(instance, dg.DagsterRunStatus.FAILURE)
    run = started(tracking, owner)
    assert tracking.end_orphans(instance) == []
    assert tracking.client().get_run(run).info.status == "RUNNING"


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_run_that_has_ended_keeps_its_status(
    tracking: MlflowTracking, instance: dg.DagsterInstance, status: str
) -> None:
    run = started(tracking, dagster_run(instance, dg.DagsterRunStatus.CANCELED))
    tracking.client().set_terminated(run, status, end_time=5)
    assert tracking.end_orphans(instance) == []
    info = tracking.client().get_run(run).info
    assert (info.status, info.end_time) == (status, 5)


def test_orphans_of_every_experiment_and_page_are_ended_once(
    tracking: MlflowTracking, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = MlflowClient.search_runs

    def by_twos(*arguments: Any, **options: Any) -> Any:
        return search(*arguments, **{**options, "max_results": 2})

    dead = dagster_run(instance, dg.DagsterRunStatus.FAILURE)
    alive = dagster_run(instance, dg.DagsterRunStatus.STARTED)
    owners = [dead, alive, dead, dead, alive, dead]
    made = [started(tracking, owner) for owner in owners]
    client = tracking.client()
    other = client.create_experiment("another")
    made.append(str(client.create_run(other, tags={"dagster_run_id": dead}).info.run_id))
    orphans = {run for run, owner in zip(made, [*owners, dead], strict=True) if owner == dead}

    monkeypatch.setattr(MlflowClient, "search_runs", by_twos)
    ended = tracking.end_orphans(instance)
    assert (len(ended), set(ended)) == (5, orphans)
    assert {run: client.get_run(run).info.status for run in made} == {
        run: "FAILED" if run in orphans else "RUNNING" for run in made
    }
    assert tracking.end_orphans(instance) == []


def test_store_without_runs_has_no_orphans(
    tracking: MlflowTracking, instance: dg.DagsterInstance
) -> None:
    assert tracking.end_orphans(instance) == []


def test_killed_asset_and_its_unfinished_trial_are_ended(
    tracking: MlflowTracking, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise dg.DagsterExecutionInterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_terminated", killed)
        with pytest.raises(dg.DagsterExecutionInterruptedError):
            dg.materialize([searching(TRIALS)], resources={"mlflow": tracking}, instance=instance)
    left = tracked_runs(tracking)
    assert [run.info.status for run in left] == ["RUNNING", "RUNNING"]
    assert set(tracking.end_orphans(instance)) == {run.info.run_id for run in left}
    assert {run.info.status for run in tracked_runs(tracking)} <= {"FAILED", "KILLED"}


def test_addresses_of_a_run_and_a_version_are_those_of_the_ui(tracking: MlflowTracking) -> None:
    assert tracking.run_url("3", "abc") == "http://ui/#/experiments/3/runs/abc"
    assert tracking.version_url("heart", "2") == "http://ui/#/models/heart/versions/2"


def test_a_store_that_was_killed_while_it_was_made_is_made_again(tmp_path: Path) -> None:
    code = (
        "from mlops_assets.resources import MlflowTracking\n"
        f"uri = 'sqlite:///{tmp_path / 'mlflow.db'}'\n"
        "MlflowTracking(tracking_uri=uri, ui='', dagster_ui='').client()\n"
        "print('made')"
    )
    maker = [sys.executable, "-W", "ignore", "-c", code]
    partial = tmp_path / ".partial-mlflow.db"
    process = subprocess.Popen(maker, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    # Its first tables are there, the others are not.
    while not (partial.exists() and partial.stat().st_size > 40_000):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "ready").exists()
    again = subprocess.run(maker, capture_output=True, text=True, check=False)
    assert again.stdout == "made\n", again.stderr
    assert not partial.exists()
