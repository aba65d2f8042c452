import json
from typing import Any

import pytest
from pydantic import ValidationError

from mlops_assets.lib.contract.column import Column, normalise_header
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.contract.target import Target
from mlops_assets.lib.spec.use_case import UseCase
from serving.bundle.contract import read_contract
from tests.lib.helpers import column, contract

EVERY_TYPE = contract(
    column("age", "integer", minimum=18, maximum=110, unit="years", example=63),
    column("dose", nullable=True, missing_values=[0, -9.5], example=1.5),
    column("grade", "category", allowed=[0, 1, 2], example=1),
    column("region", "category", allowed=["NA", "EU"], nullable=True, missing_values=["?"]),
    column("smoker", "boolean", nullable=True, example=True),
    column("note", "text", nullable=True, example="it's fine"),
    column("seen", "timestamp", nullable=True, example="2024-02-29T12:00:00+02:00"),
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minimum": 5, "maximum": 4}, r"column 'x': minimum 5\.0 > maximum 4\.0"),
        ({"minimum": float("nan")}, "finite number"),
        ({"maximum": float("inf")}, "finite number"),
        ({"type": "category"}, "a category, and only a category, lists 'allowed'"),
        ({"type": "category", "allowed": []}, "a category, and only a category, lists 'allowed'"),
        ({"allowed": [1, 2]}, "a category, and only a category, lists 'allowed'"),
        ({"type": "category", "allowed": [1, 2, 1]}, "'allowed' names a value twice"),
        ({"type": "category", "allowed": [1, "a"]}, "valid integer"),
        # What YAML makes of an unquoted yes and no.
        ({"type": "category", "allowed": [True, False]}, "valid integer"),
        ({"type": "text", "minimum": 1}, "only an integer or a number has a range"),
        ({"type": "boolean", "maximum": 1}, "only an integer or a number has a range"),
        ({"missing_values": [0]}, "'missing_values' needs 'nullable: true'"),
        ({"minimum": 5, "example": 3}, "column 'x': must be at least 5; got 3"),
        ({"type": "integer", "example": 2.5}, "column 'x': must be a whole number; got 2.5"),
        ({"type": "category", "allowed": ["a"], "example": "b"}, 'must be one of "a"; got "b"'),
        ({"type": "timestamp", "example": "noon"}, "must be an ISO 8601 time"),
        ({"name": "row_id"}, "'row_id': this name is kept for the platform"),
        ({"name": "expected_probability"}, "this name is kept for the platform"),
        ({"name": "feature__x"}, "this name is kept for the platform"),
        ({"name": "_row"}, "should match pattern"),
        ({"name": "Age"}, "should match pattern"),
        ({"name": 'a"b'}, "should match pattern"),
        ({"name": "a" * 64}, "at most 63 characters"),
        ({"type": "float"}, "'integer', 'number', 'category'"),
        ({"description": ""}, "at least 1 character"),
        ({"units": "mm"}, "Extra inputs are not permitted"),
    ],
)
def test_column_is_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Column.model_validate({"name": "x", "type": "number", "description": "D.", **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positive": 1, "negative": 1}, "'positive' and 'negative' are the same value"),
        ({"positive": 1, "negative": "1"}, "'positive' and 'negative' are the same value"),
        # 1.0 in the file would not be the text "1.0", and true not 1.
        ({"positive": 1.0, "negative": 0.0}, "valid integer"),
        ({"positive": True, "negative": False}, "valid integer"),
        ({"column": "row_id"}, "'row_id': this name is kept for the platform"),
        ({"label": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_target_is_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Target.model_validate({"column": "y", **changes})


def test_column_named_twice_is_refused() -> None:
    with pytest.raises(
        ValidationError,
        match=r"columns.2: the name a is that of another column(.|\n)*columns.3: the name b",
    ):
        contract(column("a"), column("b"), column("a"), column("b"))


def test_column_named_as_the_target_is_refused() -> None:
    with pytest.raises(
        ValidationError, match=r"columns.0: the name outcome is that of the target, too"
    ):
        contract(column("outcome"))


def test_contract_without_columns_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        contract()


def test_contract_does_not_change_after_reading() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        EVERY_TYPE.version = 2  # type: ignore[misc]


def test_outcome_may_be_called_target() -> None:
    agreed = Contract(version=1, target=Target(column="target"), columns=[column("a")])
    assert [c.name for c in agreed.every_column] == ["a", "target"]


@pytest.mark.parametrize(
    ("target", "kind", "allowed"),
    [
        (Target(column="y"), "BIGINT", [0, 1]),
        (Target(column="y", positive=-1, negative=1), "BIGINT", [1, -1]),
        (Target(column="y", positive="yes", negative="no"), "VARCHAR", ["no", "yes"]),
        (Target(column="y", positive="yes", negative=0), "VARCHAR", ["0", "yes"]),
    ],
)
def test_outcome_is_validated_as_a_category(target: Target, kind: str, allowed: list[Any]) -> None:
    as_column = target.as_column()
    assert (as_column.duckdb_type, as_column.allowed) == (kind, allowed)
    assert not as_column.nullable


def test_every_type_has_a_duckdb_type() -> None:
    assert {c.name: c.duckdb_type for c in EVERY_TYPE.every_column} == {
        "age": "BIGINT",
        "dose": "DOUBLE",
        "grade": "BIGINT",
        "region": "VARCHAR",
        "smoker": "BOOLEAN",
        "note": "VARCHAR",
        "seen": "TIMESTAMP",
        "outcome": "BIGINT",
    }


def reworded(agreed: Contract, **changes: Any) -> Contract:
    """The same contract with the first column changed."""
    first = Column.model_validate({**agreed.columns[0].model_dump(), **changes})
    return agreed.model_copy(update={"columns": [first, *agreed.columns[1:]]})


def test_digest_ignores_words_and_examples() -> None:
    other = reworded(EVERY_TYPE, description="Other words.", example=40)
    assert other != EVERY_TYPE
    assert other.digest == EVERY_TYPE.digest
    target = EVERY_TYPE.target.model_copy(update={"description": "Other words."})
    assert EVERY_TYPE.model_copy(update={"target": target}).digest == EVERY_TYPE.digest


@pytest.mark.parametrize(
    "other",
    [
        reworded(EVERY_TYPE, minimum=19),
        reworded(EVERY_TYPE, maximum=None),
        reworded(EVERY_TYPE, nullable=True),
        reworded(EVERY_TYPE, nullable=True, missing_values=[-1]),
        reworded(EVERY_TYPE, type="number"),
        reworded(EVERY_TYPE, name="years"),
        EVERY_TYPE.model_copy(update={"version": 2}),
        EVERY_TYPE.model_copy(update={"duplicates": "keep"}),
        EVERY_TYPE.model_copy(update={"columns": EVERY_TYPE.columns[::-1]}),
        EVERY_TYPE.model_copy(update={"target": Target(column="outcome", positive=0, negative=1)}),
    ],
)
def test_digest_sees_what_changes_the_data(other: Contract) -> None:
    assert other.digest != EVERY_TYPE.digest


def test_request_schema_leaves_the_outcome_out() -> None:
    schema = EVERY_TYPE.request_schema("tiny")
    assert [c["name"] for c in schema["columns"]] == [c.name for c in EVERY_TYPE.columns]
    assert "outcome" not in json.dumps(schema)


@pytest.mark.parametrize("which", ["every type", "heart disease"])
def test_serving_app_reads_the_request_schema_with_the_same_types(
    which: str, heart: UseCase
) -> None:
    agreed = EVERY_TYPE if which == "every type" else heart.contract
    text = json.dumps(agreed.request_schema("tiny"), allow_nan=False).encode()
    read = read_contract(text, "contract.json")
    assert read.duckdb_types == {c.name: c.duckdb_type for c in agreed.columns}
    assert (read.version, read.use_case) == (agreed.version, "tiny")


@pytest.mark.parametrize(
    ("broken", "value", "said"),
    [
        (column("x", minimum=1, maximum=2.5, unit="mm"), 3.0, "x: 3.0 is outside 1 to 2.5 mm"),
        (column("x", minimum=0), -1, "x: -1 is outside 0 to unbounded"),
        (column("x", maximum=1_234_567), 2e6, "x: 2000000.0 is outside unbounded to 1234567"),
        (column("x", "category", allowed=[0, 1]), 9, "x: 9 is not one of 0, 1"),
        (column("x"), None, "x: a value is required"),
    ],
)
def test_broken_value_is_named_with_its_limit(broken: Column, value: object, said: str) -> None:
    assert broken.broken(value) == said


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("age", "age"),
        ("  age\t", "age"),
        ("\ufeffage", "age"),
        ('"age"', "age"),
        (' "age "', "age"),
        ("blood\n pressure", "blood pressure"),
        ("Age", "Age"),
        ("  ", ""),
    ],
)
def test_header_cell_is_trimmed_and_nothing_else(cell: str, name: str) -> None:
    assert normalise_header(cell) == name
