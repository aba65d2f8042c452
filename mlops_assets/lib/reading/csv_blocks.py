"""CSV by a vectorised parser: for blocks of lines whose meaning is beyond doubt.

In such a block no quote is open at the end of a line, and each quote encloses a cell.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_assets.lib.personal_data.privacy import Privacy
from mlops_assets.lib.reading.dialect import cells, one_record, says_something
from mlops_assets.lib.reading.raw_table import SPACES, RawWriter

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

LF, CR, QUOTE = b'\n\r"'
# Bytes that a character of white space has; those of other characters beyond ASCII are among them.
MAY_BE_SPACE = bytes(byte >= 128 or chr(byte).isspace() for byte in range(256))


@dataclass(frozen=True)
class PlainBlock:
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
            record = one_record(self.block[start : self.ends[index]].decode(), self.delimiter)
            if says_something(record):
                line = before + index + 1
                _, said = cells(record, self.width, line, privacy)
                assert said is not None
                yield index, said


def plain_block(block: bytes, delimiter: str, width: int) -> PlainBlock | None:
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
    return PlainBlock(block, delimiter, width, ends, counts == width - 1, bool(len(quotes)))


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
