import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.bundle.contract import Contract, ContractError, RowError, decode, read_contract
from serving.bundle.features import FeatureError
from serving.bundle.loaded import Bundle
from tests.serving.bundles import CONTRACT, PAYLOAD

CHECKED = read_contract(json.dumps(CONTRACT).encode(), "contract.json")
NULLABLE = [column["name"] for column in CONTRACT["columns"] if column["nullable"]]


def problems(payload: Any) -> list[dict[str, Any]]:
    with pytest.raises(RowError) as error:
        CHECKED.validate_row(decode(json.dumps(payload).encode()))
    return error.value.problems


def test_example_is_accepted_and_read() -> None:
    assert CHECKED.validate_row(PAYLOAD) == {
        "age": 63,
        "cp": 3,
        "chol": 233,
        "oldpeak": 2.3,
        "smoker": True,
        "region": "south",
        "note": "it's fine",
        "seen": "2024-02-29 10:00:00",
    }


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("age", 63.0, 63),
        ("age", 18, 18),
        ("age", 110, 110),
        ("cp", 2.0, 2),
        ("chol", 0, None),
        ("chol", 0.0, None),
        ("chol", -0.0, None),
        ("chol", None, None),
        ("oldpeak", 2, 2.0),
        ("oldpeak", -1e308, -1e308),
        ("smoker", False, False),
        ("region", "?", None),
        ("region", "north", "north"),
        ("note", "", ""),
        ("note", "☃ ' \" \x00", "☃ ' \" \x00"),
        ("seen", "2024-02-29", "2024-02-29 00:00:00"),
        ("seen", "2024-02-29T23:59:59.5-01:00", "2024-03-01 00:59:59.500000"),
    ],
)
def test_accepted(name: str, value: Any, read: Any) -> None:
    found = CHECKED.validate_row({**PAYLOAD, name: value})[name]
    assert found == read
    assert type(found) is type(read)


def test_nullable_columns_may_be_left_out() -> None:
    row = CHECKED.validate_row({"age": 50, "cp": 1, "oldpeak": 0.5})
    assert list(row) == list(PAYLOAD)
    assert [name for name, value in row.items() if value is None] == NULLABLE


@pytest.mark.parametrize(
    ("name", "value", "kind", "message"),
    [
        ("age", 17, "greater_than_equal", "must be at least 18 years; got 17"),
        ("age", 111, "less_than_equal", "must be at most 110 years; got 111"),
        ("age", 63.5, "integer_type", "must be a whole number; got 63.5"),
        ("age", "63", "integer_type", 'must be a whole number; got "63"'),
        ("age", True, "integer_type", "must be a whole number; got true"),
        ("age", None, "missing", "must have a value; got null"),
        ("age", [63], "integer_type", "must be a whole number; got an array"),
        ("age", {"a": 1}, "integer_type", "must be a whole number; got an object"),
        ("age", float("nan"), "finite_number", "must be finite; got NaN"),
        ("age", float("inf"), "finite_number", "must be finite; got Infinity"),
        ("age", 2**63, "integer_size", "must fit in 64 bits; got 9223372036854775808"),
        ("age", 1e300, "integer_size", "must fit in 64 bits; got 1e+300"),
        ("cp", 9, "enum", "must be one of 0, 1, 2, 3; got 9"),
        ("cp", True, "enum", "must be one of 0, 1, 2, 3; got true"),
        ("cp", "1", "enum", 'must be one of 0, 1, 2, 3; got "1"'),
        ("cp", [1], "enum", "must be one of 0, 1, 2, 3; got an array"),
        ("chol", 59, "greater_than_equal", "must be at least 60 mg/dl; got 59"),
        ("chol", False, "integer_type", "must be a whole number; got false"),
        ("oldpeak", "1", "number_type", 'must be a number; got "1"'),
        ("oldpeak", True, "number_type", "must be a number; got true"),
        ("oldpeak", float("-inf"), "finite_number", "must be finite; got -Infinity"),
        ("oldpeak", 10**400, "finite_number", f"must fit in a 64-bit float; got 1{'0' * 39}..."),
        ("smoker", 1, "boolean_type", "must be true or false; got 1"),
        ("region", "west", "enum", 'must be one of "north", "south"; got "west"'),
        ("region", "x" * 99, "enum", f'must be one of "north", "south"; got "{"x" * 40}"...'),
        ("note", 5, "text_type", "must be text; got 5"),
        ("note", "\ud800", "text_characters", "must not hold unpaired surrogates"),
        ("seen", 1700000000, "timestamp_type", None),
        ("seen", "yesterday", "timestamp_type", None),
        ("seen", "0001-01-01T00:00:00+12:00", "timestamp_type", None),
        ("extra", 1, "extra_forbidden", "is not a column of this contract"),
        ("\udfff", 1, "extra_forbidden", None),
    ],
)
def test_refused(name: str, value: Any, kind: str, message: str | None) -> None:
    (problem,) = problems({**PAYLOAD, name: value})
    assert problem["loc"] == ["body", name if name.isascii() else "?"]
    assert problem["type"] == kind
    if message is not None:
        assert problem["msg"] == message


def test_every_problem_at_once_and_not_too_many() -> None:
    found = problems({"age": 9, "cp": 9, "chol": 9, "zz": 1})
    assert [problem["loc"][1] for problem in found] == ["age", "cp", "chol", "oldpeak", "zz"]
    assert found[3]["msg"] == "is required: a number"
    assert len(problems({str(number): 1 for number in range(10_000)})) == 50
    (long,) = problems({**PAYLOAD, "k" * 1000: 1})
    assert long["loc"] == ["body", "k" * 64]


def test_missing_value_of_a_required_column() -> None:
    contract = copy.deepcopy(CONTRACT)
    contract["columns"][0]["missing_values"] = [-1]
    checked = read_contract(json.dumps(contract).encode(), "contract.json")
    with pytest.raises(RowError, match="must have a value; got -1, which means not recorded"):
        checked.validate_row({**PAYLOAD, "age": -1})


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"age": 1' + b"0" * 5000 + b"}", b"null", b"[1]"],
)
def test_body_that_is_not_a_row(body: bytes) -> None:
    with pytest.raises(RowError) as error:
        CHECKED.validate_row(decode(body))
    (problem,) = error.value.problems
    assert problem["loc"] == ["body"]
    assert len(problem["msg"]) < 120


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"type": "complex"}, "columns.0.type"),
        ({"name": ""}, "columns.0.name"),
        ({"name": "row_id"}, "'row_id': the name is taken"),
        ({"name": "CP"}, "'CP': the name is taken"),
        ({"type": "category"}, "'age': a category must list its allowed values"),
        ({"type": "text", "example": "x"}, "'age': only an integer or a number has a minimum"),
        ({"example": 9}, "'age': must be at least 18 years; got 9"),
        ({"type": "category", "allowed": [0.5], "minimum": None, "maximum": None}, "'age': must"),
    ],
)
def test_contract_refused(column: dict[str, Any], message: str) -> None:
    contract = copy.deepcopy(CONTRACT)
    contract["columns"][0].update(column)
    with pytest.raises(ContractError, match=message):
        read_contract(json.dumps(contract).encode(), "contract.json")


def test_schema_says_what_the_check_does() -> None:
    schema = CHECKED.json_schema()
    assert schema["example"] == PAYLOAD
    assert schema["required"] == ["age", "cp", "oldpeak"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["age"] == {
        "title": "age",
        "type": "integer",
        "description": "Age. Unit: years.",
        "minimum": 18,
        "maximum": 110,
    }
    assert schema["properties"]["chol"]["type"] == ["integer", "null"]
    assert "Read as not recorded: 0." in schema["properties"]["chol"]["description"]
    assert schema["properties"]["region"]["enum"] == ["north", "south", None]
    assert schema["properties"]["seen"]["format"] == "date-time"


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.sampled_from([0, 1, 63, "?", "south", "2024-02-29", 10**400, 2**63, -(2**63), 1e39]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(list(PAYLOAD)) | st.text(st.characters(codec=None))
ROWS = st.dictionaries(NAMES, ANYTHING, max_size=9).map(lambda found: {**PAYLOAD, **found})


def check_answer(contract: Contract, bundle: Bundle, body: bytes) -> None:
    try:
        row = contract.validate_row(decode(body))
        (probability,) = bundle.predict([row])
    except RowError as error:
        json.dumps(error.problems, ensure_ascii=False, allow_nan=False).encode()
    except FeatureError as error:
        str(error).encode()
    else:
        assert 0 <= probability <= 1


@settings(derandomize=True, deadline=None, max_examples=100, database=None)
@given(ROWS | st.dictionaries(NAMES, ANYTHING))
def test_any_object_is_answered_or_refused(bundle: Bundle, payload: dict[str, Any]) -> None:
    check_answer(bundle.contract, bundle, json.dumps(payload).encode())


@settings(derandomize=True, deadline=None, max_examples=100, database=None)
@given(st.binary(max_size=60) | ANYTHING.map(lambda found: json.dumps(found).encode()))
def test_any_body_is_answered_or_refused(bundle: Bundle, body: bytes) -> None:
    check_answer(bundle.contract, bundle, body)
