"""The alert sensor on the real platform: what is wrong arrives at a webhook, once, and its end."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.test_utils import create_run_for_test

from mlops_assets.alerting import book
from mlops_assets.alerting.channels import VARIABLE
from mlops_assets.automation.jobs import ATTEMPTS, FAILURE_REASON_TAG, SUBJECT_TAG
from mlops_assets.stages import rollout
from tests.alerting.receivers import Webhook, webhook
from tests.platform import HEART, Platform


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    with webhook() as made:
        monkeypatch.setenv(VARIABLE, made.url())
        yield made


def still_wrong(made: Platform) -> list[str]:
    entries = book.read(made.store, HEART).entries.values()
    return [entry.alert.key for entry in entries if entry.over is None]


def run(made: Platform, status: dg.DagsterRunStatus, **tags: str) -> None:
    tags = {"mlops/use_case": HEART, **tags}
    create_run_for_test(made.instance, job_name=f"{HEART}_retrain", status=status, tags=tags)


def test_a_run_that_breaks_and_checks_that_fail_arrive(fresh: Platform, hook: Webhook) -> None:
    key = fresh.land("age,sex\nold,yes\n", "bad.csv")
    blocker = fresh.store.local(f"{HEART}/raw")
    blocker.write_text("a file where a folder should be")
    assert not fresh.ingest(key).success
    for _ in range(2):
        fresh.tick("alerts")
    (message,) = hook.taken
    assert message["title"] == f"{HEART}_ingest of {key}: the run failed"
    assert f"Broken off: {HEART}__raw with FileExistsError." in message["message"]
    assert "http://127.0.0.1:3000/runs/" in message["message"]
    # It gets on, and its checks refuse it: what stopped the run says so by itself.
    blocker.unlink()
    assert not fresh.ingest(key).success
    fresh.tick("alerts")
    assert f"run/{HEART}_ingest of {key}" not in still_wrong(fresh)
    failed = [title for title in hook.titles if ": check " in title]
    assert f"warning: {HEART}/validated of {key}: check schema failed" in failed
    # Advice is information.
    assert not [title for title in failed if "warnings" in title and title.startswith("warning")]


def test_a_job_that_is_given_up_is_critical_until_it_succeeds(
    fresh: Platform, hook: Webhook
) -> None:
    failed = {SUBJECT_TAG: "rows", FAILURE_REASON_TAG: "STEP_FAILURE"}
    run(fresh, dg.DagsterRunStatus.FAILURE, **failed)
    fresh.tick("alerts")
    for _ in range(ATTEMPTS - 1):
        run(fresh, dg.DagsterRunStatus.FAILURE, **failed)
    fresh.tick("alerts")
    title = f"{HEART}_retrain: the run failed"
    assert hook.titles == [f"warning: {title}", f"failure: {title}"]
    assert "is not tried again" in hook.taken[1]["message"]
    run(fresh, dg.DagsterRunStatus.SUCCESS)
    fresh.tick("alerts")
    assert still_wrong(fresh) == []


def test_what_stands_wrong_without_a_run(fresh: Platform, hook: Webhook) -> None:
    key = dg.AssetKey([HEART, "live_drift"])
    late = FreshnessStateChange(
        key=key,
        previous_state=FreshnessState.PASS,
        new_state=FreshnessState.FAIL,
        state_change_timestamp=datetime.now(UTC).timestamp(),
    )
    fresh.instance._report_runless_asset_event(late)
    moved = rollout.alias_result(fresh.spec, "the alias `champion` stands at version 7")
    fresh.instance.report_runless_asset_event(moved)
    # A run is at work on the asset: its answer is planned, and the one before holds.
    planned = AssetCheckEvaluationPlanned(asset_key=moved.asset_key, check_name=moved.check_name)
    at_work = create_run_for_test(fresh.instance, job_name=f"{HEART}_deploy")
    fresh.instance.report_dagster_event(
        dg.DagsterEvent(
            dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value,
            at_work.job_name,
            event_specific_data=planned,
        ),
        at_work.run_id,
    )
    facts = {"version": "3", "bundle": "b", "actor": "gate", "reasons": ["worse than the champion"]}
    fresh.ledger.append("rejected", facts)
    fresh.ledger.append("promoted", {**facts, "version": "2", "reasons": []})
    day: dict[str, Any] = {"day": "2026-01-31", "versions": []}
    for kind, value in (("measured", 0.67), ("estimated", 0.72)):
        score = {"accuracy": {"value": value, "low": value - 0.02, "high": value + 0.02}}
        version = {"version": "2", "role": "champion", "bundle": "b", "rows": 500, "labelled": 90}
        both = {"measured": None, "estimated": None, **version, kind: score}
        day = {**day, "day": f"2026-01-{31 if kind == 'measured' else 30}", "versions": [both]}
        fresh.store.write_json(f"{HEART}/performance/{day['day']}/record.json", day)
    fresh.tick("alerts")
    assert sorted(hook.titles) == sorted(
        [
            f"warning: {HEART}/live_drift is stale",
            f"warning: {HEART}: the alias `champion` was moved",
            f"warning: {HEART}: version 3 was rejected by the gate",
            f"info: {HEART}: version 2 serves: it is the new champion",
            f"failure: {HEART}: measured accuracy is low",
            f"warning: {HEART}: estimated accuracy is low",
        ]
    )
    low = next(m["message"] for m in hook.taken if "measured accuracy" in m["title"])
    assert "Measured accuracy of version 2 on 2026-01-31 is 0.670 (0.650 to 0.690)" in low
    assert "below 0.7, on 90 answers" in low
    fresh.tick("alerts")
    assert len(hook.taken) == 6


def test_a_broken_ledger_is_critical_and_hides_nothing(fresh: Platform, hook: Webhook) -> None:
    facts = {"version": "1", "bundle": "b", "actor": "gate", "reasons": []}
    fresh.ledger.append("rejected", facts)
    path = fresh.store.local(f"{HEART}/ledger/00000001.json")
    text = path.read_text()
    path.write_text(text.replace('"gate"', '"nobody"'))
    run(fresh, dg.DagsterRunStatus.FAILURE)
    fresh.tick("alerts")
    assert hook.titles == [
        f"failure: {HEART}: the ledger is broken",
        f"warning: {HEART}_retrain: the run failed",
    ]
    path.write_text(text)
    fresh.tick("alerts")
    assert "ledger/broken" not in still_wrong(fresh)


def test_a_withdrawn_batch_is_wrong_no_more(fresh: Platform, hook: Webhook) -> None:
    run(fresh, dg.DagsterRunStatus.FAILURE, **{"dagster/partition": "bad-1"})
    fresh.tick("alerts")
    assert still_wrong(fresh) == [f"run/{HEART}_retrain of bad-1"]
    fresh.ledger.append("withdrawn", {"batch": "bad-1", "actor": "me", "reasons": ["wrong unit"]})
    fresh.tick("alerts")
    assert still_wrong(fresh) == []


def test_addresses_that_are_none_lose_no_alert(
    fresh: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "hunter2")
    run(fresh, dg.DagsterRunStatus.FAILURE)
    result = fresh.tick("alerts")
    assert still_wrong(fresh) == [f"run/{HEART}_retrain"]
    assert "hunter2" not in str(result.skip_reason)
