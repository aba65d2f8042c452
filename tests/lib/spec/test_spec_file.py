"""Each mistake in a spec or in its SQL, and what is said about it: file, line and field."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.lib.features import feature_check
from mlops_assets.lib.features.feature_check import check_features
from mlops_assets.lib.spec.spec_file import SpecError, documents

SPEC = """\
type: mlops_assets.TabularClassifier
attributes:
  name: loans
  title: Default?
  description: A loan.
  owners: ["team:loans"]
  contract:
    version: 1
    target:
      column: default
    key: [loan]
    columns:
      - {name: loan, type: text, description: Which.}
      - name: amount
        header: Amount (EUR)
        type: number
        minimum: 0
        maximum: 100
        description: How much.
      - {name: region, type: category, allowed: [north, south], description: Where.}
  training:
    trials: 5
    candidates:
      logistic_regression: {}
      xgboost: {}
  gate:
    floors: {roc_auc: 0.7}
    slices: [region]
"""
SQL = """\
select
    row_id,
    amount::float as amount,
    (region = 'north')::float as north
from {{ source('loans', 'validated') }}
"""


def said(folder: Path, text: str) -> list[str]:
    """The mistakes of a spec, without the folder."""
    path = folder / "defs.yaml"
    path.write_text(text)
    mistakes = []
    try:
        for document in documents(path):
            document.spec()
    except SpecError as error:
        mistakes = str(error).splitlines()
    return [line.replace(f"{folder}{os.sep}", "") for line in mistakes]


def test_a_good_spec_has_no_mistake(tmp_path: Path) -> None:
    assert said(tmp_path, SPEC) == []


def test_a_candidate_with_nothing_after_it_takes_part(tmp_path: Path) -> None:
    assert said(tmp_path, SPEC.replace("xgboost: {}", "xgboost:")) == []


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("xgboost: {}", "perceptron: {}", "25: training.candidates.perceptron: Input should be"),
        ("minimum: 0", "minimum: 200", "17: contract.columns[amount].minimum: column 'amount': m"),
        (
            "      column: default\n",
            "      positive: 1\n",
            "9: contract.target.column: is required",
        ),
        (
            "column: default",
            "column: region",
            "20: contract.columns[region]: the name region is that of the target, too",
        ),
        ("slices: [region]", "slices: [city]", "28: gate.slices: no such column in the contract"),
        ("trials: 5", "trials: 5\n    trials: 6", "23: training.trials: the key is there twice"),
        ("trials: 5", "trails: 5", "22: training.trails: is not a field of the spec"),
        ("trials: 5", "trials: many", "22: training.trials: Input should be a valid integer"),
        ("xgboost: {}", "xgboost: {]", "25: no YAML: while parsing a flow node"),
        ("    trials: 5", "\ttrials: 5", "22: no YAML: while scanning for the next token"),
        ("[north, south]", "[no, yes]", "20: contract.columns[region].allowed[0]: Input should"),
        ("key: [loan]", "key: [name]", "11: contract.key: no such column in the contract: name"),
        ("attributes:", "attribute:", "1: attributes: are required"),
        ("version: 1", "version: 0", "8: contract.version: Input should be greater than"),
        (
            "header: Amount (EUR)",
            "header: region",
            "20: contract.columns[region]: the header region of a landed file is column amount",
        ),
        (
            "name: region,",
            "name: amount,",
            "20: contract.columns[amount]: the name amount is that of another column, too",
        ),
        (
            "xgboost: {}",
            "xgboost: {search: {max_depth: {low: 5, high: 1}}}",
            "25: training.candidates.xgboost.search.max_depth.low: low 5 is not below high 1",
        ),
        (
            "xgboost: {}",
            "xgboost:\n        fixed: {max_dpth: 3}",
            "26: training.candidates.xgboost.fixed.max_dpth: xgboost has no parameter 'max_dpth'; "
            "max_depth is meant?",
        ),
    ],
)
def test_a_mistake_is_named_with_file_line_and_field(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    assert right in SPEC
    (first, *_) = said(tmp_path, SPEC.replace(right, wrong, 1))
    assert first.startswith(f"defs.yaml:{message}"), first


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    text = SPEC.replace("trials: 5", "trials: 0").replace("roc_auc: 0.7", "roc_auc: 7")
    assert [line.split(":")[1] for line in said(tmp_path, text)] == ["22", "27"]
    text = SPEC.replace("xgboost: {}", "xgboost:\n        fixed:\n          a: 1\n          b: 2")
    assert [line.split(":")[1] for line in said(tmp_path, text)] == ["27", "28"]


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (
            "    amount::float as amount,\n",
            "",
            "defs.yaml:14: contract.columns[amount]: no feature in loans_features.sql uses it",
        ),
        ("(region =", "(city =", "loans_features.sql:4: city: the contract has no such column"),
        ("(region =", "(loan =", "loans_features.sql:4: loan: it is no input of the model"),
        ("(region =", "(\"default\" =", "loans_features.sql:4: default: it is no input"),
        ("    row_id,\n", "", "loans_features.sql:1: row_id: must be selected"),
        ("amount::float", "sum(amount)", "loans_features.sql:1: an aggregate reads other rows"),
        ("= 'north')", "= 'north'", "loans_features.sql:5: no SQL: "),
    ],
)  # fmt: skip
def test_sql_that_does_not_fit_the_contract_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str, message: str
) -> None:
    monkeypatch.setattr(feature_check, "PROJECT_DIR", tmp_path)
    spec_file, sql_file = tmp_path / "defs.yaml", feature_check.sql_path("loans")
    spec_file.write_text(SPEC.replace("    slices: [region]\n", ""))
    sql_file.parent.mkdir(parents=True)
    (document,) = documents(spec_file)
    with pytest.raises(SpecError, match=r"write .*loans_features\.sql"):
        check_features(document, document.spec())
    sql_file.write_text(SQL)
    check_features(document, document.spec())
    sql_file.write_text(SQL.replace(right, wrong, 1))
    with pytest.raises(SpecError) as caught:
        check_features(document, document.spec())
    first = str(caught.value).splitlines()[0].replace(f"{sql_file.parent}{os.sep}", "")
    assert first.replace(f"{tmp_path}{os.sep}", "").startswith(message), first


def test_a_column_that_only_names_a_slice_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_check, "PROJECT_DIR", tmp_path)
    (tmp_path / "defs.yaml").write_text(SPEC)
    sql_file = feature_check.sql_path("loans")
    sql_file.parent.mkdir(parents=True)
    sql_file.write_text(SQL.replace("    (region = 'north')::float as north\n", ""))
    (document,) = documents(tmp_path / "defs.yaml")
    check_features(document, document.spec())


def test_the_answer_is_remembered_and_loads_no_parser(tmp_path: Path) -> None:
    code = (
        "import sys; from mlops_assets.lib.features.feature_check import check_features as check;"
        "from mlops_assets.lib.spec.specs import load_documents;"
        "[check(*found) for found in load_documents().values()];"
        "print([m for m in ('sqlglot', 'duckdb') if m in sys.modules])"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
