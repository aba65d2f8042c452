import threading
from typing import Any

import numpy as np
import pytest

from serving.bundle import features
from serving.bundle.features import FeatureError, FeatureRunner
from serving.bundle.sql_check import FeatureSqlError, check_sql

COLUMNS = {"a": "BIGINT", "b": "DOUBLE", "t": "VARCHAR", "flag": "BOOLEAN", "ts": "TIMESTAMP"}
NULLS: dict[str, Any] = dict.fromkeys(COLUMNS)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("select row_id, a from read_csv('/etc/passwd')", "input_rows and nothing else"),
        ("select row_id, a from 'x.parquet'", "input_rows"),
        ("select row_id, a from other", "input_rows and nothing else"),
        ("select row_id, a from input_rows, input_rows as again", "JOIN"),
        ("select row_id, a from input_rows join other using (a)", "JOIN"),
        ("select row_id, a from main.input_rows", "as it is"),
        ("select row_id, x as a from input_rows as t(row_id, x)", "as it is"),
        ("select row_id, a from input_rows tablesample 10%", "as it is"),
        ("select row_id, a from input_rows()", "input_rows"),
        ("select row_id, 1 as a", "input_rows"),
        ("attach 'x.db'", "expected a SELECT"),
        ("insert into input_rows values (1)", "expected a SELECT"),
        ("create table x as select 1", "expected a SELECT"),
        ("copy (select 1) to '/tmp/x'", "expected a SELECT"),
        ("set threads = 4", "expected a SELECT"),
        ("install httpfs", "expected a SELECT"),
        ("from input_rows", r"needs a name"),
        ("select row_id, a from input_rows; select 1", "one statement, found 2"),
        ("select row_id, a from input_rows; drop table x", "one statement, found 2"),
        ("", "features.sql"),
        ("-- nothing", "features.sql"),
        ("select row_id, a from", "cannot be parsed"),
        ("selec row_id", "features.sql"),
        ("with c as (select 1) select row_id, a from input_rows", "WITH"),
        ("select row_id, a from input_rows where a > 1", "WHERE"),
        ("select row_id, a from input_rows order by a", "ORDER"),
        ("select row_id, a from input_rows limit 1", "LIMIT"),
        ("select distinct row_id, a from input_rows", "DISTINCT"),
        ("select row_id, a from input_rows group by all", "GROUP"),
        ("select row_id, a from input_rows qualify a > 1", "QUALIFY"),
        ("select row_id, a from input_rows union all select row_id, a from input_rows", "SELECT"),
        ("select row_id, sum(b) over () as a from input_rows", "window function"),
        ("select row_id, lag(b) over (order by a) as a from input_rows", "window function"),
        ("select row_id, max(b) as a from input_rows", "aggregate"),
        ("select row_id, count(*) as a from input_rows", "aggregate"),
        ("select row_id, median(b) as a from input_rows", "aggregate"),
        ("select row_id, first(b) as a from input_rows", "aggregate"),
        ("select row_id, any_value(b) as a from input_rows", "not on the list"),
        ("select row_id, (select max(a) from input_rows) as a from input_rows", "subquery"),
        ("select row_id, a in (select 1) as a from input_rows", "subquery"),
        ("select row_id, exists(select 1) as a from input_rows", "subquery"),
        ("select row_id, unnest([1, 2]) as a from input_rows", "not on the list"),
        ("select row_id, now() as a from input_rows", "not on the list"),
        ("select row_id, current_date as a from input_rows", "not on the list"),
        ("select row_id, current_timestamp as a from input_rows", "not on the list"),
        ("select row_id, localtimestamp as a from input_rows", "not on the list"),
        ("select row_id, today() as a from input_rows", "not on the list"),
        ("select row_id, age(ts) as a from input_rows", "not on the list"),
        ("select row_id, random() as a from input_rows", "not on the list"),
        ("select row_id, uuid() as a from input_rows", "not on the list"),
        ("select row_id, nextval('s') as a from input_rows", "not on the list"),
        ("select row_id, getenv('HOME') as a from input_rows", "not on the list"),
        ("select row_id, current_setting('threads') as a from input_rows", "not on the list"),
        ("select row_id, repeat(t, 1000000000) as a from input_rows", "not on the list"),
        ("select row_id, list_transform([a], x -> x) as a from input_rows", "not on the list"),
        ("select row_id, read_text('/etc/passwd') as a from input_rows", "not on the list"),
        ("select row_id, ts::timestamptz as a from input_rows", "not a type"),
        ("select row_id, ? as a from input_rows", "not on the list"),
        ("select row_id, $1 as a from input_rows", "not on the list"),
        ("select row_id, input_rows as a from input_rows", "not a column"),
        ("select row_id, secret as a from input_rows", "not a column"),
        ("select * from input_rows", "needs a name"),
        ("select input_rows.* from input_rows", "needs a name"),
        ("select row_id, columns(*) from input_rows", "needs a name"),
        ("select row_id, a + 1 from input_rows", "needs a name"),
        ("select a from input_rows", "row_id and each feature once"),
        ("select row_id, a, b as A from input_rows", "row_id and each feature once"),
        ("select 'x' as row_id, a from input_rows", "passed on unchanged"),
    ],
)
def test_refused(sql: str, reason: str) -> None:
    with pytest.raises(FeatureSqlError, match=reason):
        check_sql(sql, COLUMNS)


@pytest.mark.parametrize(
    ("expression", "row", "expected"),
    [
        ("a", {"a": 2**53}, float(np.float32(2**53))),
        ("a / 2", {"a": 3}, 1.5),
        ("a // 2", {"a": 3}, 1.0),
        ("a % 2", {"a": 3}, 1.0),
        ("b * 0.1", {"b": 3.0}, 0.3),
        ("a is null", {}, 1.0),
        ("a", {}, None),
        ("case when a between 1 and 3 then 1 else 0 end", {"a": 3}, 1.0),
        ("coalesce(nullif(a, 9), -1)", {"a": 9}, -1.0),
        ("a in (1, 2) and not flag", {"a": 2, "flag": False}, 1.0),
        ("ln(exp(b))", {"b": 0.5}, 0.5),
        ("greatest(a, 5) - least(a, 5)", {"a": 2}, 3.0),
        ("t ilike 'X%' or starts_with(t, 'q')", {"t": "xy"}, 1.0),
        ("length(trim(t) || t)", {"t": " it's '' \\ "}, 20.0),
        ("try_cast(t as double)", {"t": "1.5"}, 1.5),
        ("round(sqrt(abs(b)) ** 2, 1)", {"b": -4.0}, 4.0),
        ("year(ts) + extract(month from ts)", {"ts": "2024-02-29 01:02:03"}, 2026.0),
        ("date_diff('day', date '2024-01-01', ts)", {"ts": "2024-02-29 01:02:03"}, 59.0),
        ("epoch(ts)", {"ts": "1970-01-01 00:01:00"}, 60.0),
        ("t is distinct from 'a'", {"t": None}, 1.0),
        ('"a" + i.a', {"a": 1}, 2.0),
    ],
)
def test_allowed_and_computed(expression: str, row: dict[str, Any], expected: float | None) -> None:
    sql = f'SELECT row_id, {expression} AS "f 1" FROM Input_Rows AS i -- the end'
    (value,) = FeatureRunner(sql, COLUMNS, ["f 1"]).run([{**NULLS, **row}])[0]
    wanted = np.nan if expected is None else expected
    assert value == pytest.approx(wanted, rel=1e-6, nan_ok=True)


def test_alias_of_the_same_select_and_trailing_semicolon() -> None:
    sql = "select row_id, a + 1 as c, c * 2 as d from input_rows;"
    values = FeatureRunner(sql, COLUMNS, ["d", "c"]).run([{**NULLS, "a": 1}])
    assert values.tolist() == [[4.0, 2.0]]
    assert values.dtype == np.float32


def test_names_may_hold_any_character() -> None:
    name = "Total 'Charges' \"net\" [$1] ☃"
    quoted = name.replace('"', '""')
    sql = f'select row_id, "{quoted}" * 2 as "{quoted}" from input_rows'
    values = FeatureRunner(sql, {name: "BIGINT"}, [name]).run([{name: 4}])
    assert values.tolist() == [[8.0]]


def test_rows_keep_their_order() -> None:
    runner = FeatureRunner("select row_id, a from input_rows", COLUMNS, ["a"])
    numbers = np.random.default_rng(0).permutation(3000).tolist()
    values = runner.run([{**NULLS, "a": number} for number in numbers])
    assert values[:, 0].tolist() == numbers


@pytest.mark.parametrize(
    ("sql", "features", "message"),
    [
        ("select row_id, a from input_rows", ["a", "c"], r"missing \['c'\]"),
        ("select row_id, a, b from input_rows", ["a"], r"not in the manifest \['b'\]"),
        ("select row_id, t from input_rows", ["t"], "'t' is VARCHAR, expected a number"),
        ("select row_id, ts from input_rows", ["ts"], "'ts' is TIMESTAMP, expected a number"),
        ("select row_id, a + t as c from input_rows", ["c"], "features.sql"),
    ],
)
def test_features_differ_from_the_manifest(sql: str, features: list[str], message: str) -> None:
    with pytest.raises(FeatureSqlError, match=message):
        FeatureRunner(sql, COLUMNS, features)


@pytest.mark.parametrize(
    ("expression", "row"),
    [
        ("b", {"b": 1e39}),
        ("ln(b)", {"b": 0.0}),
        ("a + 1", {"a": 2**63 - 1}),
        ("t::double", {"t": "x"}),
    ],
)
def test_row_that_cannot_be_computed(expression: str, row: dict[str, Any]) -> None:
    runner = FeatureRunner(f"select row_id, {expression} as c from input_rows", COLUMNS, ["c"])
    with pytest.raises(FeatureError):
        runner.run([{**NULLS, **row}])
    # The failure leaves nothing behind.
    assert np.isfinite(runner.run([{**NULLS, "a": 1, "b": 1.0, "t": "1"}])).all()


def test_database_is_locked_down() -> None:
    runner = FeatureRunner("select row_id, a from input_rows", COLUMNS, ["a"])
    cursor = runner._database.cursor()
    for statement in (
        "SELECT * FROM read_text('/etc/passwd')",
        "ATTACH '/tmp/x.db'",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "SET enable_external_access = true",
        "SET threads = 8",
        "INSTALL httpfs",
    ):
        with pytest.raises(Exception, match=r"disabled by configuration|locked|Cannot change"):
            cursor.execute(statement)


def test_several_threads_share_one_runner() -> None:
    runner = FeatureRunner("select row_id, a, -a as c from input_rows", COLUMNS, ["a", "c"])
    wrong: list[Any] = []
    start = threading.Barrier(8)

    def work(offset: int) -> None:
        start.wait()
        for number in range(offset, offset + 60):
            values = runner.run([{**NULLS, "a": number}, {**NULLS, "a": number + 1}])
            if values.tolist() != [[number, -number], [number + 1, -number - 1]]:
                wrong.append(values)

    threads = [threading.Thread(target=work, args=(1000 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert 1 <= len(runner._idle) <= 9


def test_a_query_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_MOST_SECONDS", 0.05)
    grown = "note"
    for letter in "abcdefgh":
        grown = f"replace({grown}, '{letter}', '{letter}{letter}{letter}')"
    sql = f"select row_id, length({grown}) as found from input_rows"
    runner = FeatureRunner(sql, {"note": "VARCHAR"}, ["found"])
    rows = [{"note": "abcdefgh" * 20_000}] * 60
    with pytest.raises(FeatureError, match=r"took longer than 0\.05 s"):
        runner.run(rows)
    # The same runner goes on.
    monkeypatch.setattr(features, "_MOST_SECONDS", 60.0)
    assert runner.run([{"note": "ab"}]).tolist() == [[6.0]]
