"""Performance in the graph: days of answers, labels that come late, and a source of labels."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.lib.performance import records, told
from mlops_assets.stages import live_performance
from tests.lib.performance.helpers import ids, outcomes, served
from tests.lib.performance.helpers import told as tell
from tests.platform import HEART, Platform, checks, platform, quick_spec

TODAY = datetime.now(UTC).date()
BEFORE, YESTERDAY = ((TODAY - timedelta(days=n)).isoformat() for n in (9, 1))


@pytest.fixture
def made(trained: Platform, tmp_path: Path) -> Iterator[Platform]:
    """A copy of the trained platform, with a folder that labels come from."""
    shutil.copytree(trained.home / "storage", tmp_path / "storage")
    (tmp_path / "exports").mkdir()
    source = {"name": "clinic", "kind": "files", "url": str(tmp_path / "exports")}
    labels = {"source": source, "prediction_id": "id", "label": "outcome"}
    spec = quick_spec().model_dump(mode="json", exclude_unset=True) | {"labels": [labels]}
    with platform(tmp_path, spec=type(quick_spec()).model_validate(spec)) as copy:
        yield copy


def asked(made: Platform, home: Path) -> Any:
    schedule = made.definitions.resolve_schedule_def(f"{HEART}_monitor")
    with (
        dg.DagsterInstance.local_temp(str(home)) as instance,
        dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=datetime.now(UTC),
            repository_def=made.definitions.get_repository_def(),
            resources=made.resources,
        ) as context,
    ):
        return schedule.evaluate_tick(context)


def work(made: Platform, home: Path) -> dict[str, set[str]]:
    """What the schedule asks for: the stages by day."""
    requests = asked(made, home).run_requests or []
    return {r.partition_key: {key.path[-1] for key in r.asset_selection} for r in requests}


def judged(made: Platform, day: str, *stages: str) -> dict[str, Any]:
    keys = [dg.AssetKey([HEART, stage]) for stage in stages]
    result = made.run("monitor", partition_key=day, asset_selection=keys)
    assert result.success
    found: dict[str, Any] = {
        f"{e.asset_key.path[-1]}/{e.check_name}": e for e in result.get_asset_check_evaluations()
    }
    for event in result.asset_materializations_for_node(f"{HEART}__live_performance"):
        found["metadata"] = {name: value.value for name, value in event.metadata.items()}
    return found


def test_labels_restate_the_days_that_they_belong_to(made: Platform, tmp_path: Path) -> None:
    store, bundle = made.store, made.ledger.entries()[-1]["bundle"]
    frame = served(store, BEFORE, bundle=bundle)
    served(store, YESTERDAY, 20, bundle=bundle)
    both = {"live_drift", "live_performance"}
    assert work(made, tmp_path) == {YESTERDAY: both, BEFORE: both}
    for day in (YESTERDAY, BEFORE):
        found = judged(made, day, "live_performance")
    check = found["live_performance/floors"]
    assert "accuracy estimated 0.7" in check.description
    record = records.read(store, HEART, BEFORE)
    assert record is not None
    (version,) = record["versions"]
    assert (record["rows"], record["labelled"], version["measured"]) == (300, 0, None)
    assert version["said"][0] == "not measured: 0 labels, and 100 are needed"
    assert version["said"][1].startswith("the estimate rests on the calibration that was judged")
    assert found["metadata"]["rows"] == 300
    assert "| roc_auc |  | 0.8" in found["metadata"]["versions"]

    # The labels of the older day come yesterday, all of them wrong; and one that nobody knows.
    wrong = ["0" if label == "1" else "1" for label in outcomes(frame)]
    tell(store, YESTERDAY, [*ids(BEFORE, 300), "e" * 32], [*wrong, "1"])
    asked_for = work(made, tmp_path)
    assert asked_for[YESTERDAY] == {"live_drift", "live_labels"}
    labels = judged(made, YESTERDAY, "live_labels")["live_labels/understood"]
    assert (labels.passed, labels.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "301 answers were told of; 1 of them are not in the prediction log" in labels.description
    assert work(made, tmp_path) == {
        YESTERDAY: {"live_drift"},
        BEFORE: both,
    }
    check = judged(made, BEFORE, "live_performance")["live_performance/floors"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.description.endswith("on 300 answers, below 0.7 (critical)")
    assert "accuracy measured 0.2" in check.description
    record = records.latest(store, HEART)[0]
    assert record["label_lag_seconds"] > 7 * 86_400
    assert record["versions"][0]["error"]["accuracy"] > 0.3
    assert live_performance.outstanding(store, made.spec, datetime.now(UTC)) == []


def test_a_source_of_labels_adds_to_the_log_and_a_day_without_rows_is_no_failure(
    made: Platform, tmp_path: Path
) -> None:
    served(made.store, BEFORE, 2)
    file = tmp_path / "exports" / "outcomes.csv"
    file.write_text(f"id,outcome\n{ids(BEFORE, 1)[0]},1\nx,1\n")
    os.utime(file, (1e9, 1e9))
    key = dg.AssetKey([HEART, "sources", "clinic"])
    result = made.run("fetch", asset_selection=[key])
    assert result.success
    passed, said = checks(result)["clinic/fetched"]
    assert not passed
    assert "outcomes.csv: 1 rows are quarantined (id: no id of an answer" in said
    (folder,) = made.store.list(f"{HEART}/feedback")
    # Told today: the day is not over, and nothing is asked for because of it.
    assert folder == f"day={TODAY}"
    record = told.look_up(made.store, HEART, str(TODAY), "digest")
    assert record["days"].keys() == {BEFORE}
    # By hand, what was told today counts.
    judged(made, BEFORE, "live_labels", "live_performance")
    assert records.latest(made.store, HEART)[0]["labelled"] == 1
    check = judged(made, YESTERDAY, "live_performance")["live_performance/floors"]
    assert check.passed
    assert check.description == (
        "not judged: the champion has answered nothing; nothing was answered on that day"
    )
