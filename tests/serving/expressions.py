"""Makes random feature expressions of every form that the compiler knows, and of some others.

The grammar knows kinds, not types: DuckDB's binder has the last word on what fits together.
"""

from collections.abc import Callable, Sequence
from typing import Any

from serving.bundle.columns import Column

#: One of several; `random.choice`, or hypothesis' draw.
Pick = Callable[[Sequence[Any]], Any]

COLUMNS = [
    Column(name="a", type="integer", nullable=True, minimum=-20, maximum=120),
    Column(name="b", type="integer", nullable=True),
    Column(name="c", type="integer", minimum=0, maximum=6),
    Column(name="x", type="number", nullable=True),
    Column(name="y", type="number", minimum=-3, maximum=1000),
    Column(name="p", type="boolean", nullable=True),
    Column(name="q", type="boolean"),
    Column(name="k", type="category", allowed=[0, 1, 2, 3], nullable=True),
    Column(name="Letter", type="category", allowed=["a", "b", "ab", "Ä"], nullable=True),
    Column(name="t", type="text", nullable=True),
    Column(name="ts", type="timestamp", nullable=True),
    Column(name="since", type="timestamp"),
]
_INTEGERS = ["0", "1", "2", "3", "-1", "5", "10", "100", "2147483647", "4294967296", "1e3::bigint"]
_NUMBERS = [
    *_INTEGERS, "0.5", "1.5", "2.50", "-0.25", "0.1", "12.0", "1000.0", "0.333", "1e0", "1e-3",
    "2.5e0", "1e30", "-0.0", "-0.0::double", "0.1::float", "3::float", "16777217::float", "null",
    "1.005::decimal(9,3)", "7::tinyint", "300::smallint", "1::utinyint", "9::hugeint",
]  # fmt: skip
_TEXTS = ["'a'", "'b'", "'ab'", "'Ä'", "''", "'it''s'", "' '"]
_NUMBER_TYPES = [
    "float", "double", "bigint", "integer", "smallint", "tinyint", "utinyint", "uinteger",
    "hugeint", "decimal(10,2)", "decimal(18,4)", "decimal(38,10)", "decimal(4,1)",
]  # fmt: skip
_OF_ONE = [
    "abs", "sign", "round", "floor", "ceil", "trunc", "ln", "log", "log10", "log2", "exp", "sqrt",
    "cbrt", "sin", "cos", "tan", "atan", "-", "+", "isnan", "isinf", "isfinite",
]  # fmt: skip
_OF_TWO = ["+", "-", "*", "/", "//", "%", "^", "**"]
_COMPARED = ["=", "<>", "<", "<=", ">", ">=", "is distinct from", "is not distinct from"]
_PARTS = [
    "year", "quarter", "month", "week", "day", "dow", "isodow", "doy", "hour", "minute", "second",
    "epoch",
]  # fmt: skip


def number(pick: Pick, depth: int) -> str:
    """An expression of a number."""
    if depth <= 0:
        return str(pick(["a", "b", "c", "x", "y", "k", "A", pick(_NUMBERS), pick(_NUMBERS)]))
    form = pick(range(16))
    one = number(pick, depth - 1)
    if form <= 4:
        return f"({one} {pick(_OF_TWO)} {number(pick, depth - 1)})"
    if form <= 6:
        return f"{pick(_OF_ONE)}({one})"
    if form == 7:
        return f"round({one}, {pick([0, 1, 2, 3, -1, -2])})"
    if form == 8:
        return f"{pick(['greatest', 'least', 'coalesce'])}({one}, {number(pick, depth - 1)})"
    if form == 9:
        return f"{pick(['cast', 'try_cast'])}({one} as {pick(_NUMBER_TYPES)})"
    if form == 10:
        return f"{truth(pick, depth - 1)}::{pick(_NUMBER_TYPES)}"
    if form == 11:
        other = pick(["", f" else {number(pick, depth - 1)}"])
        second = f"when {truth(pick, depth - 1)} then {number(pick, depth - 1)}"
        return f"case when {truth(pick, depth - 1)} then {one} {pick(['', second])}{other} end"
    if form == 12:
        choices = f"when {pick(_NUMBERS)} then {pick(_NUMBERS)} when {pick(_NUMBERS)} then {one}"
        return f"case {number(pick, depth - 1)} {choices} else {number(pick, 0)} end"
    if form == 13:
        part = pick(_PARTS)
        return str(pick([f"extract({part} from {pick(['ts', 'since'])})",
                         f"date_part('{part}', {pick(['ts', 'since'])})"]))  # fmt: skip
    if form == 14:
        return str(pick([f"length({text(pick, depth - 1)})", f"nullif({one}, {pick(_NUMBERS)})"]))
    unit = pick(["day", "month", "year", "hour"])
    end = pick(["ts", "since", "timestamp '2020-02-29 12:00:00'"])
    return f"date_diff('{unit}', since, {end})"


def truth(pick: Pick, depth: int) -> str:
    """An expression of true, false or unknown."""
    if depth <= 0:
        return str(pick(["p", "q", "true", "false", "null::boolean", "p is null", "x is not null"]))
    form = pick(range(11))
    one = number(pick, depth - 1)
    if form <= 2:
        return f"({one} {pick(_COMPARED)} {number(pick, depth - 1)})"
    if form == 3:
        return f"({text(pick, depth - 1)} {pick(_COMPARED)} {text(pick, depth - 1)})"
    if form == 4:
        first = truth(pick, depth - 1)
        return f"({first} {pick(['and', 'or', '=', '<'])} {truth(pick, depth - 1)})"
    if form == 5:
        return f"(not {truth(pick, depth - 1)})"
    if form == 6:
        choices = ", ".join(pick([*_NUMBERS, "c"]) for _ in range(pick([1, 2, 3, 9])))
        return f"({one} {pick(['in', 'not in'])} ({choices}))"
    if form == 7:
        low, high = number(pick, 0), number(pick, depth - 1)
        return f"({one} {pick(['between', 'not between'])} {low} and {high})"
    if form == 8:
        pattern = pick(["a%", "%b", "%a%", "a", "a_%", "%", ""])
        return f"({text(pick, depth - 1)} {pick(['like', 'not like', 'ilike'])} '{pattern}')"
    if form == 9:
        return str(pick([
            f"starts_with({text(pick, 0)}, {pick(_TEXTS)})", f"contains(t, {pick(_TEXTS)})",
            f"ends_with({text(pick, 0)}, {pick(_TEXTS)})", "Letter in ('a', 'b')",
            "Letter not in ('a', null)", "ts > since", "ts < timestamp '2000-01-01 00:00:00'",
            "ts::date = date '2000-02-29'", "p is true", "p is not false",
        ]))  # fmt: skip
    return f"({one} is {pick(['null', 'not null'])})"


def text(pick: Pick, depth: int) -> str:
    """An expression of a text."""
    if depth <= 0:
        return str(pick(["t", "Letter", "LETTER", pick(_TEXTS)]))
    one = text(pick, depth - 1)
    return str(pick([
        one, f"{pick(['lower', 'upper'])}({one})", f"coalesce({one}, {pick(_TEXTS)})",
        f"case when {truth(pick, depth - 1)} then {one} else {pick(_TEXTS)} end", f"trim({one})",
    ]))  # fmt: skip
