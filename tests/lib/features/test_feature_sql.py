import re

import pytest

from mlops_assets.lib.features.dbt_project import PROJECT_DIR
from mlops_assets.lib.features.feature_sql import INPUT_TABLE, portable
from mlops_assets.lib.spec.use_case import UseCase
from serving.bundle.sql_check import SOURCE, FeatureSqlError, check_sql

LOCATION = "read_parquet('/data/it''s here/batch.parquet')"


def heart_sql() -> str:
    """The features model of heart disease as dbt compiles it."""
    model = PROJECT_DIR / "models" / "heart_disease" / "heart_disease_features.sql"
    sql, count = re.subn(r"\{\{ source\([^}]*\) \}\}", LOCATION, model.read_text(encoding="utf-8"))
    assert count == 1
    assert "{{" not in sql
    return sql


def test_heart_disease_sql_becomes_portable(heart: UseCase) -> None:
    columns = [c.name for c in heart.contract.inputs]
    sql = portable(heart_sql(), LOCATION, columns)
    assert sql.endswith(f"from {INPUT_TABLE}\n")
    assert "read_parquet" not in sql
    names = check_sql(sql, columns)
    assert names[:3] == ["age", "male", "age_under_45"]
    assert len(names) == len(set(names))
    # Nothing else is changed.
    assert sql == heart_sql().strip().replace(LOCATION, INPUT_TABLE) + "\n"


def test_input_table_is_the_serving_apps() -> None:
    assert INPUT_TABLE == SOURCE


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("avg(a) over () as x", "a window function reads other rows"),
        ("row_number() over (order by a) as x", "a window function reads other rows"),
        ("lag(a) over (order by row_id) as x", "a window function reads other rows"),
        ("max(a) as x", "an aggregate reads other rows"),
        ("count(*) as x", "an aggregate reads other rows"),
        ("a - (select min(a) from input_rows) as x", "a subquery"),
        ("exists (select 1 from input_rows) as x", "a subquery"),
        ("now() as x", "not on the list of row-wise, repeatable"),
        ("current_timestamp as x", "not on the list of row-wise, repeatable"),
        ("current_date as x", "not on the list of row-wise, repeatable"),
        ("random() as x", "not on the list of row-wise, repeatable"),
        ("uuid() as x", "not on the list of row-wise, repeatable"),
        ("getenv('HOME') as x", "not on the list of row-wise, repeatable"),
        ("outcome as x", "not a column of the input"),
        ("a + 1", r"needs a name \(AS \.\.\.\)"),
        ("upper(row_id) as row_id", "row_id must be passed on unchanged"),
        ("a as x, a as X", "must select row_id and each feature once"),
    ],
)
def test_feature_that_is_not_row_wise_and_repeatable_is_refused(expression: str, said: str) -> None:
    with pytest.raises(FeatureSqlError, match=said):
        portable(f"select row_id, {expression} from {LOCATION}", LOCATION, ["a"])


@pytest.mark.parametrize(
    ("clause", "said"),
    [
        ("where a > 1", "WHERE is not allowed"),
        ("limit 10", "LIMIT is not allowed"),
        ("order by a", "ORDER is not allowed"),
        ("group by row_id, a", "GROUP is not allowed"),
        ("qualify row_number() over () = 1", "QUALIFY is not allowed"),
        (f"join {LOCATION} o using (row_id)", "JOINS is not allowed"),
        (f"union all select row_id, a from {LOCATION}", "expected a SELECT"),
        ("; drop table input_rows", "expected one statement, found 2"),
        ("using sample 10%", "SAMPLE is not allowed|must read input_rows as it is"),
    ],
)
def test_clause_that_drops_or_adds_rows_is_refused(clause: str, said: str) -> None:
    with pytest.raises(FeatureSqlError, match=said):
        portable(f"select row_id, a from {LOCATION} {clause}", LOCATION, ["a"])


@pytest.mark.parametrize(
    "compiled",
    [
        "select row_id, a from read_parquet('/other.parquet')",
        "select row_id, a from other_model",
        f"with x as (select * from {LOCATION}) select row_id, a from x",
        "select 1 as row_id",
        "",
        "not sql at all",
    ],
)
def test_anything_but_one_select_of_the_relation_is_refused(compiled: str) -> None:
    with pytest.raises(FeatureSqlError, match=r"features\.sql: "):
        portable(compiled, LOCATION, ["a"])
