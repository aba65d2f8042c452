"""Reading JSON Lines: one object a line, whose keys are the columns.

Numbers stay the text that landed. The columns are the keys of all objects; those of the first lines
are believed to be all until another one turns up, which starts the reading anew.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlops_assets.lib.contract.column import normalise_header
from mlops_assets.lib.personal_data.privacy import Privacy
from mlops_assets.lib.reading.landed import Landed, UnreadableError
from mlops_assets.lib.reading.raw_table import RawWriter, RowBuffer, checked_header

FIRST_LINES = 10_000
MOST_COLUMNS = 4_096


class _Number(str):
    """A number as it is written."""


class _Object(list[tuple[str, Any]]):
    """The keys and values of an object, as they are written."""


DECODER = json.JSONDecoder(
    object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number, parse_constant=_Number
)


class _MalformedError(Exception):
    """The line is not a flat object; the message says why."""


class _NewKey(Exception):  # noqa: N818 (no error)
    """An object has a key that none of the first lines has."""


def read(landed: Landed, encoding: str, target: Path, privacy: Privacy) -> RawWriter:
    """Write every object as a row, and every other line with the reason.

    Args:
        landed: A text file whose first line looks like an object.
        encoding: Of the text.
        target: Where the Parquet is written.
        privacy: What is written.

    Returns:
        The writer, closed.

    Raises:
        UnreadableError: If no line is an object, or the keys are no header.
    """
    try:
        return _write(landed, encoding, target, privacy, _keys(landed, encoding, FIRST_LINES))
    except _NewKey:
        return _write(landed, encoding, target, privacy, _keys(landed, encoding, None))


def _lines(landed: Landed, encoding: str) -> Iterator[tuple[int, str]]:
    """Every line that is not blank, with its number."""
    number = 0
    for block in landed.lines(encoding):
        for line in block.splitlines():
            number += 1
            text = line.decode().strip()
            if text:
                yield number, text


def _keys(landed: Landed, encoding: str, lines: int | None) -> list[str]:
    """The union of the keys, in the order in which they turn up."""
    keys: dict[str, None] = {}
    last = 0
    for last, text in _lines(landed, encoding):
        if lines is not None and last > lines and keys:
            break
        try:
            keys |= dict.fromkeys(_parsed(text))
        except _MalformedError:
            continue
        if len(keys) > MOST_COLUMNS:
            raise UnreadableError(
                f"{landed.name}: its objects have more than {MOST_COLUMNS} different keys"
            )
    if not keys:
        raise UnreadableError(
            f"{landed.name}: none of its {last} lines is a JSON object with a key: JSON Lines have "
            "one object on each line"
        )
    return list(keys)


def _write(
    landed: Landed, encoding: str, target: Path, privacy: Privacy, keys: list[str]
) -> RawWriter:
    columns = checked_header(landed.name, keys, privacy)
    known = set(columns)
    nothing: list[str | None] = [None] * len(columns)
    with RawWriter(target, columns, privacy) as writer, RowBuffer(writer) as buffer:
        for number, text in _lines(landed, encoding):
            try:
                values = _parsed(text)
            except _MalformedError as error:
                buffer.add(nothing, privacy.malformed(f"line {number}: {error}", text))
                continue
            if not known.issuperset(values):
                raise _NewKey
            cells = [values.get(name) for name in columns]
            if any(cells):
                buffer.add(cells, None)
    return writer


def _parsed(text: str) -> dict[str, str | None]:
    """The cells of an object, by normalised key.

    Raises:
        _MalformedError: If the line is no object, or says a key twice.
    """
    try:
        pairs = DECODER.decode(text)
    except (ValueError, RecursionError):
        raise _MalformedError("not a JSON object") from None
    if not isinstance(pairs, _Object):
        raise _MalformedError("not a JSON object")
    cells = {normalise_header(name): _text(value) for name, value in pairs}
    if len(cells) != len(pairs):
        raise _MalformedError("a key is there twice")
    if "\\u" in text:
        try:
            "".join(filter(None, (*cells, *cells.values()))).encode()
        except UnicodeEncodeError:
            raise _MalformedError("half of a surrogate pair is no text") from None
    return cells


def _text(value: object) -> str | None:
    """A value as a cell: a nested one stays JSON."""
    if value is None:
        return None
    return (value if isinstance(value, str) else _json(value)).strip() or None


def _json(value: object) -> str:
    if isinstance(value, _Object):
        return (
            "{"
            + ", ".join(f"{json.dumps(k, ensure_ascii=False)}: {_json(v)}" for k, v in value)
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_json, value)) + "]"
    if isinstance(value, _Number):
        return value
    return json.dumps(value, ensure_ascii=False)
