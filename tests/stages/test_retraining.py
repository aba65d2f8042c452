"""The retrain sensor on real records: what it asks for, says in tags, and leaves for a person."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from mlops_assets.automation.jobs import FAILURE_REASON_TAG
from mlops_assets.lib.drift import records
from mlops_assets.lib.records import current
from mlops_assets.lib.retraining.policy import REASON_TAG, TRIGGER_TAG
from tests.platform import HEART, Platform, platform, quick_spec
from tests.stages.test_gate import replay, same

RETRAIN = f"{HEART}_retrain"


@pytest.fixture
def accepted(
    trained: Platform, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Platform]:
    """An accepted batch without a decision, under a retrain policy."""
    policy = getattr(request, "param", {})
    spec = quick_spec()
    changed = spec.retrain.model_copy(update=policy)
    with platform(tmp_path, spec=spec.model_copy(update={"retrain": changed})) as made:
        replay(trained, made, same)
        yield made


def tick(made: Platform, cursor: str = "") -> tuple[dg.SensorResult, str]:
    """Evaluate the sensor with a cursor; give what it says, and the next cursor."""
    sensor = made.definitions.resolve_sensor_def(RETRAIN)
    with dg.build_sensor_context(
        instance=made.instance,
        definitions=made.definitions,
        resources=made.resources,
        cursor=cursor,
    ) as context:
        result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        return result, context.cursor or ""


def fail(made: Platform, request: dg.RunRequest, reason: str = "STEP_FAILURE") -> dg.DagsterRun:
    run: dg.DagsterRun = create_run_for_test(
        made.instance,
        job_name=RETRAIN,
        status=dg.DagsterRunStatus.FAILURE,
        tags={**request.tags, FAILURE_REASON_TAG: reason},
    )
    return run


def asked(made: Platform) -> dg.RunRequest:
    (request,) = made.tick("retrain").run_requests or []
    return request


def waits(made: Platform) -> str:
    result = made.tick("retrain")
    assert not result.run_requests
    return str(result.skip_reason and result.skip_reason.skip_message)


def decided(made: Platform, decision: Any = "approved", **facts: Any) -> dict[str, Any]:
    """A decision of the gate about the rows of the current training set."""
    made_of = current.read(made.store, HEART, "training_set")
    assert made_of is not None
    about = {
        "version": "1",
        "bundle": "b" * 64,
        "path": "",
        "wanted": made_of["wanted"],
        "batches": [batch["key"] for batch in made_of["batches"]],
        "decided_by": "gate",
        "actor": "dagster run 1",
        "reasons": [],
    }
    return made.ledger.append(decision, about | facts)


def test_the_reason_is_in_the_tags_and_in_the_ledger(accepted: Platform) -> None:
    request = asked(accepted)
    assert (request.tags[TRIGGER_TAG], request.tags[REASON_TAG]) == ("new_rows", "303 new rows")
    result = accepted.materialize("promotion", tags=request.tags)
    (entry,) = accepted.ledger.verify()
    assert entry["retrain"] == {"trigger": "new_rows", "reason": "303 new rows"}
    (event,) = result.asset_materializations_for_node(f"{HEART}__promotion")
    assert event.metadata["trained because of"].value == "new rows: 303 new rows"
    assert waits(accepted).startswith("0 of 1 new rows: the same rows would give the same model")


@pytest.mark.parametrize("accepted", [{"backoff_minutes": 60.0}], indirect=True)
def test_a_failure_is_waited_after_and_a_kill_is_not(accepted: Platform) -> None:
    request = asked(accepted)
    fail(accepted, request, "UNEXPECTED_TERMINATION")
    failed = fail(accepted, asked(accepted))
    assert "the retrain has failed once; no other before" in waits(accepted)
    # It was no failure but a no of the gate, which the ledger has.
    decided(accepted, "rejected", wanted="other", batches=[], actor=f"dagster run {failed.run_id}")
    assert asked(accepted).tags[TRIGGER_TAG] == "person"


@pytest.mark.parametrize("accepted", [{"backoff_minutes": 0.0, "attempts": 2}], indirect=True)
def test_what_goes_on_failing_is_given_up_and_said_once_as_a_failed_check(
    accepted: Platform,
) -> None:
    for _ in range(2):
        fail(accepted, asked(accepted))
    result, cursor = tick(accepted)
    assert not result.run_requests
    (event,) = result.asset_events
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert (event.check_name, event.passed) == ("retrain", False)
    assert "is not tried again" in str(event.description)
    again, cursor = tick(accepted, cursor)
    assert (again.run_requests, again.asset_events) == ([], [])
    # A person has launched it, and there is a decision.
    decided(accepted)
    over, cursor = tick(accepted, cursor)
    (event,) = over.asset_events
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert event.passed
    assert cursor == ""


def test_drift_without_newer_rows_is_said_once_and_trains_nothing(accepted: Platform) -> None:
    champion = decided(accepted)
    accepted.ledger.append("promoted", {k: champion[k] for k in ("version", "bundle", "path")})
    assert waits(accepted).startswith("0 of 1 new rows")
    today = datetime.now(UTC).date().isoformat()
    for day in (today, "2999-01-01"):
        judged = {"bundle": champion["bundle"], "judged": True, "drifted": True}
        record = {"window": day, "at": f"{day}T00:00:00+00:00", "versions": [judged]}
        records.write(accepted.store, HEART, "days", record)
    result, cursor = tick(accepted)
    assert not result.run_requests
    (event,) = result.asset_events
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert event.description == (
        "drift in 2 of 2 windows, but the same rows would give the same model: land newer rows"
    )
    assert tick(accepted, cursor)[0].asset_events == []


def test_a_change_of_the_plan_trains_whatever_the_policy_says(accepted: Platform) -> None:
    decided(accepted, wanted="another plan")
    request = asked(accepted)
    assert request.tags[TRIGGER_TAG] == "person"
    assert request.tags[REASON_TAG].startswith("the SQL, the contract, the training plan or")
