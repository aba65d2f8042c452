from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.lib.contract.column import Column
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.contract.target import Target
from mlops_assets.lib.reading.raw_table import MALFORMED, REASONS, ROW
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.validation import validate
from mlops_assets.lib.validation.result import Validation
from mlops_assets.lib.validation.validate import missing_columns
from mlops_assets.lib.validation.values import ABSENT
from tests.lib.helpers import as_csv, column, contract, validated

AGE = column("age", "integer", minimum=18, maximum=110, unit="years")
DOSE = column("dose", nullable=True, minimum=0, maximum=10)
CP = column("cp", "category", allowed=[0, 1, 2, 3])
HEART_ROW = {
    "age": "63", "sex": "1", "cp": "0", "trestbps": "145", "chol": "233", "fbs": "1",
    "restecg": "2", "thalach": "150", "exang": "0", "oldpeak": "2.3", "slope": "2", "ca": "0",
    "thal": "1", "condition": "0",
}  # fmt: skip


def judged(kind: Column, texts: Sequence[str], folder: Path, delimiter: str = ",") -> list[Any]:
    """Validate one column of cells: by cell, the value read, or what is wrong with it in a list."""
    rows = as_csv([[kind.name, "outcome"], *([text, "1"] for text in texts)], delimiter)
    split = validated(contract(kind, duplicates="keep"), rows, folder)
    assert split.found.rows == len(texts)
    values = zip(split.valid["row_id"], split.valid[kind.name], strict=True)
    found: dict[int, Any] = {int(row_id.removeprefix("b-")): value for row_id, value in values}
    found |= {n: [r] for n, r in zip(split.quarantine[ROW], split.reasons, strict=True)}
    return [found[number] for number in range(1, len(texts) + 1)]


ID = column("id", "integer")
REGION = column("region", "category", allowed=["NA", "EU"], nullable=True)
SMOKER = column("smoker", "boolean")


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        (AGE, {"18": 18, "110": 110, " 63 ": 63, "63.0": 63, "6.3e1": 63, "+63": 63}),
        (ID, {"9007199254740993": 2**53 + 1, "-9223372036854775808": -(2**63), "00": 0}),
        (DOSE, {"0": 0.0, "2.5": 2.5, ".5": 0.5, "1e-3": 0.001, "10": 10.0}),
        (CP, {"3": 3, "3.0": 3, "0": 0}),
        # Allowed, so it is not "nothing here": North America, not "not available".
        (REGION, {"EU": "EU", "NA": "NA"}),
        (column("t", "text"), {'it\'s, "so"': 'it\'s, "so"', "☃": "☃"}),
        (SMOKER, {"TRUE": True, "t": True, "Yes": True, "1": True, "no": False, "0": False}),
    ],
    ids=lambda value: value.name if isinstance(value, Column) else "",
)
def test_value_that_keeps_the_contract_is_read(
    kind: Column, read: dict[str, Any], tmp_path: Path
) -> None:
    found = judged(kind, list(read), tmp_path)
    assert [(type(v), v) for v in found] == [(type(v), v) for v in read.values()]


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        (
            AGE,
            {
                "17": "17 is outside 18 to 110 years",
                "111": "111 is outside 18 to 110 years",
                "-1": "-1 is outside 18 to 110 years",
                "63.5": "'63.5' is not an integer",
                "sixty": "'sixty' is not an integer",
                "1e400": "'1e400' is not an integer",
                "9223372036854775808": "'9223372036854775808' is not an integer",
                "": "a value is required",
                "?": "a value is required",
            },
        ),
        (
            DOSE,
            {
                "10.000001": "10.000001 is outside 0 to 10",
                "-0.1": "-0.1 is outside 0 to 10",
                "inf": "'inf' is not a number",
                "-Infinity": "'-Infinity' is not a number",
                "2,5": "'2,5' is not a number",
                "2.5 mg": "'2.5 mg' is not a number",
                "0x10": "'0x10' is not a number",
                "x" * 100: f"'{'x' * 60}' is not a number",
            },
        ),
        (column("height", minimum=1e6), {"5": "5.0 is outside 1000000 to unbounded"}),
        (
            CP,
            {
                "9": "9 is not one of 0, 1, 2, 3",
                "0.5": "'0.5' is not a known code",
                "zero": "'zero' is not a known code",
            },
        ),
        (REGION, {"eu": "eu is not one of NA, EU", "XX": "XX is not one of NA, EU"}),
        (SMOKER, {"maybe": "'maybe' is not a boolean", "1.0": "'1.0' is not a boolean"}),
        (column("t", "text"), {"": "a value is required", "  ": "a value is required"}),
        (
            column("seen", "timestamp"),
            {
                # Day or month first? It is not guessed.
                "01/02/2024": "'01/02/2024' is not a timestamp",
                "2024-02-30": "'2024-02-30' is not a timestamp",
                "yesterday": "'yesterday' is not a timestamp",
            },
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Column) else "",
)
def test_value_that_breaks_the_contract_is_kept_with_the_reason(
    kind: Column, reasons: dict[str, str], tmp_path: Path
) -> None:
    expected = [[f"{kind.name}: {reason}"] for reason in reasons.values()]
    assert judged(kind, list(reasons), tmp_path) == expected


@pytest.mark.parametrize("kind", ["number", "integer", "boolean", "timestamp"])
def test_every_way_of_writing_nothing_is_absent(kind: Any, tmp_path: Path) -> None:
    rows: list[list[object]] = [["x", "y", "outcome"], *([text, "here", 1] for text in ABSENT)]
    agreed = contract(column("x", kind, nullable=True), column("y", "text"), duplicates="keep")
    split = validated(agreed, as_csv(rows), tmp_path)
    assert split.valid["x"].to_list() == [None] * len(ABSENT)
    assert split.found.missing["x"] == 1.0


def test_a_text_is_absent_only_when_empty_for_a_request_may_say_none(tmp_path: Path) -> None:
    kind = column("t", "text", nullable=True)
    assert judged(kind, ["", " ", "None", "-"], tmp_path) == [None, None, "None", "-"]


@pytest.mark.parametrize("kind", ["integer", "number"])
def test_missing_value_of_a_number_is_absent_however_it_is_written(
    kind: str, tmp_path: Path
) -> None:
    chol = column("chol", kind, nullable=True, minimum=60, missing_values=[0, -9])
    texts = ["0", "0.0", "00", "-0", "0e5", "-9", "-9.0", "?"]
    assert judged(chol, [*texts, "233"], tmp_path) == [None] * len(texts) + [233]


def test_missing_value_of_a_text_is_absent_as_written(tmp_path: Path) -> None:
    kind = column("g", "category", allowed=["a"], nullable=True, missing_values=["unknown"])
    found = judged(kind, ["unknown", "Unknown"], tmp_path)
    assert found == [None, ["g: Unknown is not one of a"]]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_decimal_comma_is_read_where_it_does_not_delimit(tmp_path: Path, delimiter: str) -> None:
    found = judged(column("x"), ["2,5", "-2,5", "1.234,5"], tmp_path, delimiter)
    assert found == [2.5, -2.5, ["x: '1.234,5' is not a number"]]


def test_timestamps_are_read_as_the_serving_app_reads_them(tmp_path: Path) -> None:
    read = {
        "2024-02-29": "2024-02-29 00:00:00",
        "2024-02-29T12:30:00": "2024-02-29 12:30:00",
        "2024-02-29 12:30:00.25": "2024-02-29 12:30:00.250000",
        "2024-02-29T12:30:00+02:00": "2024-02-29 10:30:00",
        "2024-02-29T12:30:00Z": "2024-02-29 12:30:00",
    }
    kind = column("seen", "timestamp")
    assert list(map(str, judged(kind, list(read), tmp_path))) == list(read.values())
    # One by one as well: a format must not depend on the rows around.
    for text, value in read.items():
        assert list(map(str, judged(kind, [text], tmp_path))) == [value]
    assert pl.read_parquet(tmp_path / "valid.parquet").schema["seen"] == pl.Datetime("us")


def test_zeros_of_either_sign_are_one_value(tmp_path: Path) -> None:
    rows: list[list[object]] = [["x", "outcome"], ["-0.0", 1], ["0.0", 1]]
    split = validated(contract(column("x")), as_csv(rows), tmp_path)
    assert split.found.duplicates == 1
    assert [str(value) for value in split.valid["x"]] == ["0.0"]


def test_minus_one_and_minus_two_are_not_duplicates(tmp_path: Path) -> None:
    # Python gives both the same hash.
    rows: list[list[object]] = [["x", "outcome"], [-1, 1], [-2, 1], [-1, 0]]
    split = validated(contract(column("x", "integer")), as_csv(rows), tmp_path)
    assert (split.found.duplicates, split.found.valid) == (0, 3)


def test_repeated_row_is_quarantined_and_the_first_kept(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        ["age", "dose", "outcome"],
        [50, 1, 1],
        [50, 1, 0],
        [50, "1.0", 1],
        [50, 1, 1],
    ]
    split = validated(contract(AGE, DOSE), as_csv(rows), tmp_path)
    assert split.valid["row_id"].to_list() == ["b-1", "b-2"]
    assert split.quarantine[ROW].to_list() == [3, 4]
    assert split.reasons == ["repeats an earlier row of the batch"] * 2
    assert (split.found.duplicates, split.found.quarantined) == (2, 2)


def test_repeated_rows_are_kept_where_the_contract_says_so(tmp_path: Path) -> None:
    rows: list[list[object]] = [["age", "outcome"], [50, 1], [50, 1], [17, 1], [17, 1]]
    split = validated(contract(AGE, duplicates="keep"), as_csv(rows), tmp_path)
    assert split.valid["row_id"].to_list() == ["b-1", "b-2"]
    assert split.reasons == ["age: 17 is outside 18 to 110 years"] * 2


def test_row_that_breaks_the_contract_is_no_ones_duplicate(tmp_path: Path) -> None:
    rows: list[list[object]] = [["age", "outcome"], [17, 1], [17, 1]]
    split = validated(contract(AGE), as_csv(rows), tmp_path)
    assert split.found.duplicates == 0
    assert split.reasons == ["age: 17 is outside 18 to 110 years"] * 2


def test_every_reason_of_a_row_is_kept(tmp_path: Path) -> None:
    rows: list[list[object]] = [["age", "dose", "cp", "outcome"], ["old", 99, "", 7]]
    split = validated(contract(AGE, DOSE, CP), as_csv(rows), tmp_path)
    assert split.reasons[0].split("; ") == [
        "age: 'old' is not an integer",
        "dose: 99.0 is outside 0 to 10",
        "cp: a value is required",
        "outcome: 7 is not one of 0, 1",
    ]
    assert split.found.reasons == {
        "age: not an integer": 1,
        "dose: outside its range": 1,
        "cp: absent": 1,
        "outcome: not allowed": 1,
    }


def test_reasons_of_one_column_are_counted_apart(tmp_path: Path) -> None:
    ages = ["old", 17, 16, "young", "", 200, 50]
    split = validated(
        contract(AGE), as_csv([["age", "outcome"], *([a, 1] for a in ages)]), tmp_path
    )
    assert split.found.reasons == {
        "age: not an integer": 2,
        "age: outside its range": 3,
        "age: absent": 1,
    }
    assert split.found.examples["age: not an integer"] == "age: 'old' is not an integer"


def test_quarantine_holds_the_row_as_it_landed(tmp_path: Path) -> None:
    text = "age,extra,outcome\n50,x,1\n17, keep me ,1\nshort\n,,1\n"
    split = validated(contract(AGE), text, tmp_path)
    assert split.quarantine.drop(REASONS).rows() == [
        (2, "17", "keep me", "1", None),
        (3, None, None, None, "line 4: 1 fields where the header has 3: short"),
        (4, None, None, "1", None),
    ]
    assert split.quarantine.columns == [ROW, "age", "extra", "outcome", MALFORMED, REASONS]
    assert split.reasons[1] == "line 4: 1 fields where the header has 3: short"
    assert split.found.reasons == {
        "age: outside its range": 1,
        "age: absent": 1,
        "malformed line": 1,
    }


def test_batch_of_only_bad_rows_has_no_valid_row_and_no_quality(tmp_path: Path) -> None:
    rows: list[list[object]] = [["age", "outcome"], [1, 1], [2, 0], [3, 1]]
    split = validated(contract(AGE), as_csv(rows), tmp_path)
    assert (split.found.rows, split.found.valid, split.found.quarantined) == (3, 0, 3)
    assert (split.found.quality, split.found.positive_rate) == (0.0, 0.0)
    assert (split.valid.height, split.quarantine.height) == (0, 3)


def test_zero_rows_give_empty_files_of_the_right_types(tmp_path: Path) -> None:
    agreed = contract(
        AGE,
        DOSE,
        CP,
        column("g", "category", allowed=["a"]),
        column("t", "text"),
        column("b", "boolean"),
        column("s", "timestamp"),
    )
    split = validated(agreed, "age,dose,cp,g,t,b,s,outcome\n", tmp_path)
    assert (split.found.rows, split.valid.height, split.quarantine.height) == (0, 0, 0)
    assert (split.found.quality, split.found.positive_rate) == (0.0, 0.0)
    with duckdb.connect() as database:
        described = database.execute(
            "describe select * from read_parquet(?)", [str(tmp_path / "valid.parquet")]
        ).fetchall()
    assert {name: kind for name, kind, *_ in described} == {
        "row_id": "VARCHAR",
        **{c.name: c.duckdb_type for c in agreed.every_column},
    }
    assert split.quarantine.columns[-2:] == [MALFORMED, REASONS]


def test_quality_is_the_share_valid_times_the_share_present(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        ["age", "dose", "outcome"],
        [50, "", 1],
        [51, 1, 0],
        [52, 2, 1],
        [53, 3, 0],
        [1, "", 1],
    ]
    found = validated(contract(AGE, DOSE), as_csv(rows), tmp_path).found
    # 4 of 5 rows are valid; 1 of their 12 values is absent.
    assert found.missing == {"age": 0.0, "dose": 0.25, "outcome": 0.0}
    assert found.quality == round(100 * 4 / 5 * (1 - 1 / 12), 2) == 73.33
    assert (found.positives, found.positive_rate) == (2, 0.5)


def test_quality_of_nothing_is_nothing() -> None:
    assert Validation().quality == 0.0


@pytest.mark.parametrize(
    ("target", "positive", "negative"),
    [
        (Target(column="y"), "1", "0"),
        (Target(column="y"), "1.0", "0.0"),
        (Target(column="y", positive=-1, negative=1), "-1", "1"),
        (Target(column="y", positive="yes", negative="no"), "yes", "no"),
        (Target(column="y", positive="NA", negative="-"), "NA", "-"),
    ],
)
def test_positives_are_counted_by_the_targets_value(
    target: Target, positive: str, negative: str, tmp_path: Path
) -> None:
    agreed = Contract(version=1, target=target, columns=[column("x")])
    rows: list[list[object]] = [
        ["x", "y"],
        [1, positive],
        [2, positive],
        [3, negative],
        [4, "other"],
        [5, ""],
    ]
    split = validated(agreed, as_csv(rows), tmp_path)
    assert (split.found.positives, split.found.valid) == (2, 3)
    assert split.reasons[1] == "y: a value is required"
    assert split.reasons[0].startswith("y: ")


def test_columns_that_a_file_lacks_are_named(heart: UseCase) -> None:
    assert missing_columns(heart.contract, ["age", "sex", "colour"])[-2:] == ["thal", "condition"]
    assert missing_columns(heart.contract, [*HEART_ROW, "colour"]) == []


def test_heart_disease_rows_are_judged(heart: UseCase, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, str], str | None]] = [
        ({}, None),
        ({"chol": "0"}, None),
        ({"chol": "0.0", "age": "64"}, None),
        ({"ca": ""}, None),
        ({"chol": "1"}, "chol: 1 is outside 60 to 700 mg/dl"),
        ({"cp": "9"}, "cp: 9 is not one of 0, 1, 2, 3"),
        ({"age": "63.5"}, "age: '63.5' is not an integer"),
        ({"oldpeak": "NaN"}, "oldpeak: a value is required"),
        ({"oldpeak": "inf"}, "oldpeak: 'inf' is not a number"),
        ({"trestbps": "high"}, "trestbps: 'high' is not an integer"),
    ]
    rows = [list((HEART_ROW | changes).values()) for changes, _ in cases]
    split = validated(heart.contract, as_csv([list(HEART_ROW), *rows]), tmp_path)
    assert split.reasons == [reason for _, reason in cases if reason]
    assert split.valid["chol"].to_list() == [233, None, None, 233]


def test_rows_beyond_one_chunk_are_judged_as_one_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate, "CHUNK_ROWS", 1000)
    rows = [f"{n},{n % 2}" for n in range(3000)]
    split = validated(
        contract(column("n", "integer")),
        "\n".join(["n,outcome", *rows, "0,0", "x,0", "3000,1"]),
        tmp_path,
    )
    assert (split.found.rows, split.found.valid, split.found.duplicates) == (3003, 3001, 1)
    assert split.found.positives == 1501
    assert split.quarantine[ROW].to_list() == [3001, 3002]
    assert split.valid["row_id"][-1] == "b-3003"
    assert split.reasons == ["repeats an earlier row of the batch", "n: 'x' is not an integer"]


CELLS = st.sampled_from(
    ["", "0", "1", "18", "63", "63.5", "110", "111", "-1", "NA", "x", "inf", "1e2", '"', "2,5", "é"]
)


@given(st.lists(st.lists(CELLS, min_size=3, max_size=5), max_size=25), st.booleans())
@settings(deadline=None, derandomize=True, max_examples=20)
def test_every_row_is_valid_or_quarantined(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], keep: bool
) -> None:
    agreed = contract(AGE, DOSE, CP, duplicates="keep" if keep else "quarantine")
    text = as_csv([["age", "dose", "cp", "outcome"], *rows])
    split = validated(agreed, text, tmp_path_factory.getbasetemp())
    landed = sum(any(cell.strip() for cell in row) for row in rows)
    assert split.found.rows == landed == split.valid.height + split.quarantine.height
    assert split.found.valid == split.valid.height
    assert all(split.reasons)
    numbers = [int(row_id.removeprefix("b-")) for row_id in split.valid["row_id"]]
    assert sorted(numbers + split.quarantine[ROW].to_list()) == list(range(1, landed + 1))
    for row in split.valid.iter_rows(named=True):
        assert 18 <= row["age"] <= 110
        assert row["dose"] is None or 0 <= row["dose"] <= 10
        assert row["cp"] in (0, 1, 2, 3)
        assert row["outcome"] in (0, 1)
    assert 0 <= split.found.quality <= 100
    assert split.found.duplicates == sum("repeats" in reason for reason in split.reasons)


def test_a_column_is_read_by_its_header(tmp_path: Path) -> None:
    agreed = contract(column("total_charges", header="Total  Charges"), column("age", "integer"))
    text = as_csv([["age", "Total Charges", "outcome"], [30, 1.5, 1], [31, "x", 0]])
    batch = validated(agreed, text, tmp_path)
    assert batch.valid["total_charges"].to_list() == [1.5]
    assert batch.reasons == ["total_charges: 'x' is not a number"]
    assert missing_columns(agreed, ["age", "total_charges"]) == ["Total Charges", "outcome"]
    assert "header" not in agreed.request_schema("u")["columns"][0]
