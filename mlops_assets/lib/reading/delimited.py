"""Reading CSV: every line becomes a row, and a line that does not fit is kept with the reason.

Two ways give the same rows. The careful one is Python's ``csv`` module with a distrust of stray
quotes. The quick one takes blocks of lines in which no quote is open at the end of a line and each
quote encloses a cell; what such a block means is beyond doubt, and a vectorised parser may read it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from mlops_assets.lib.contract.column import normalise_header
from mlops_assets.lib.personal_data.privacy import Privacy
from mlops_assets.lib.reading.landed import SAMPLE_BYTES, Landed, UnreadableError
from mlops_assets.lib.reading.raw_table import SPACES, RawWriter, RowBuffer, checked_header

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

DELIMITERS = ",;\t|"
LF, CR, QUOTE = b'\n\r"'
# Bytes that a character of white space has; those of other characters beyond ASCII are among them.
MAY_BE_SPACE = bytes(byte >= 128 or chr(byte).isspace() for byte in range(256))


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
    header = next((record for record in records if _says_something(record)), [])
    if not stream.read(1) and not landed.is_whole:
        raise UnreadableError(f"{landed.name}: its header does not end within {SAMPLE_BYTES} bytes")
    return [normalise_header(cell) for cell in header]


def _says_something(record: Iterable[str]) -> bool:
    return any(cell.strip() for cell in record)


def read(landed: Landed, dialect: Dialect, writer: RawWriter) -> None:
    """Read every row under the header.

    Args:
        landed: A delimited text file.
        dialect: As ``detect`` has found it.
        writer: For the columns of the header.

    Raises:
        UnreadableError: If a cell is longer than a cell can be.
    """
    source = _Source(landed, dialect)
    rest = source.after_header()
    width = len(dialect.columns)
    with RowBuffer(writer) as buffer:
        for block in chain([rest] if rest else [], source.blocks):
            plain = _plain(block, dialect.delimiter, width)
            if plain is not None:
                buffer.flush()
                plain.write(writer, source.line)
                source.line += len(plain.ends)
                continue
            for line, record in source.records(block):
                if _says_something(record):
                    buffer.add(*_cells(record, width, line, writer.privacy))


def _cells(
    record: list[str], width: int, line: int, privacy: Privacy
) -> tuple[list[str | None], str | None]:
    if len(record) == width:
        return [cell.strip() or None for cell in record], None
    text = io.StringIO()
    csv.writer(text).writerow(record)
    found = f"line {line}: {len(record)} fields where the header has {width}"
    return [None] * width, privacy.malformed(found, text.getvalue().strip())


class _Source:
    """Blocks of lines, and the careful way through them.

    Attributes:
        blocks: Those that have not been read.
        line: Number of the last line that was read.
    """

    def __init__(self, landed: Landed, dialect: Dialect) -> None:
        self.name = landed.name
        self.dialect = dialect
        self.blocks = landed.lines(dialect.encoding)
        self.line = 0
        self._text = io.StringIO()

    def after_header(self) -> bytes:
        """Pass by the header, and give the lines of its last block that follow it."""
        for block in self.blocks:
            for _, record in self.records(block):
                if _says_something(record):
                    return self._text.read().encode()
        raise AssertionError("the header has been seen")

    def records(self, block: bytes) -> Iterator[tuple[int, list[str]]]:
        """Every record that begins in a block, with the number of its last line.

        A stray quote opens a cell that swallows the lines up to the next quote, or to the end of
        the file. A record of several lines that does not fit the header, or is not quoted well, is
        therefore not believed: its lines are read one by one, so that only the bad ones are
        malformed.
        """
        self._text = io.StringIO(block.decode(), newline="")
        delimiter = self.dialect.delimiter
        taken: list[str] = []
        lines = self._lines(taken)
        ended = False
        while not ended:
            records = csv.reader(lines, delimiter=delimiter)
            try:
                for record in records:
                    fits = len(record) == len(self.dialect.columns)
                    if len(taken) > 1 and not (fits and _is_quoted_well(taken, delimiter)):
                        yield from self._one_by_one(taken)
                    else:
                        yield self.line, record
                    taken.clear()
                ended = True
            except csv.Error as error:
                if len(taken) < 2:
                    raise self._unreadable(self.line, error) from None
                # No cell is that long: the quote was a stray one.
                yield from self._one_by_one(taken)
                taken.clear()

    def _lines(self, taken: list[str]) -> Iterator[str]:
        """The lines of the block, and of the next one as long as a record has not ended."""
        while True:
            for text in self._text:
                self.line += 1
                taken.append(text)
                yield text
            block = next(self.blocks, None) if taken else None
            if block is None:
                return
            self._text = io.StringIO(block.decode(), newline="")

    def _one_by_one(self, taken: list[str]) -> Iterator[tuple[int, list[str]]]:
        for number, text in enumerate(taken, start=self.line - len(taken) + 1):
            try:
                yield number, _record(text, self.dialect.delimiter)
            except csv.Error as error:
                raise self._unreadable(number, error) from None

    def _unreadable(self, line: int, error: csv.Error) -> UnreadableError:
        return UnreadableError(f"{self.name}, line {line}: {error}")


def _record(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter))


def _is_quoted_well(lines: list[str], delimiter: str) -> bool:
    """Whether each quote of a record is closed, at the end of its cell."""
    try:
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return False
    return True


@dataclass(frozen=True)
class _Plain:
    """A block in which every line is a record.

    Attributes:
        ends: Where each line ends.
        fits: Whether it has as many fields as the header.
        is_quoted: Whether cells are enclosed in quotes.
    """

    block: bytes
    delimiter: str
    width: int
    ends: np.ndarray[tuple[int], np.dtype[np.int64]]
    fits: np.ndarray[tuple[int], np.dtype[np.bool_]]
    is_quoted: bool

    def write(self, writer: RawWriter, before: int) -> None:
        """Write its rows; ``before`` is the number of the line before its first."""
        import numpy as np
        import pyarrow as pa

        good = self._parsed() if self.fits.any() else [pa.array([], pa.string())] * self.width
        lines = np.flatnonzero(self.fits)
        blank = self._blank(good)
        if blank is not None:
            good = [column.filter(pa.array(~blank)) for column in good]
            lines = lines[~blank]
        bad = list(self._malformed(writer.privacy, before))
        if not bad:
            if len(lines):
                writer.write(good)
            return
        order = pa.array(np.argsort(np.concatenate([lines, [line for line, _ in bad]])))
        nothing, said = pa.nulls(len(bad), pa.string()), pa.array([said for _, said in bad])
        values = [pa.concat_arrays([column, nothing]).take(order) for column in good]
        writer.write(
            values, pa.concat_arrays([pa.nulls(len(lines), pa.string()), said]).take(order)
        )

    def _parsed(self) -> list[pa.Array]:
        """The columns of the lines that fit, trimmed."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.csv as pacsv

        block = self.block
        if not self.fits.all():
            kept = np.repeat(self.fits, np.diff(self.ends, prepend=-1))[: len(block)]
            block = np.frombuffer(block, np.uint8)[kept].tobytes()
        names = [str(number) for number in range(self.width)]
        table = pacsv.read_csv(
            pa.BufferReader(block),
            pacsv.ReadOptions(column_names=names, block_size=len(block) + 1),
            pacsv.ParseOptions(
                delimiter=self.delimiter,
                quote_char='"' if self.is_quoted else False,
                ignore_empty_lines=False,
            ),
            pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                check_utf8=False,
            ),
        )
        assert table.num_rows == self.fits.sum(), "both ways count the same lines"
        return [_trimmed(column.combine_chunks()) for column in table.columns]

    def _blank(self, good: list[pa.Array]) -> np.ndarray[tuple[int], np.dtype[np.bool_]] | None:
        """Which of the lines that fit have no value at all; None where every one has."""
        import numpy as np

        if not min(column.null_count for column in good):
            return None
        blank = np.ones(len(good[0]), bool)
        for column in good:
            blank &= column.is_null().to_numpy(zero_copy_only=False)
        return blank if blank.any() else None

    def _malformed(self, privacy: Privacy, before: int) -> Iterator[tuple[int, str]]:
        import numpy as np

        for index in np.flatnonzero(~self.fits).tolist():
            start = self.ends[index - 1] + 1 if index else 0
            record = _record(self.block[start : self.ends[index]].decode(), self.delimiter)
            if _says_something(record):
                line = before + index + 1
                _, said = _cells(record, self.width, line, privacy)
                assert said is not None
                yield index, said


def _plain(block: bytes, delimiter: str, width: int) -> _Plain | None:
    """Look whether every line of a block is a record; None where that is not certain."""
    import numpy as np

    if b"\0" in block or block.count(b"\r") != block.count(b"\r\n"):
        return None
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == LF)
    if data[-1] != LF:
        ends = np.append(ends, len(data))
    if np.diff(ends, prepend=-1).max() > csv.field_size_limit():
        return None
    delimiters = np.flatnonzero(data == ord(delimiter))
    quotes = np.flatnonzero(data == QUOTE)
    if len(quotes):
        around = [ord(delimiter), LF]
        opening, closing = quotes[::2], quotes[1::2]
        if (
            len(quotes) % 2
            or np.any(np.searchsorted(quotes, ends) % 2)
            or not np.isin(data[opening[opening > 0] - 1], around).all()
            or not np.isin(data[closing[closing < len(data) - 1] + 1], [*around, CR]).all()
        ):
            return None
        delimiters = delimiters[np.searchsorted(quotes, delimiters) % 2 == 0]
    counts = np.diff(np.searchsorted(delimiters, ends), prepend=0)
    return _Plain(block, delimiter, width, ends, counts == width - 1, bool(len(quotes)))


def _trimmed(column: pa.Array) -> pa.Array:
    """Cells without white space around them, an empty one as NULL."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    _, offsets, text = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    filled = np.flatnonzero(np.diff(ends))
    if not len(filled):
        return column
    data = np.frombuffer(text, np.uint8)
    edges = np.concatenate([data[ends[filled]], data[ends[filled + 1] - 1]])
    if not np.frombuffer(MAY_BE_SPACE, np.bool_)[edges].any():
        return column
    trimmed = pc.utf8_trim(column, SPACES)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
