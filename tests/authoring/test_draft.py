"""What a draft makes of a sample."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.authoring.draft import Draft, draft
from mlops_assets.authoring.features_text import features, sql_text
from mlops_assets.authoring.names import to_name
from mlops_assets.authoring.quoting import as_sql, as_yaml
from mlops_assets.authoring.sample import DraftError
from mlops_assets.authoring.spec_text import spec_text
from mlops_assets.lib.features.feature_check import source_call
from mlops_assets.lib.reading.table import read_table
from mlops_assets.lib.spec.spec_file import documents
from mlops_assets.lib.validation.validate import validate
from serving.bundle.contract import read_contract
from serving.bundle.features import FeatureRunner
from tests.authoring import samples


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samples.write(tmp_path_factory.mktemp("sample") / "customers.csv")


@pytest.fixture(scope="module")
def drafted(sample: Path) -> Draft:
    return draft("leavers", sample, "Churn?")


def test_each_column_is_taken_for_what_it_is(drafted: Draft) -> None:
    kinds = {one.column.name: one.column.type for one in drafted.columns}
    assert kinds == {
        "customer_id": "text",
        "account_length": "integer",
        "total_charges": "number",
        "state": "category",
        "intl_plan": "boolean",
        "contact": "text",
        "score": "number",
        "visits": "integer",
        "group": "category",
        "late": "number",
        "yes": "category",
        "kind_x": "category",
        "phone_calls": "integer",
    }
    by_name = {one.column.name: one.column for one in drafted.columns}
    assert by_name["account_length"].header == "Account Length"
    assert by_name["total_charges"].missing_values == ["unknown"]
    assert by_name["visits"].missing_values == [-999]
    assert by_name["visits"].maximum == 50
    assert by_name["state"].allowed == ["CA", "NO", "NY"]
    assert by_name["yes"].allowed == [0, 1]
    assert by_name["contact"].pii == "drop"
    assert drafted.key == ["customer_id"]
    assert drafted.target.positive == "True"


def test_what_is_left_out_is_said_with_the_reason(drafted: Draft) -> None:
    reasons = dict(drafted.left_out)
    assert reasons["constant"] == "it is 'k' wherever it is recorded"
    assert reasons["empty"] == "nothing is recorded in any row"
    assert "different values: no category" in reasons["notes"]
    assert "different values: no category" in reasons["Zip Code"]
    assert "--event-time" in reasons["signup"]
    # Recorded only where the outcome is positive.
    assert "tells the outcome alone (ROC AUC 1.000 on unseen rows)" in reasons["cancelled"]
    late = next(one for one in drafted.columns if one.column.name == "late")
    assert any("is it known before the outcome?" in note for note in late.notes)


def test_a_column_of_chance_is_no_leak(tmp_path: Path) -> None:
    draw = random.Random(1)
    rows = [[draw.random(), draw.choice("abcdefghij"), draw.random() < 0.5] for _ in range(300)]
    drafted = draft("x", _csv(tmp_path, [["number", "letter", "y"], *rows]), "y")
    assert [one.column.name for one in drafted.columns] == ["number", "letter"]
    for one in drafted.columns:
        assert float(one.facts.split("ROC AUC ")[1]) < 0.6, one.facts


def test_the_sample_keeps_the_contract_drafted_from_it(
    drafted: Draft, sample: Path, tmp_path: Path
) -> None:
    read_table(sample, tmp_path / "raw.parquet")
    found = validate(
        drafted.contract,
        tmp_path / "raw.parquet",
        tmp_path / "valid.parquet",
        tmp_path / "quarantine.parquet",
        batch="b",
        delimiter=",",
    )
    assert (found.valid, found.quarantined, found.positives) == (600, 0, drafted.positives)


def test_the_text_of_the_spec_is_the_draft(drafted: Draft, tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(spec_text(drafted))
    (document,) = documents(tmp_path / "defs.yaml")
    spec = document.spec()
    assert spec.contract == drafted.contract
    assert list(spec.training.candidates) == drafted.candidates


def test_the_sql_computes_what_it_says(drafted: Draft) -> None:
    made = features(drafted)
    names = [feature.name for own in made.by_column.values() for feature in own]
    agreed = read_contract(
        json.dumps(drafted.contract.request_schema("leavers")).encode(), "contract.json"
    )
    sql = sql_text(drafted, made).replace(source_call("leavers"), "input_rows")
    row = {c.name: c.example for c in drafted.contract.inputs}
    row |= {"group": "{{ x }}", "state": None, "visits": 40}
    (computed,) = FeatureRunner(sql, agreed.duckdb_types, names).run([row])
    values = dict(zip(names, computed.tolist(), strict=True))
    assert values["group_x"] == 1
    assert values["group_no"] == values["state_ny"] == 0
    assert values["state_missing"] == 1
    assert values["visits"] == 40
    assert {"kind_x_under_5", "kind_x_over_5", "yes_1"} <= set(names)


def test_entity_and_time_are_taken_as_given(sample: Path) -> None:
    drafted = draft("x", sample, "churn", positive="False", entity="Contact", event_time="signup")
    assert (drafted.entity, drafted.event_time) == ("contact", "signup")
    by_name = {one.column.name: one.column for one in drafted.columns}
    # An e-mail address is personal data: a digest says which rows belong together.
    assert by_name["contact"].pii == "hash"
    assert drafted.target.positive == "False"


def test_an_input_with_the_name_of_personal_data_is_pointed_at(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    rows = [f"{name},{n},{n % 2}" for n, name in enumerate(["Ann Ash", "Bob Bay"] * 30)]
    path.write_text("\n".join(["full name,visits,y", *rows]))
    notes = {one.column.name: one.notes for one in draft("x", path, "y").columns}
    assert any("suggests personal data: write `pii: drop`" in note for note in notes["full_name"])


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([["a", "y"], [1, 0], [2, 1], [3, 2]], {}, "must have two classes and has 3: '0' "),
        ([["a", "y"], [1, 1], [2, 1]], {}, "must have two classes and has 1: '1' (2)"),
        ([["a", "y"], [1, 0], [2, ""], [3, 1]], {}, "no value in 1 of 3 rows, first in row 2"),
        ([["a", "y"], [1, 0], [2, "NA"], [3, 1]], {}, "no value in 1 of 3 rows, first in row 2"),
        ([["a", "z"], [1, 0]], {}, "--target 'y' is no column of the sample; there are: a, z"),
        ([["a", "y"]], {}, "has a header and no rows"),
        ([["a", "y"], [1, 0], [2, 1]], {"positive": "2"}, "--positive '2' is no value of 'y'"),
        ([["a", "y"], [1, 0], ["", 1]], {"entity": "a"}, "--entity 'a' has no value in row 2"),
        ([["a", "y"], [1, 0], [2, 1]], {"entity": "y"}, "--entity 'y' is the target"),
        (
            [["a", "y"], ["31.12.2024", 0], ["1.1.2025", 1]],
            {"event_time": "a"},
            "'a' is no column of ISO 8601 times: row 1 has '31.12.2024'",
        ),
        ([["a", "y"], [7, 0], [7, 1]], {}, "every column was left out: a: it is '7'"),
    ],
)
def test_a_sample_to_draft_nothing_from_is_refused(
    tmp_path: Path, rows: list[list[Any]], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DraftError) as caught:
        draft("x", _csv(tmp_path, rows), "y", **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("CustomerID", "customer_id"),
        ("Account Length", "account_length"),
        ("already_fine", "already_fine"),
        ("2nd visit", "n_2nd_visit"),
        ("Größe (cm)", "groe_cm"),
        ("row_id", "own_row_id"),
        ("feature__x", "own_feature__x"),
        ("%", "percent"),
        ("价格", "unnamed"),
    ],
)
def test_a_name_is_made_of_a_header(header: str, name: str) -> None:
    assert to_name(header) == name
    assert to_name(header, {name}) == f"{name}_2"


@given(st.text(max_size=30) | st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_value_is_the_same_after_yaml(value: Any) -> None:
    import yaml

    if isinstance(value, str) and not value.isprintable():
        return
    read = yaml.safe_load(f"values: {as_yaml([value])}")["values"][0]
    assert read == value
    assert isinstance(read, str) == isinstance(value, str)


@given(st.text(alphabet="ab'{}%# \"\\", max_size=12))
def test_a_value_is_the_same_after_a_template_and_sql(value: str) -> None:
    import duckdb
    import jinja2

    sql = jinja2.Template(f"select {as_sql(value)}").render()
    assert duckdb.execute(sql).fetchall() == [(value,)]


def _csv(folder: Path, rows: list[list[Any]]) -> Path:
    path = folder / "sample.csv"
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    return path
