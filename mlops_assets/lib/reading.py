"""Reading a landed CSV file into a Parquet file of text, without losing a line.

Every value stays the text that landed; types are the contract's business. A line that does not have
the header's number of fields is kept with the reason and becomes a quarantined row.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.lib.contract import normalise_header

ROW = "_row"
MALFORMED = "_malformed"
REASONS = "_reasons"
SAMPLE_BYTES = 65_536
DELIMITERS = ",;\t|"
# Bytes that text does not contain.
CONTROL = bytes(set(range(32)) - {9, 10, 12, 13, 27})


class UnreadableError(Exception):
    """The file is not a table; the message says why, for a person."""


@dataclass(frozen=True)
class Dialect:
    """How the text of a file becomes fields."""

    encoding: str
    delimiter: str
    columns: list[str]


def detect(path: Path) -> Dialect:
    """Find a file's encoding, delimiter and header from its first bytes.

    Raises:
        UnreadableError: If it is empty or binary, or if its header is missing, too long to be one,
            names a column twice or uses a name of the platform.
    """
    with path.open("rb") as handle:
        sample = handle.read(SAMPLE_BYTES)
    if not sample.strip():
        raise UnreadableError(f"{path.name} is empty ({path.stat().st_size} bytes)")
    encoding = _encoding(path, sample)
    text = sample.decode(encoding, errors="ignore").lstrip("\ufeff")
    if not text.strip():
        raise UnreadableError(f"{path.name} is empty ({path.stat().st_size} bytes)")
    headers = {delimiter: _header(path, text, delimiter) for delimiter in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda d: len(headers[d]))
    columns = headers[delimiter]
    if not all(headers.values()):
        raise UnreadableError(f"{path.name} has no header, only blank cells")
    if any(not name for name in columns):
        raise UnreadableError(f"{path.name}: a column of the header has no name: {columns[:20]}")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UnreadableError(f"{path.name}: the header names a column twice: {', '.join(twice)}")
    kept = sorted({ROW, MALFORMED, REASONS} & set(columns))
    if kept:
        raise UnreadableError(
            f"{path.name}: the header uses names of the platform: {', '.join(kept)}"
        )
    return Dialect(encoding, delimiter, columns)


def _header(path: Path, text: str, delimiter: str) -> list[str]:
    """The first record that is not blank, as ``read_csv`` will see it."""
    stream = io.StringIO(text, newline="")
    records = csv.reader(stream, delimiter=delimiter)
    header = next((record for record in records if any(cell.strip() for cell in record)), [])
    if not stream.read(1) and path.stat().st_size > SAMPLE_BYTES:
        raise UnreadableError(f"{path.name}: its header does not end within {SAMPLE_BYTES} bytes")
    return [normalise_header(cell) for cell in header]


def _encoding(path: Path, sample: bytes) -> str:
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if sample.translate(None, CONTROL) != sample:
        raise UnreadableError(f"{path.name} is a binary file, not text")
    try:
        with path.open(encoding="utf-8") as handle:
            while handle.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def read_csv(path: Path, target: Path) -> tuple[Dialect, int]:
    """Write a CSV file as Parquet: its columns as text, the row's number, and why a line is broken.

    Args:
        path: A delimited text file with a header.
        target: Where the Parquet is written: ``_row`` (1-based), the header's columns (VARCHAR,
            empty cells as NULL) and ``_malformed`` (NULL for a line that is well formed).

    Returns:
        The dialect found, and the number of rows, malformed ones included.

    Raises:
        UnreadableError: If the file is not a table of text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    dialect = detect(path)
    schema = pa.schema(
        [
            (ROW, pa.int64()),
            *((name, pa.string()) for name in dialect.columns),
            (MALFORMED, pa.string()),
        ]
    )
    rows = 0
    with (
        path.open(encoding=dialect.encoding, errors="replace", newline="") as handle,
        pq.ParquetWriter(target, schema, compression="zstd") as writer,
    ):
        width = len(dialect.columns)
        records = (
            (line, record)
            for line, record in _records(path, handle, dialect.delimiter, width)
            if any(cell.strip() for cell in record)
        )
        next(records)  # the header
        chunk: list[list[str | None]] = []
        numbers: list[int] = []
        while True:
            line, record = next(records, (0, None))
            if record is not None:
                rows += 1
                numbers.append(rows)
                chunk.append(_cells(record, width, line))
            if chunk and (record is None or len(chunk) == 50_000):
                columns = [pa.array(column, pa.string()) for column in zip(*chunk, strict=True)]
                writer.write_table(
                    pa.table([pa.array(numbers, pa.int64()), *columns], schema=schema)
                )
                chunk, numbers = [], []
            if record is None:
                return dialect, rows


def _records(
    path: Path, handle: Iterable[str], delimiter: str, width: int
) -> Iterator[tuple[int, list[str]]]:
    """Every record with the number of its last line.

    A stray quote opens a cell that swallows the lines up to the next quote, or to the end of the
    file. A record of several lines that does not fit the header, or is not quoted well, is
    therefore not believed: its lines are read one by one, so that only the bad ones are malformed.
    """
    taken: list[str] = []

    def remembered() -> Iterator[str]:
        for text in handle:
            taken.append(text)
            yield text

    records = csv.reader(remembered(), delimiter=delimiter)
    try:
        for record in records:
            if len(taken) > 1 and not (len(record) == width and _is_quoted_well(taken, delimiter)):
                first = records.line_num - len(taken) + 1
                for number, text in enumerate(taken, start=first):
                    yield number, next(csv.reader([text.rstrip("\r\n")], delimiter=delimiter))
            else:
                yield records.line_num, record
            taken.clear()
    except csv.Error as error:
        raise UnreadableError(f"{path.name}, line {records.line_num}: {error}") from error


def _is_quoted_well(lines: list[str], delimiter: str) -> bool:
    """Whether each quote of a record is closed, at the end of its cell."""
    try:
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return False
    return True


def _cells(record: list[str], width: int, line: int) -> list[str | None]:
    if len(record) == width:
        return [cell.strip() or None for cell in record] + [None]
    text = io.StringIO()
    csv.writer(text).writerow(record)
    found = f"line {line}: {len(record)} fields where the header has {width}: "
    return [None] * width + [found + text.getvalue().strip()[:500]]
