"""How the text of a CSV file becomes fields: its encoding, its delimiter and its header."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

from mlops_assets.lib.contract.column import normalise_header
from mlops_assets.lib.personal_data.privacy import Privacy
from mlops_assets.lib.reading.landed import SAMPLE_BYTES, Landed, UnreadableError
from mlops_assets.lib.reading.raw_table import checked_header

DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Dialect:
    """How the text of a file becomes fields."""

    encoding: str
    delimiter: str
    columns: list[str]


def detect(landed: Landed, privacy: Privacy) -> Dialect:
    """Find a file's encoding, delimiter and header.

    Raises:
        UnreadableError: If it is empty, or if its header is missing, too long to be one, names a
            column twice or uses a name of the platform.
    """
    encoding = landed.encoding()
    text = landed.sample.decode(encoding, errors="ignore").lstrip("\ufeff")
    if not text.strip():
        raise landed.empty()
    headers = {delimiter: _header(landed, text, delimiter) for delimiter in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda d: len(headers[d]))
    if not all(headers.values()):
        raise UnreadableError(f"{landed.name} has no header, only blank cells")
    return Dialect(encoding, delimiter, checked_header(landed.name, headers[delimiter], privacy))


def _header(landed: Landed, text: str, delimiter: str) -> list[str]:
    """The first record that is not blank, as ``read`` will see it."""
    stream = io.StringIO(text, newline="")
    records = csv.reader(stream, delimiter=delimiter)
    header = next((record for record in records if says_something(record)), [])
    if not stream.read(1) and not landed.is_whole:
        raise UnreadableError(f"{landed.name}: its header does not end within {SAMPLE_BYTES} bytes")
    return [normalise_header(cell) for cell in header]


def says_something(record: Iterable[str]) -> bool:
    """Whether a record has more than blank cells."""
    return any(cell.strip() for cell in record)


def cells(
    record: list[str], width: int, line: int, privacy: Privacy
) -> tuple[list[str | None], str | None]:
    """A record as values, trimmed; nothing but what is wrong where it does not fit the header."""
    if len(record) == width:
        return [cell.strip() or None for cell in record], None
    text = io.StringIO()
    csv.writer(text).writerow(record)
    found = f"line {line}: {len(record)} fields where the header has {width}"
    return [None] * width, privacy.malformed(found, text.getvalue().strip())


def one_record(line: str, delimiter: str) -> list[str]:
    """The fields of a line, whatever its quotes would swallow of the next ones."""
    return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter))
