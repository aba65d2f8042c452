"""CSV by Python's ``csv`` module, with a distrust of stray quotes: slow, and right for any text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from mlops_assets.lib.reading.dialect import Dialect, one_record, says_something
from mlops_assets.lib.reading.landed import Landed, UnreadableError


class Records:
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
                if says_something(record):
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
                yield number, one_record(text, self.dialect.delimiter)
            except csv.Error as error:
                raise self._unreadable(number, error) from None

    def _unreadable(self, line: int, error: csv.Error) -> UnreadableError:
        return UnreadableError(f"{self.name}, line {line}: {error}")


def _is_quoted_well(lines: list[str], delimiter: str) -> bool:
    """Whether each quote of a record is closed, at the end of its cell."""
    try:
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return False
    return True
