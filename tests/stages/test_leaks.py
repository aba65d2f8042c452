"""What the check of leakage makes of the counts of a training set."""

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.synthetic import ChurnOptions, write
from mlops_assets.lib.training_set.assemble import Summary
from mlops_assets.stages.leakage import leaks
from tests.platform import DATA, QUICK, checks, platform, quick_spec

COUNTS: dict[str, Any] = (
    {"train": 800, "test": 200, "train_positives": 80, "test_positives": 20}
    | dict.fromkeys(("repeated", "replaced", "straddling", "equal_inputs"), 0)
    | dict.fromkeys(("straddling_entities", "late", "in_gap", "of_test_entities"), 0)
)
TIMES: dict[str, Any] = dict.fromkeys(("first_event", "last_event", "cutoff", "latest_train"))
CLEAN = Summary(**COUNTS, **TIMES, tied=[], features=["a"])


def spec(split: dict[str, Any], **contract: Any) -> UseCase:
    """Heart disease of patients who come again and again."""
    made = quick_spec().model_dump(mode="json", exclude_unset=True)
    made["contract"]["columns"] += [
        {"name": "patient", "type": "integer", "description": "Who."},
        {"name": "seen", "type": "timestamp", "description": "When."},
    ]
    made["contract"] |= {"event_time": "seen", **contract}
    made["training"] |= {"minimum_positives": 60}
    return UseCase.model_validate(made | {"split": split})


@pytest.mark.parametrize(
    ("split", "contract", "changes", "said"),
    [
        ({}, {"entity": "patient"}, {}, None),
        ({}, {}, {"straddling": 1, "equal_inputs": 1}, "1 distinct inputs stand on both sides"),
        ({}, {"entity": "patient"}, {"straddling": 4, "equal_inputs": 10}, None),
        ({}, {"key": ["patient"]}, {"straddling": 4, "equal_inputs": 11}, "in 11 of 200 test rows"),
        ({"equal_inputs": 0.1}, {"entity": "patient"}, {"equal_inputs": 11}, None),
        ({}, {"entity": "patient"}, {"straddling_entities": 2}, "2 entities stand on both sides"),
        ({"kind": "time"}, {"entity": "patient"}, {"straddling_entities": 2}, "2 entities"),
        (
            {"kind": "time", "entity": "shared"},
            {"entity": "patient"},
            {"straddling_entities": 2},
            None,
        ),
        ({}, {}, {"late": 3}, "3 rows have an event time more than a day after"),
        (
            {"kind": "time"},
            {},
            {"cutoff": datetime(2025, 1, 2), "latest_train": datetime(2025, 1, 2)},
            "training rows go on to 2025-01-02",
        ),
    ],
)
def test_leak_is_said_in_words(
    split: dict[str, Any], contract: dict[str, Any], changes: dict[str, Any], said: str | None
) -> None:
    found = leaks(spec(split, **contract), replace(CLEAN, **changes))
    assert bool(found) == (said is not None)
    assert said is None or said in found[0]


def test_a_gap_too_long_for_the_folds_stops_the_retrain_at_the_training_set(tmp_path: Path) -> None:
    agreed = load_spec("churn").model_dump(mode="json", exclude_unset=True)
    agreed["split"] = {"kind": "time", "entity": "shared", "gap_days": 12}
    plan = {**QUICK, "minimum_positives": 60, "candidates": {"logistic_regression": {}}}
    hasty = UseCase.model_validate(agreed | {"training": plan})
    with platform(tmp_path, spec=hasty) as made:
        write(ChurnOptions(rows=1500), tmp_path / "customers.csv")
        assert made.ingest(made.land(tmp_path / "customers.csv")).success
        stopped = made.run("retrain")
        passed, said = checks(stopped)["training_set/enough_rows"]
        assert not passed
        assert re.search(r"fold 1 of \d: the rows to fit on are .*split.gap_days \(12\)", said)
        started = {event.step_key for event in stopped.all_node_events if event.is_step_start}
        assert started == {"churn__training_set"}


def test_a_feature_that_gives_the_outcome_away_stops_the_retrain(tmp_path: Path) -> None:
    lines = (DATA / "heart_cleveland.csv").read_text().splitlines()
    header, rows = lines[0].split(","), [line.split(",") for line in lines[1:]]
    # Whoever has the disease was asked for their pressure afterwards, with another device.
    pressure, outcome = header.index("trestbps"), header.index("condition")
    for number, row in enumerate(rows):
        row[pressure] = str((180 if row[outcome] == "1" else 100) + number % 30)
    with platform(tmp_path) as made:
        assert made.ingest(made.land("\n".join(map(",".join, [header, *rows])))).success
        stopped = made.run("retrain")
        passed, said = checks(stopped)["training_set/giveaway"]
        assert not passed
        assert re.search(r"resting_blood_pressure 1.0000: a ROC AUC above 0.995, alone", said), said
        started = {event.step_key for event in stopped.all_node_events if event.is_step_start}
        assert started == {"heart_disease__training_set"}
