"""The proof at load: the compiled function and DuckDB agree, bit by bit, or it is not used.

Rows are made from the contract: limits, nulls, every allowed value, what the SQL compares with and
its neighbours, values drawn within the limits and far out where there are none. Seeded, so that a
bundle is judged the same everywhere and every time.
"""

import math
import random
import string
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.bundle.columns import Column
from serving.bundle.compiler.compiled import Compiled
from serving.bundle.compiler.plan import UnsupportedError

Row = Mapping[str, Any]

_ROWS: Final = 400
_SEED: Final = 20
# How often a value is a special one: a limit, a null, a constant of the SQL.
_SPECIAL: Final = 0.5
# More of these in DuckDB's hands, and compiling has brought nothing but another way to err.
_MOST_HANDED_OVER: Final = 0.5
_INTEGERS: Final = (-(2**63), -(2**53) - 1, -(2**31) - 1, -1, 0, 1, 2, 2**31, 2**53 + 1, 2**63 - 1)
_DOUBLES: Final = (
    -1e308, -1e39, -1e30, -2.5, -1.0, -0.5, -1e-300, -0.0, 0.0, 5e-324, 0.1, 0.5, 1.0, 1.5, 2.5,
    16777217.0, 1e15, 1e30, 1e39, 1e308,
)  # fmt: skip
_TEXTS: Final = ("", " ", "a", "A", "naïve ☃", "it's", "0", "a\nb")
_TIMES: Final = (
    "1969-12-31 23:59:59.999999", "1970-01-01 00:00:00", "2000-02-29 12:30:00",
    "2024-12-30 00:00:00", "2023-01-01 23:59:59.500000", "0001-01-01 00:00:00",
    "9999-12-31 23:59:59.999999",
)  # fmt: skip


def prove(
    compiled: Compiled,
    reference: Callable[[Sequence[Row]], NDArray[np.float32]],
    features: Sequence[str],
    columns: Sequence[Column],
    golden: Sequence[Row],
) -> None:
    """Compare the compiled function with DuckDB on the golden rows and on rows made here.

    Args:
        compiled: The function.
        reference: DuckDB's features of rows.
        features: Their names in order.
        columns: The contract's columns.
        golden: Validated golden rows.

    Raises:
        UnsupportedError: They differ, DuckDB refuses a row that the function answers, or most of
            the golden rows would be handed over.
    """
    answers = compiled.run(golden)
    if answers.count(None) > _MOST_HANDED_OVER * len(golden):
        count = f"{answers.count(None)} of {len(golden)} golden rows"
        raise UnsupportedError(f"{count} hold values that are left to DuckDB")
    rows = [*golden, *made_rows(columns, compiled.constants)]
    answers += compiled.run(rows[len(golden) :])
    answered = [row for row, answer in zip(rows, answers, strict=True) if answer is not None]
    packed = b"".join(answer for answer in answers if answer is not None)
    try:
        expected = reference(answered)
    except ValueError as error:
        raise UnsupportedError(f"DuckDB refuses a row that was computed: {error}") from None
    found = np.frombuffer(packed, np.float32).reshape(expected.shape)
    same = (found.view(np.int32) == expected.view(np.int32)) | (
        np.isnan(found) & np.isnan(expected)
    )
    if not same.all():
        row, feature = np.argwhere(~same)[0]
        values = f"{found[row, feature].item()} instead of {expected[row, feature].item()}"
        raise UnsupportedError(f"feature {features[feature]!r} of a trial row: {values}")


def made_rows(
    columns: Sequence[Column], constants: Sequence[Any], count: int = _ROWS, seed: int = _SEED
) -> list[dict[str, Any]]:
    """Make rows that keep a contract, on its edges more often than not.

    Args:
        columns: The contract's columns.
        constants: The constants of the SQL.
        count: How many rows.
        seed: Gives the same rows again.
    """
    draw = random.Random(seed)
    special = {column.name: _special(column, constants) for column in columns}
    rows = []
    for number in range(count):
        row: dict[str, Any] = {}
        for column in columns:
            values = special[column.name]
            # Each special value at least once, then by chance.
            if number < len(values):
                row[column.name] = values[(number + len(row)) % len(values)]
            elif values and (column.allowed or draw.random() < _SPECIAL):
                row[column.name] = draw.choice(values)
            else:
                row[column.name] = _ordinary(column, draw)
        rows.append(row)
    return rows


def _special(column: Column, constants: Sequence[Any]) -> list[Any]:
    kind = column.value_type
    values: list[Any] = [None] if column.nullable else []
    if column.allowed:
        return values + [code for code in column.allowed if code not in column.missing_values]
    if kind == "boolean":
        return [*values, True, False]
    if kind == "timestamp":
        return [*values, *_TIMES]
    if kind == "text":
        texts = [each for each in constants if isinstance(each, str)]
        return [*values, *_TEXTS, *texts, *(f"{text}x" for text in texts), *map(str.upper, texts)]
    numbers = [each for each in constants if type(each) in (int, float) and abs(each) < 2**53]
    limits = [each for each in (column.minimum, column.maximum) if each is not None]
    if kind == "integer":
        whole = [*limits, *map(math.floor, numbers)]
        near: list[Any] = [n + d for n in whole for d in (-1, 0, 1)]
        return values + [int(n) for n in (*near, *_INTEGERS) if _allowed(column, n)]
    exact = [float(each) for each in (*limits, *numbers)]
    near = [
        x for n in exact for x in (math.nextafter(n, -math.inf), n, math.nextafter(n, math.inf))
    ]
    return values + [x for x in (*near, *_DOUBLES) if _allowed(column, x)]


def _allowed(column: Column, number: float) -> bool:
    low, high = column.minimum, column.maximum
    return (low is None or number >= low) and (high is None or number <= high)


def _ordinary(column: Column, draw: random.Random) -> Any:
    kind = column.value_type
    if kind == "boolean":
        return draw.random() < 0.5
    if kind == "timestamp":
        seconds, part = draw.randrange(4_000_000_000), draw.choice((0, draw.randrange(10**6)))
        time = datetime(1940, 1, 1) + timedelta(seconds=seconds, microseconds=part)
        return time.isoformat(sep=" ")
    if kind == "text":
        return "".join(draw.choices(string.ascii_letters + " é", k=draw.randrange(8)))
    low = -1000 if column.minimum is None else column.minimum
    high = max(low, 1000 if column.maximum is None else column.maximum)
    if kind == "integer":
        return draw.randint(math.ceil(low), max(math.ceil(low), math.floor(high)))
    # As people write numbers, and with every digit.
    number = draw.uniform(low, high)
    number = draw.choice((number, round(number, 1), round(number, 2)))
    return float(min(max(number, low), high))
