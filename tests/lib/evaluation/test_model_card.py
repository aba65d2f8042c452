from typing import Any

from mlops_assets.lib.evaluation.model_card import card
from mlops_assets.lib.spec.use_case import UseCase

SCORE = {"value": 0.91, "low": 0.87, "high": 0.95}


def made(heart: UseCase, **changes: Any) -> str:
    evaluation: dict[str, Any] = {
        "out_of_fold": {"roc_auc": SCORE, "f1": {**SCORE, "value": 0.5}},
        "test": {"roc_auc": {**SCORE, "value": 0.89}, "f1": SCORE},
        "slices": [
            {"column": "sex", "value": "0", "rows": 97, "positives": 25, "roc_auc": SCORE},
            {"column": "sex", "value": "1", "rows": 3, "positives": 0, "roc_auc": None},
        ],
    }
    manifest = {
        "threshold": 0.25,
        "lineage": {
            "algorithm": "xgboost",
            "training_set": "abcdef0123456789",
            "contract": {"version": 7},
            "batches": [{"key": "heart-cleveland-0123456789ab", "features": "fedcba9876543210"}],
        },
    }
    return card(heart, manifest, evaluation | changes)


def test_card_says_what_the_version_is_for_and_its_limits(heart: UseCase) -> None:
    text = made(heart)
    assert text.startswith(f"# {heart.title}\n\n{heart.description.strip()}\n")
    assert "Not a medical device" in text


def test_card_says_from_which_rows_and_how_it_decides(heart: UseCase) -> None:
    text = made(heart)
    assert "xgboost, sigmoid-calibrated, threshold 0.25 (a missed positive costs 1" in text
    assert "Training set `abcdef012345`, contract version 7" in text
    assert "- `heart-cleveland-0123456789ab` (features fedcba987654)" in text


def test_card_shows_every_metric_and_slice_with_its_interval(heart: UseCase) -> None:
    lines = made(heart).splitlines()
    assert "| roc_auc | 0.910 (0.870 to 0.950) | 0.890 (0.870 to 0.950) |" in lines
    assert "| f1 | 0.500 (0.870 to 0.950) | 0.910 (0.870 to 0.950) |" in lines
    assert "| sex = 0 | 97 | 0.910 (0.870 to 0.950) |" in lines
    assert "| sex = 1 | 3 | one class only |" in lines


def test_card_without_slices_is_complete(heart: UseCase) -> None:
    text = made(heart, slices=[])
    assert "## Slices" in text
    assert "## Data" in text
