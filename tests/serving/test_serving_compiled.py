"""The compiled feature SQL: DuckDB's answer bit by bit, or DuckDB itself."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.synthetic import ChurnOptions, write
from serving.bundle.columns import Column
from serving.bundle.compiler.code import Rule, Writer
from serving.bundle.compiler.compiled import Compiled
from serving.bundle.compiler.operations import RULES
from serving.bundle.compiler.plan import Node, UnsupportedError, bound
from serving.bundle.compiler.proof import made_rows
from serving.bundle.compiler.values import Value
from serving.bundle.features import FeatureError, FeatureRunner
from serving.bundle.loaded import Bundle
from tests.lib.helpers import validated
from tests.platform import DATA
from tests.serving.expressions import COLUMNS, number, truth
from tests.serving.shipped import USE_CASES, shipped

TYPES = {column.name: column.duckdb_type for column in COLUMNS}
ROW: dict[str, Any] = {
    "a": 7, "b": -3, "c": 2, "x": 2.5, "y": -0.0, "p": None, "q": True, "k": 1, "Letter": "ab",
    "t": "naïve", "ts": "2024-02-29 23:59:59.500000", "since": "1969-12-31 00:00:00",
}  # fmt: skip
NULLS = {c.name: None if c.nullable else ROW[c.name] for c in COLUMNS}
ROWS = [ROW, NULLS, *made_rows(COLUMNS, [0.5, 1.5, 2.5, 5, 12, 100, "a", "ab"], 200, seed=1)]


def statement(expressions: Sequence[str]) -> str:
    made = ", ".join(f"{expression} as f{i}" for i, expression in enumerate(expressions))
    return f"select row_id, {made} from input_rows"


def runner(*expressions: str) -> FeatureRunner:
    return FeatureRunner(statement(expressions), TYPES, [f"f{i}" for i in range(len(expressions))])


def nodes(*expressions: str) -> list[Node]:
    names = [f"f{i}" for i in range(len(expressions))]
    return bound(statement(expressions), TYPES, names)


def compiled(*expressions: str) -> Compiled:
    return Compiled(nodes(*expressions), COLUMNS)


def same(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.bool_]:
    bits: NDArray[np.bool_] = found.view(np.int32) == expected.view(np.int32)
    return bits | (np.isnan(found) & np.isnan(expected))


class Oracle:
    """DuckDB's answers on `ROWS`, with everything switched on that it has."""

    def __init__(self) -> None:
        """Put the rows into a table."""
        self._database = duckdb.connect(":memory:", config={"threads": 1})
        names = ", ".join(f'"{name}" {kind}' for name, kind in TYPES.items())
        self._database.execute(f"create table input_rows (number bigint, row_id varchar, {names})")
        places = ", ".join("?" * (len(TYPES) + 2))
        rows = [[i, str(i), *(row[name] for name in TYPES)] for i, row in enumerate(ROWS)]
        self._database.executemany(f"insert into input_rows values ({places})", rows)

    def features(self, expression: str, numbers: Sequence[int]) -> NDArray[np.float32]:
        """The values of an expression for rows.

        Raises:
            duckdb.Error: It is no expression, or a row cannot be computed.
        """
        chosen = ", ".join(map(str, [-1, *numbers]))
        found = self._database.execute(
            f"select cast({expression} as float) from input_rows where number in ({chosen}) "
            "order by number"
        ).fetchall()
        return np.array([value for (value,) in found], dtype=np.float32)

    def is_known(self, expression: str) -> bool:
        """Whether the binder accepts an expression."""
        try:
            self._database.execute(f"describe select cast({expression} as float) from input_rows")
        except duckdb.Error:
            return False
        return True

    def check(self, expression: str, node: Node) -> int:
        """Compare an expression with its compiled form; the number of rows that it answered.

        Raises:
            UnsupportedError: It is left to DuckDB.
        """
        answers = Compiled([node], COLUMNS).run(ROWS)
        numbers = [i for i, answer in enumerate(answers) if answer is not None]
        found = np.frombuffer(b"".join(filter(None, answers)), np.float32)
        expected = self.features(expression, numbers)
        wrong = [
            (ROWS[i], one, other)
            for i, one, other, equal in zip(
                numbers, found, expected, same(found, expected), strict=True
            )
            if not equal
        ]
        assert not wrong, (expression, wrong[0])
        return len(numbers)


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle()


def outcome(made: FeatureRunner, rows: Sequence[Mapping[str, Any]]) -> object:
    """The features, with NaN as None, or the refusal."""
    try:
        return [[None if np.isnan(v) else v for v in row] for row in made.run(rows).tolist()]
    except FeatureError as error:
        return str(error)


@pytest.mark.parametrize("use_case", USE_CASES)
def test_shipped_features_on_thousands_of_made_rows(use_case: str) -> None:
    sql, contract, features = shipped(use_case)
    by_duckdb, fast = (FeatureRunner(sql, contract.duckdb_types, features) for _ in range(2))
    fast.compile(contract.columns, made_rows(contract.columns, [], 20))
    assert fast.not_compiled is None
    assert fast._compiled is not None
    rows = made_rows(contract.columns, fast._compiled.constants, 3000, seed=5)
    assert [contract.validate_row(row) for row in rows] == rows
    assert None not in fast._compiled.run(rows)
    assert same(fast.run(rows), by_duckdb.run(rows)).all()


@pytest.mark.parametrize("use_case", USE_CASES)
def test_shipped_features_on_the_real_rows(use_case: str, tmp_path: Path) -> None:
    sql, contract, features = shipped(use_case)
    path = DATA / "heart_cleveland.csv"
    if use_case == "churn":
        path = tmp_path / "churn.csv"
        write(ChurnOptions(rows=1500), path)
    batch = validated(load_spec(use_case).contract, path.read_text(encoding="utf-8"), tmp_path)
    rows = batch.valid.select(list(contract.duckdb_types)).to_dicts()
    assert len(rows) >= 300
    by_duckdb, fast = (FeatureRunner(sql, contract.duckdb_types, features) for _ in range(2))
    fast.compile(contract.columns, rows[:50])
    assert fast._compiled is not None
    assert None not in fast._compiled.run(rows)
    assert same(fast.run(rows), by_duckdb.run(rows)).all()


@settings(derandomize=True, deadline=None, max_examples=50, database=None)
@given(seed=st.integers(0, 2**32), depth=st.integers(1, 4))
def test_random_expressions_are_equal_or_left_to_duckdb(
    seed: int, depth: int, oracle: Oracle
) -> None:
    pick = Random(seed).choice
    made = [pick([number, number, truth])(pick, depth) for _ in range(8)]
    known = [expression for expression in made if oracle.is_known(expression)]
    with contextlib.suppress(UnsupportedError):
        for expression, node in zip(known, nodes(*known), strict=True):
            with contextlib.suppress(UnsupportedError):
                oracle.check(expression, node)


# What Python, or a reader with other rules, would do otherwise.
TRAPS = [
    "a + 0.5", "a * 0.1", "(a + 0.5) * 0.5", "a / 2", "a / 2.0", "b // 3", "-7 // c", "b % 3",
    "x % 2.5", "-7.5 % 2", "a::float / 3", "a::float * 0.1", "x::float * x::float", "b::float",
    "(x::float)::double - x", "0.1::float + c", "c::decimal(10,2) / 3", "(c * 0.15)::float",
    "x::bigint", "y::smallint", "(c * 0.5)::int", "(-c * 0.5)::int", "(c / 2)::int", "q::int",
    "c::boolean", "round(x)", "round(-c / 2)", "round(y, 2)", "round(x, -1)", "round(c * 0.25, 1)",
    "round(b, -1)", "floor(-0.5 * c)", "ceil(y)", "ceil(c * -0.25)", "trunc(y)", "floor(b / 7)",
    "sign(y)", "abs(-y)", "-y", "0.0 - y", "y + 0", "y * 1", "greatest(y, 0)", "least(y, -0.0)",
    "greatest(0, y)", "least(a, null, 5)", "greatest(a, x)", "coalesce(a, 0.5)", "coalesce(p, q)",
    "coalesce(k, a, -1) + 1", "case when p then 1 else 2.5 end", "case c when 1 then 10 end",
    "case when x > 1 then 1 when x > 0.5 then 0.5 end", "a in (1, 7, null)", "a not in (1, null)",
    "a in (1.5, 7)", "p and q", "p or q", "p and false", "not p", "p = q", "p < q", "p is true",
    "a between null and 3", "a not between 1 and x", "a = 7.0", "x = 0.1", "x::float = 0.1",
    "a is distinct from k", "Letter < 'b'", "Letter >= 'Ä'", "letter = 'ab'", "t like 'a%'",
    "t not like '%b'", "contains(t, '☃')", "length(t)", "lower(Letter) = 'ab'", "t = 'it''s'",
    "input_rows.a * 2", "exp(-c / 12.0)", "sqrt(abs(x))", "ln(c + 1)", "log(c + 1)", "pow(c, 1.5)",
    "pow(x, 2)", "2 ** c", "-c ^ 2", "atan2(y, c)", "nullif(c, 0)", "x / nullif(y, 0)", "1 - - c",
    "extract(year from ts)", "date_part('dow', since)", "week(ts)", "quarter(ts)", "epoch(ts)",
    "extract(doy from ts)", "date_diff('day', since, ts)", "date_diff('month', since, ts)",
    "date_diff('hour', ts, since)", "ts > timestamp '2000-01-01 00:00:00'",
    "ts::date = '2024-02-29'", "A + K", "a::hugeint * b", "a::utinyint", "isnan(x)", "isfinite(y)",
]  # fmt: skip


def test_traps(oracle: Oracle) -> None:
    for trap, node in zip(TRAPS, nodes(*TRAPS), strict=True):
        # Not all rows are left to DuckDB: the trap is passed, not avoided.
        assert oracle.check(trap, node) > 20, trap


def test_alias_stands_for_its_expression_unless_a_column_has_the_name() -> None:
    expressions = ["a / 3", "f0 * 2", "(x > 1)::float", "f2 + 1", "A + F1"]
    by_duckdb, fast = runner(*expressions), runner(*expressions)
    fast.compile(COLUMNS, ROWS)
    assert fast.not_compiled is None
    rows = [row for row in ROWS if row["a"] is None or abs(row["a"]) < 1000]
    assert same(fast.run(rows), by_duckdb.run(rows)).all()


@pytest.mark.parametrize(
    ("expression", "changes"),
    [
        ("b + 1", {"b": 2**63 - 1}),
        ("b * b", {"b": 2**33}),
        ("a / (c - 2)", {}),
        ("a // (c - 2)", {}),
        ("a % (c - 2)", {}),
        ("ln(c - 2)", {}),
        ("ln(-x)", {}),
        ("sqrt(-x)", {}),
        ("pow(x - 2.5, -1)", {}),
        ("exp(x * 1000)", {}),
        ("x * x", {"x": 1e200}),
        ("x", {"x": 1e39}),
        ("x::tinyint", {"x": 128.0}),
        ("try_cast(x as tinyint)", {"x": 128.0}),
        ("(a * c)::tinyint", {"a": 100, "c": 6}),
        ("lower(t) = 'NAÏVE'", {}),
        ("b::float", {"b": True}),
        ("a", {"a": 7.0}),
        ("y", {"y": 1}),
        ("q", {"q": 1}),
        ("t = ''", {"t": 3}),
        ("hour(ts)", {"ts": "2024-02-29T12:00:00"}),
        ("hour(ts)", {"ts": "2024-02-29 12:00+02"}),
    ],
)
def test_row_that_only_duckdb_can_answer(expression: str, changes: dict[str, Any]) -> None:
    row = {**ROW, **changes}
    assert compiled(expression).run([row]) == [None]
    by_duckdb, fast = runner(expression), runner(expression)
    fast._compiled = compiled(expression)
    assert outcome(fast, [row, row]) == outcome(by_duckdb, [row, row])


def test_rows_handed_over_keep_their_place() -> None:
    fast = runner("b", "x")
    fast._compiled = compiled("b", "x")
    rows = [{**ROW, "b": b} for b in (1, 2**60, None, -(2**62), 5)]
    values = fast.run(rows)
    assert fast._compiled.run(rows).count(None) == 2
    assert same(values, runner("b", "x").run(rows)).all()
    assert values.flags.writeable
    assert values.dtype == np.float32


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("length(trim(t))", r"trim\(VARCHAR\)"),
        ("t like 'a_b%'", "~~"),
        ("t::double", r"CAST\(VARCHAR AS DOUBLE\)"),
        ("x // 2", r"//\(DOUBLE, DOUBLE\)"),
        ("x::decimal(9,2)", r"CAST\(DOUBLE AS DECIMAL\(9,2\)\)"),
        ("a in (c, 1)", "COMPARE_IN"),
        ("170141183460469231731687303715884105727 - a", "the constant 1701"),
        ("a + ln(0)", "plan of another form|constant -inf"),
        ("x / 1e301", "constant 1e"),
        ("case " + " ".join(f"when a = {i} then {i}" for i in range(70)) + " end", "nested more"),
    ],
)
def test_statement_that_is_left_to_duckdb(expression: str, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        compiled(expression)
    made = runner(expression, "a")
    made.compile(COLUMNS, [ROW])
    assert made.not_compiled is not None
    # DuckDB still computes it, or says itself why it cannot.
    row = {**ROW, "t": "1"}
    if "ln" not in expression:
        assert made.run([row]).shape == (1, 2)


def _at_least(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    return RULES["COMPARE_GREATERTHAN"](writer, Node("COMPARE_GREATERTHAN", node.type), args)


def _half_even(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    return writer.let(f"float(round({args[0].text}))", node.type, args, -1e300, 1e300)


def _floored(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    code = f"{args[0].text} // {args[1].text}"
    return writer.let(code, node.type, args, -(2**50), 2**50)


def _null_is_false(writer: Writer, node: Node, args: Sequence[Value]) -> Value:
    return writer.let(f"bool({args[0].text} and {args[1].text})", node.type)


@pytest.mark.parametrize(
    ("operation", "rule", "expression"),
    [
        ("COMPARE_GREATERTHANOREQUALTO", _at_least, "a >= 55"),
        ("COMPARE_GREATERTHANOREQUALTO", _at_least, "y >= 0.3"),
        ("round", _half_even, "round(x)"),
        ("//", _floored, "a // 3"),
        ("CONJUNCTION_AND", _null_is_false, "p and x > 1"),
        ("least", RULES["greatest"], "least(c, 3)"),
        ("/", RULES["*"], "y / 7"),
        ("ln", RULES["abs"], "ln(c + 1)"),
        ("year", RULES["hour"], "year(ts)"),
    ],
)
def test_wrong_translation_is_caught_before_it_answers(
    operation: str, rule: Rule, expression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, operation, rule)
    made = runner(expression)
    made.compile(COLUMNS, [ROW])
    assert made.not_compiled is not None
    assert "feature 'f0' of a trial row: " in made.not_compiled
    assert same(made.run([ROW]), runner(expression).run([ROW])).all()


def test_function_that_hands_most_rows_over_is_not_used() -> None:
    made = runner("x")
    made.compile(COLUMNS, [{**ROW, "x": -1e38 * 2}, ROW, {**ROW, "x": 3e38}])
    assert made.not_compiled == "2 of 3 golden rows hold values that are left to DuckDB"


def test_no_text_of_the_statement_becomes_code() -> None:
    name = "x'] or __import__('os').abort() #\n\" \\ ☃"
    quoted = '"' + name.replace('"', '""') + '"'
    column = Column(name=name, type="text", nullable=True)
    texts = ["') or 1/0 #", '"', "\\", "\n    return None", "it's", "☃"]
    listed = ", ".join("'" + each.replace("'", "''") + "'" for each in texts)
    sql = f'select row_id, {quoted} in ({listed}) as "def" from input_rows'
    made = FeatureRunner(sql, {name: "VARCHAR"}, ["def"])
    made.compile([column], [{name: texts[0]}])
    assert made.not_compiled is None
    assert made._compiled is not None
    assert made._compiled.source.isascii()
    assert made._compiled._function.__globals__["__builtins__"] == {}
    rows = [{name: each} for each in [*texts, "other", None]]
    assert same(made.run(rows), FeatureRunner(sql, {name: "VARCHAR"}, ["def"]).run(rows)).all()


def test_loaded_bundle_is_compiled(bundle: Bundle) -> None:
    assert bundle.not_compiled is None
