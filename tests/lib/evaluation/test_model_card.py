from typing import Any

import pytest

from mlops_assets.lib.bundles.robustness import Flips, Steadiness
from mlops_assets.lib.evaluation.intervals import Interval
from mlops_assets.lib.evaluation.model_card import (
    MOST_CHARACTERS,
    Facts,
    card,
    decided,
    decision_section,
    empty_sections,
    sections,
    shortened,
)
from mlops_assets.lib.spec.card import Card
from mlops_assets.lib.spec.use_case import UseCase

SCORE = {"value": 0.91, "low": 0.87, "high": 0.95}
GAP = {"of_slice": 0.88, "of_rest": 0.91, "difference": {"value": -0.03, "low": -0.2, "high": 0.1}}
EVALUATION: dict[str, Any] = {
    "out_of_fold": {"roc_auc": SCORE, "calibration_error": {**SCORE, "value": 0.05}},
    "test": {"roc_auc": {**SCORE, "value": 0.89}, "calibration_error": SCORE},
    "calibration_slope": {"value": 0.97, "low": 0.8, "high": 1.2},
    "slices": [
        {"column": "sex", "value": "0", "rows": 97, "positives": 25, "judged": True,
         "gaps": {"roc_auc": GAP, "true_positive_rate": GAP, "false_positive_rate": GAP}},
        {"column": "sex", "value": "1", "rows": 3, "positives": 0, "judged": False, "gaps": {}},
    ],
}  # fmt: skip
MANIFEST: dict[str, Any] = {
    "threshold": 0.25,
    "features": ["a", "b"],
    "versions": {"python": "3.11.7", "onnx": "1.23"},
    "provenance": {"mlflow_run_id": "0123", "dagster_run_id": "4567"},
    "lineage": {
        "algorithm": "xgboost",
        "training_set": "a" * 64,
        "evaluation": "e" * 64,
        "candidate": "c" * 64,
        "recipe": "d" * 64,
        "contract": {"version": 7, "digest": "7" * 64},
        "batches": [
            {"key": "heart-cleveland-0123456789ab", "receipt": "1" * 64, "validated": "2" * 64,
             "features": "3" * 64}
        ],
    },
}  # fmt: skip
TRAINING_SET: dict[str, Any] = {
    "digest": "a" * 64,
    "rows": {"test": 60, "train": 240},
    "about": {
        "positives": {"test": 30, "train": 90},
        "landed": ["2026-01-02T10:00:00+00:00", "2026-03-04T10:00:00+00:00"],
        "events": ["2025-05-06T00:00:00", "2025-07-08T00:00:00"],
    },
}
STEADY = Steadiness(
    300,
    Flips("", 300, 3, Interval(0.01, 0.0, 0.03)),
    [Flips("chol", 290, 2, Interval(0.0069, 0.0, 0.03))],
    [Flips("thal", 200, 30, Interval(0.15, 0.1, 0.2))],
)
ENTRY: dict[str, Any] = {
    "decision": "rejected",
    "version": "3",
    "time": "2026-03-05T10:11:12.123456+00:00",
    "actor": "ann",
    "sequence": 4,
    "hash": "f" * 64,
    "reasons": ["too slow", "too old"],
    "checks": [{"status": "passed"}, {"status": "failed"}],
}


def facts(spec: UseCase, **changes: Any) -> Facts:
    given = {"manifest": MANIFEST, "evaluation": EVALUATION, "training_set": TRAINING_SET}
    return Facts(spec, "b" * 64, **{**given, "steadiness": STEADY, **changes})


@pytest.mark.parametrize("name", ["heart_disease", "churn"])
def test_every_section_of_what_ships_is_filled_in(name: str) -> None:
    from mlops_assets.lib.spec.specs import load_spec

    found = facts(load_spec(name))
    assert empty_sections(found) == []
    text = card(found)
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == [*(f"## {title}" for title in sections(found)), "## Decision"]
    assert text.startswith(f"# {found.spec.title}\n\n{found.spec.description.strip()}\n")


def test_empty_sections_are_named(heart: UseCase) -> None:
    silent = heart.model_copy(update={"card": Card(intended_use="To teach.", ethics=" \n")})
    found = facts(silent)
    assert empty_sections(found) == ["Out-of-scope use", "Limits", "Ethical considerations"]
    assert card(found).count("*Not filled in.*") == 3


def test_card_says_from_which_rows_and_periods(heart: UseCase) -> None:
    text = sections(facts(heart))["Data"]
    said = "contract version 7: landed 2026-01-02 to 2026-03-04; events of 2025-05-06 to 2025-07-08"
    assert said in text
    assert "| train | 240 | 90 (37.5%) |" in text
    assert "| `heart-cleveland-0123456789ab` | `111111111111` | `222222222222` |" in text


def test_card_shows_figures_with_their_intervals(heart: UseCase) -> None:
    found = sections(facts(heart))
    assert "| roc_auc | 0.910 (0.870 to 0.950) | 0.890 (0.870 to 0.950) |" in found["Metrics"]
    gap = "0.880 (-0.030: -0.200 to +0.100)"
    assert f"| sex = 0 | 97 | 25 | {gap} | {gap} | {gap} |" in found["Slices"]
    assert "| sex = 1 | 3 (not judged) | 0 | one class only |" in found["Slices"]
    assert "| calibration slope | 0.970 (0.800 to 1.200) | 1 | 0.5 to 2 |" in found["Calibration"]
    assert "3 of 300 rows (1.0%) flip" in found["Robustness"]
    assert "most by thal 15.0%" in found["Robustness"]
    assert "from 0.25 upwards: a missed positive costs 1, a false alarm 1" in found["Model"]


def test_card_of_a_bundle_that_could_not_be_asked_says_why(heart: UseCase) -> None:
    assert sections(facts(heart, steadiness="broken"))["Robustness"] == "Not measured: broken"
    without = facts(heart, evaluation={**EVALUATION, "slices": []})
    assert "`gate.slices`" in sections(without)["Slices"]


def test_lineage_has_every_digest(heart: UseCase) -> None:
    text = sections(facts(heart))["Lineage"]
    for letter in "abcde7":
        assert f"`{letter * 64}`" in text
    assert "`0123`" in text
    assert "python 3.11.7, onnx 1.23" in text


def test_decision_follows_the_ledger(heart: UseCase) -> None:
    before = card(facts(heart))
    assert before.endswith("## Decision\n\nNot decided yet.\n")
    after = decided(before, ENTRY)
    assert after == card(facts(heart, entry=ENTRY))
    assert "**rejected** as version 3 on 2026-03-05T10:11:12Z by ann" in after
    assert "1 of 2 checks passed." in after
    assert after.endswith("\n- too slow\n- too old\n")
    approved = {
        **ENTRY,
        "decision": "approved",
        "reasons": [],
        "verdict": {"said": "better by 0.02"},
    }
    again = decided(after, approved)
    assert "too slow" not in again
    assert again.count("## Decision") == 1
    assert "Against the champion: better by 0.02." in decision_section(approved)


def test_a_card_that_is_too_long_for_mlflow_keeps_its_decision(heart: UseCase) -> None:
    text = card(facts(heart, entry=ENTRY))
    assert shortened(text, len(text)) == text
    short = shortened(text, len(text) - 1)
    assert len(short) < len(text)
    assert "left out here: Lineage.*" in short
    assert "## Limits" in short
    assert short.endswith(decision_section(ENTRY) + "\n")
    tiny = shortened(text, 900)
    assert len(tiny) <= 900
    assert "left out here: Intended use, Out-of-scope use, Model" in tiny
    # It is decided about on its own, too.
    assert shortened(decided(short, ENTRY), MOST_CHARACTERS) == decided(short, ENTRY)
    assert len(shortened("x" * 9000)) == MOST_CHARACTERS
