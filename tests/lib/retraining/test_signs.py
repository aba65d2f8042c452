"""Which records of drift and performance count for the champion."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlops_assets.lib.drift import records
from mlops_assets.lib.retraining import signs
from mlops_assets.lib.retraining.policy import Score
from mlops_assets.lib.spec.retrain import PerformanceTrigger, Which
from mlops_assets.lib.storage.root import Storage

CHAMPION, FORMER = "c" * 64, "f" * 64
CONTEST = datetime(2026, 1, 3, 12, tzinfo=UTC)


def window(
    store: Storage, kind: records.Windows, key: str, at: str, drifted: bool, **version: Any
) -> None:
    judged = {"version": "1", "bundle": CHAMPION, "judged": True, "drifted": drifted, **version}
    records.write(store, "any", kind, {"window": key, "at": at, "versions": [judged]})


def test_windows_count_that_the_champion_was_judged_by_since_the_last_contest(
    tmp_path: Path,
) -> None:
    store = Storage(tmp_path)
    for day, drifted, version in (
        ("2026-01-02", True, {}),  # the last contest knew it
        ("2026-01-03", False, {}),
        ("2026-01-04", True, {"bundle": FORMER}),
        ("2026-01-05", True, {"judged": False}),
        ("2026-01-06", True, {}),
    ):
        window(store, "days", day, f"{day}T00:00:00+00:00", drifted, **version)
    window(store, "batches", "b1", "2026-01-04T08:00:00+00:00", True)
    window(store, "batches", "seen", "2026-01-07T08:00:00+00:00", True)
    found = signs.windows(store, "any", CHAMPION, ["unjudged", "b1"], CONTEST, 5)
    assert found == (True, True, False)
    assert signs.windows(store, "any", CHAMPION, ["b1"], CONTEST, 1) == (True,)
    assert signs.windows(store, "any", FORMER, [], CONTEST, 5) == (True,)
    assert signs.windows(store, "nothing", CHAMPION, [], None, 5) == ()


def test_scores_are_those_of_the_newest_day_that_has_the_wanted_kind(tmp_path: Path) -> None:
    store = Storage(tmp_path)

    def day(day: str, measured: float | None, estimated: float, **version: str) -> None:
        known = measured and {"accuracy": {"value": measured, "low": 0.5, "high": 0.9}}
        estimate = {
            "accuracy": {"value": estimated, "low": None, "high": None},
            "roc_auc": {"value": None, "low": None, "high": None},
        }
        champion = {"bundle": CHAMPION, "role": "champion", **version}
        versions = [champion | {"measured": known, "estimated": estimate}]
        store.write_json(f"any/performance/{day}/record.json", {"day": day, "versions": versions})

    day("2026-01-01", 0.6, 0.7)
    day("2026-01-02", None, 0.8)
    day("2026-01-03", 0.1, 0.1, role="shadow")

    def asked(which: Which) -> tuple[Score, ...]:
        return signs.scores(store, "any", CHAMPION, PerformanceTrigger(which=which))

    assert asked("measured") == (Score("accuracy", "2026-01-01", "measured", 0.6, 0.9),)
    # Without an interval the value itself is held against the floor.
    estimated = (Score("accuracy", "2026-01-02", "estimated", 0.8, 0.8),)
    assert asked("either") == asked("estimated") == estimated
    assert signs.scores(store, "any", FORMER, PerformanceTrigger()) == ()
