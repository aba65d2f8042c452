"""The sensors: nothing twice, nothing lost, nothing for ever."""

import time

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from mlops_assets.automation.jobs import FAILURE_REASON_TAG, OWN_FAILURES
from tests.platform import DATA, HEART, Platform


def requests(result: dg.SensorResult) -> list[dg.RunRequest]:
    return list(result.run_requests or [])


def run_of(
    made: Platform, request: dg.RunRequest, status: dg.DagsterRunStatus, **tags: str
) -> None:
    """Record a run that the request led to."""
    create_run_for_test(
        made.instance, job_name=f"{HEART}_ingest", status=status, tags={**request.tags, **tags}
    )


@pytest.fixture
def landed(fresh: Platform) -> Platform:
    fresh.batches.land(DATA / "heart_cleveland.csv")
    return fresh


def test_a_landed_file_is_asked_for_once_with_its_partition(landed: Platform) -> None:
    first = landed.tick("landing")
    (request,) = requests(first)
    assert request.partition_key == landed.batches.keys()[0]
    assert request.partition_key in landed.instance.get_dynamic_partitions(f"{HEART}_batches")
    # Until a run exists the same question has the same key, so that Dagster drops the second.
    (again,) = requests(landed.tick("landing"))
    assert again.run_key == request.run_key


def test_a_run_at_work_is_waited_for(landed: Platform) -> None:
    (request,) = requests(landed.tick("landing"))
    run_of(landed, request, dg.DagsterRunStatus.STARTED)
    result = landed.tick("landing")
    assert requests(result) == []
    assert "at work" in str(result.skip_reason)


def test_a_run_that_failed_is_tried_again_and_not_for_ever(landed: Platform) -> None:
    keys = set()
    for reason in sorted(OWN_FAILURES):
        (request,) = requests(landed.tick("landing"))
        keys.add(request.run_key)
        run_of(landed, request, dg.DagsterRunStatus.FAILURE, **{FAILURE_REASON_TAG: reason})
    assert len(keys) == 3
    result = landed.tick("landing")
    assert requests(result) == []
    assert "is not tried again" in str(result.skip_reason)


def test_a_run_that_was_killed_does_not_count_as_a_failure(landed: Platform) -> None:
    interrupted = {FAILURE_REASON_TAG: "UNEXPECTED_TERMINATION"}
    # Nobody wrote a reason for those whose process is gone.
    for tags in [interrupted, {}, {FAILURE_REASON_TAG: "START_TIMEOUT"}] * 3:
        (request,) = requests(landed.tick("landing"))
        run_of(landed, request, dg.DagsterRunStatus.FAILURE, **tags)
    assert len(requests(landed.tick("landing"))) == 1


def test_dagster_writes_why_a_run_has_failed(landed: Platform) -> None:
    (request,) = requests(landed.tick("landing"))
    landed.store.local(f"{HEART}/raw").write_text("a file where a folder should be")
    result = landed.run("ingest", partition_key=request.partition_key)
    assert not result.success
    run = landed.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags[FAILURE_REASON_TAG] in OWN_FAILURES


def test_an_ingested_batch_is_done_and_asks_for_a_retrain(landed: Platform) -> None:
    (request,) = requests(landed.tick("landing"))
    assert landed.ingest(str(request.partition_key)).success
    assert requests(landed.tick("landing")) == []
    (retrain,) = requests(landed.tick("retrain"))
    create_run_for_test(
        landed.instance,
        job_name=f"{HEART}_retrain",
        status=dg.DagsterRunStatus.STARTED,
        tags=dict(retrain.tags),
    )
    assert requests(landed.tick("retrain")) == []


def test_no_retrain_after_a_decision_and_a_new_one_after_new_rows(trained: Platform) -> None:
    result = trained.tick("retrain")
    assert requests(result) == []
    assert "the same rows would give the same model" in str(result.skip_reason)


def test_nothing_is_asked_for_on_an_empty_platform(fresh: Platform) -> None:
    for sensor in ("landing", "retrain", "rollout"):
        assert requests(fresh.tick(sensor)) == []


def test_a_file_that_is_being_written_is_left_for_later(fresh: Platform) -> None:
    folder = fresh.store.local(fresh.batches.landing)
    folder.mkdir(parents=True)
    (folder / "fresh.csv").write_text("age\n1\n")
    assert requests(fresh.tick("landing")) == []
    fresh.batches.look(time.time() + 60)
    assert len(requests(fresh.tick("landing"))) == 1
