"""Reading single JSON values strictly: what counts as a number, a time or the same value.

Python is lax where a contract must not be: `True == 1`, `float("nan")` is a float and "63" becomes
63 on request. The rules are here once, apart from the contract that applies them.
"""

import json
import math
from datetime import UTC, datetime
from typing import Any, Final

_LONGEST_SHOWN: Final = 40
_SMALLEST: Final = -(2**63)
_LARGEST: Final = 2**63 - 1
_NAMES: Final = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "text": "text",
    "timestamp": 'an ISO 8601 time such as "2026-01-31T12:00:00"',
}


class InvalidValueError(ValueError):
    """A value that is not of its type or range.

    Attributes:
        kind: A short stable name of the rule that was broken, for programs.
    """

    def __init__(self, kind: str, message: str) -> None:
        """Keep the rule's name beside the message."""
        super().__init__(message)
        self.kind = kind


def type_name(kind: str) -> str:
    """Name a type in words."""
    return _NAMES[kind]


def convert(kind: str, value: object) -> Any:
    """Read a value as one of the contract's types.

    Args:
        kind: integer, number, boolean, text or timestamp.
        value: A value as JSON gives it, not None.

    Returns:
        int, float, bool or str. A timestamp is text in UTC, `YYYY-MM-DD HH:MM:SS[.ffffff]`.

    Raises:
        InvalidValueError: The value has another type or does not fit DuckDB's.
    """
    read = _READERS[kind](value)
    if read is not None:
        return read
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidValueError("finite_number", f"must be finite; got {shown(value)}")
    raise InvalidValueError(f"{kind}_type", f"must be {_NAMES[kind]}; got {shown(value)}")


def _integer(value: object) -> int | None:
    if type(value) is not int and not (type(value) is float and value.is_integer()):
        return None
    if not _SMALLEST <= value <= _LARGEST:
        raise InvalidValueError("integer_size", f"must fit in 64 bits; got {shown(value)}")
    return int(value)


def _number(value: object) -> float | None:
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is not int:
        return None
    try:
        return float(value)
    except OverflowError:
        message = f"must fit in a 64-bit float; got {shown(value)}"
        raise InvalidValueError("finite_number", message) from None


def _boolean(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValueError("text_characters", "must not hold unpaired surrogates") from None
    return value


def _timestamp(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        # Without an offset it is taken to be UTC; TIMESTAMP itself knows no zone.
        time = time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return time.isoformat(sep=" ")


_READERS: Final = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "text": _text,
    "timestamp": _timestamp,
}


def shown(value: object) -> str:
    """Quote a value in a message: short, in ASCII, and never the inside of an object or array."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, str):
        cut = value[:_LONGEST_SHOWN]
        return json.dumps(cut) + ("..." if len(value) > len(cut) else "")
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
