"""The limits of a batch: what refuses it, what only warns."""

from collections import Counter
from datetime import datetime

import pytest

from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.validation.batch_limits import judge
from mlops_assets.lib.validation.result import Validation
from tests.platform import HEART

NO_GAPS = {column.name: 0.0 for column in load_spec(HEART).contract.every_column}


@pytest.fixture(scope="module")
def spec() -> UseCase:
    return load_spec(HEART)


def found(
    *, rows: int = 100, valid: int = 100, positives: int = 50, duplicates: int = 0, **missing: float
) -> Validation:
    kinds = Counter({"cp": rows - valid} if rows > valid else {})
    return Validation(
        rows=rows,
        valid=valid,
        duplicates=duplicates,
        missing=NO_GAPS | missing,
        reasons=kinds,
        examples={"cp": "cp: 9 is not one of 0, 1, 2, 3"},
        positives=positives,
    )


def failing(spec: UseCase, batch: Validation) -> set[str]:
    return {name for name, passed, _ in judge(spec, batch) if not passed}


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        pytest.param(found(), set(), id="clean"),
        pytest.param(found(valid=70, positives=35), {"warnings"}, id="30 % broken, at the limit"),
        pytest.param(found(valid=69, positives=35), {"ranges", "warnings"}, id="31 % broken"),
        pytest.param(found(chol=0.3), {"warnings"}, id="30 % missing, at the limit"),
        pytest.param(found(chol=0.31), {"missing", "warnings"}, id="31 % missing"),
        pytest.param(found(ca=1.0, thal=1.0, slope=1.0), {"warnings"}, id="never refuses"),
        pytest.param(found(duplicates=20), {"warnings"}, id="20 % repeated, at the limit"),
        pytest.param(found(duplicates=21), {"duplicates", "warnings"}, id="21 % repeated"),
        pytest.param(found(positives=9), {"target_distribution"}, id="too few positives"),
        pytest.param(found(positives=91), {"target_distribution"}, id="too many positives"),
        pytest.param(
            found(valid=40, positives=20), {"ranges", "quality", "warnings"}, id="quality 40"
        ),
        pytest.param(
            found(rows=3, valid=0, positives=0),
            {"ranges", "target_distribution", "quality", "warnings"},
            id="no valid row",
        ),
    ],
)
def test_a_batch_is_held_against_the_limits(
    spec: UseCase, batch: Validation, expected: set[str]
) -> None:
    assert failing(spec, batch) == expected


def test_what_is_said_names_the_value_the_column_and_the_limit(spec: UseCase) -> None:
    said = {name: text for name, _, text in judge(spec, found(valid=60, positives=30, chol=0.4))}
    assert "cp: 9 is not one of 0, 1, 2, 3 (40 rows like it)" in said["ranges"]
    assert said["missing"] == "over the limit: chol 40.0% (limit 30%)"


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        pytest.param([10_000, 10_000], set(), id="two batches say nothing"),
        pytest.param([400, 300, 10_000], set(), id="four times fewer"),
        pytest.param([401, 401, 401], {"warnings"}, id="more than four times fewer"),
        pytest.param([5, 5, 5], {"warnings"}, id="twenty times more"),
        pytest.param([4, 4, 4], {"row_count", "warnings"}, id="more than twenty times more"),
    ],
)
def test_the_number_of_rows_is_held_against_earlier_batches(
    spec: UseCase, earlier: list[int], expected: set[str]
) -> None:
    answers = judge(spec, found(), earlier)
    assert {name for name, passed, _ in answers if not passed} == expected


def test_unknown_categories_and_a_single_class_are_named(spec: UseCase) -> None:
    batch = found(positives=100)
    batch.unknown = {"cp": 51}
    said = {name: text for name, passed, text in judge(spec, batch) if not passed}
    assert said["categories"] == "never seen: cp in 51 rows"
    assert "all are of one class" in said["target_distribution"]
    assert "cp has 51 values that the contract does not know" in said["warnings"]


@pytest.mark.parametrize(
    ("newest", "passed"),
    [
        (datetime(2024, 1, 24, 12), True),
        (datetime(2024, 1, 24, 11), False),
        (datetime(2024, 2, 1, 12), True),
        (datetime(2024, 2, 1, 13), False),
        (None, False),
    ],
)
def test_the_newest_row_is_neither_old_nor_of_the_future(
    spec: UseCase, newest: datetime | None, passed: bool
) -> None:
    document = spec.model_dump(mode="json", exclude_unset=True)
    seen = {"name": "seen", "type": "timestamp", "description": "Seen."}
    document["contract"]["columns"].append(seen)
    document["contract"]["event_time"] = "seen"
    document["quality"]["freshness_days"] = 7
    batch = found()
    batch.newest = newest
    landed_at = datetime(2024, 1, 31, 12)
    answers = judge(UseCase.model_validate(document), batch, landed_at=landed_at)
    assert {name: ok for name, ok, _ in answers}["freshness"] is passed
