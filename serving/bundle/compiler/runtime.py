"""What the generated code may call: a few functions of numbers, texts and times.

A function raises where its answer might not be DuckDB's; the row is then DuckDB's.
"""

import math
import struct
from datetime import date, datetime, timedelta
from typing import Any, Final

_SINGLE: Final = struct.Struct("f")
_EPOCH: Final = datetime(1970, 1, 1)
_MICROSECOND: Final = timedelta(microseconds=1)
_TEXT_LENGTHS: Final = (19, 26)


def single(number: float, pack: Any = _SINGLE.pack, unpack: Any = _SINGLE.unpack) -> float:
    """Round a double to the nearest FLOAT, half to even."""
    rounded: float = unpack(pack(number))[0]
    return rounded


def half_away(number: float) -> float:
    """Round a double as C's `round`: half away from zero; the sign of zero is kept."""
    size = abs(number)
    whole = math.floor(size)
    # The difference is exact, which number + 0.5 is not.
    return math.copysign(whole + 1 if size - whole >= 0.5 else whole, number)


def divide_half_away(number: int, divisor: int) -> int:
    """Divide an integer by a positive one and round half away from zero."""
    size = (abs(number) + divisor // 2) // divisor
    return size if number >= 0 else -size


def divide_to_zero(number: int, divisor: int) -> int:
    """Divide two integers and cut the fraction off, as C does."""
    size = abs(number) // abs(divisor)
    return size if (number >= 0) == (divisor > 0) else -size


def ascii_lower(text: str) -> str:
    """Lower case of ASCII; other letters have rules of their own."""
    return _ascii(text).lower()


def ascii_upper(text: str) -> str:
    """Upper case of ASCII."""
    return _ascii(text).upper()


def _ascii(text: str) -> str:
    if not text.isascii():
        raise ValueError("not ASCII")
    return text


def moment(text: str) -> datetime:
    """Read a timestamp as `Contract.validate_row` writes it."""
    found = datetime.fromisoformat(text)
    if len(text) not in _TEXT_LENGTHS or text[10] != " " or found.tzinfo is not None:
        raise ValueError("not a plain timestamp")
    return found


def day_of_year(time: date) -> int:
    """Count from 1 on 1 January. A function: `timetuple` imports, which generated code cannot."""
    return time.timetuple().tm_yday


def microseconds(time: datetime) -> int:
    """The time since 1970 in microseconds."""
    return (time - _EPOCH) // _MICROSECOND


def from_microseconds(count: int) -> datetime:
    """A constant of the plan. OverflowError: before year 1 or after 9999."""
    return _EPOCH + timedelta(microseconds=count)


def from_days(count: int) -> date:
    """A constant of the plan. OverflowError: before year 1 or after 9999."""
    return _EPOCH.date() + timedelta(days=count)


#: The names that the generated code sees.
NAMES: Final[dict[str, Any]] = {
    **{f.__name__: f for f in (
        single, half_away, divide_half_away, divide_to_zero, ascii_lower, ascii_upper, moment,
        microseconds, day_of_year, abs, bool, float, int, len, max, min, round, type, str,
        math.floor, math.ceil, math.trunc, math.copysign, math.fmod, math.sqrt, math.log,
        math.log10, math.log2, math.exp, math.pow, math.sin, math.cos, math.tan, math.atan,
        math.atan2, math.cbrt,
    )},
    "nan": math.nan,
}  # fmt: skip
