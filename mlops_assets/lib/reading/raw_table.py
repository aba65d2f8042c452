"""The Parquet of text that every landed file becomes: ``_row``, its columns, ``_malformed``.

The same rows give the same bytes, however they were read: row groups have a fixed number of rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.contract.column import normalise_header
from mlops_assets.lib.personal_data.privacy import Privacy
from mlops_assets.lib.reading.landed import UnreadableError

if TYPE_CHECKING:
    import pyarrow as pa

ROW = "_row"
MALFORMED = "_malformed"
REASONS = "_reasons"
GROUP_ROWS = 100_000
# What Python calls white space, so that every reader trims alike.
SPACES = "".join(character for character in map(chr, range(0x3001)) if character.isspace())


def checked_header(file: str, cells: list[str], privacy: Privacy) -> list[str]:
    """The names of a file's columns.

    Raises:
        UnreadableError: If one has no name, a name of the platform, or that of another.
    """
    columns = [normalise_header(cell) for cell in cells]
    if not any(columns):
        raise UnreadableError(f"{file} has no header, only blank cells")
    if not all(columns):
        shown = columns[:20] if privacy.kept is None else privacy.shown(columns)
        raise UnreadableError(f"{file}: a column of the header has no name: {shown}")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UnreadableError(f"{file}: the header names a column twice: {privacy.shown(twice)}")
    taken = sorted({ROW, MALFORMED, REASONS} & set(columns))
    if taken:
        raise UnreadableError(f"{file}: the header uses names of the platform: {', '.join(taken)}")
    return columns


class RawWriter:
    """Writes rows of text in the order in which they come, numbered from 1 as they landed.

    Attributes:
        rows: Rows written so far, malformed ones included.
        erased: Rows of erased entities; they are left out, and their numbers with them.
        malformed: How many of them are malformed.
        columns: Those of the file.
        kept: Those that are written.
    """

    def __init__(self, target: Path, columns: list[str], privacy: Privacy) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.columns = columns
        self.kept = [name for name in columns if privacy.keeps(name)]
        self.privacy = privacy
        self.rows = self.erased = self.malformed = 0
        self._schema = pa.schema(
            [
                (ROW, pa.int64()),
                *((name, pa.string()) for name in self.kept),
                (MALFORMED, pa.string()),
            ]
        )
        self._writer = pq.ParquetWriter(target, self._schema, compression="zstd")
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0

    def __enter__(self) -> RawWriter:
        return self

    def write(self, values: list[Any], malformed: Any = None, numbers: Any = None) -> None:
        """Write some rows.

        Args:
            values: The values of each of ``columns``, as arrays of trimmed text.
            malformed: Why a row is malformed, or None for "none of these is".
            numbers: Of the rows, or None for those that follow.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        count = len(values[0])
        if malformed is None:
            malformed = pa.nulls(count, pa.string())
        if numbers is None:
            landed = self.rows + self.erased
            numbers = pa.array(range(landed + 1, landed + count + 1), pa.int64())
        kept = [
            self.privacy.applied(name, column)
            for name, column in zip(self.columns, values, strict=True)
            if self.privacy.keeps(name)
        ]
        table = pa.table([numbers, *kept, malformed], schema=self._schema)
        if self.privacy.erased is not None:
            theirs = self.privacy.erased.among(dict(zip(self.columns, values, strict=True)))
            table = table if theirs is None else table.filter(pc.invert(theirs))
        self._waiting.append(table)
        self._waiting_rows += table.num_rows
        self.rows += table.num_rows
        self.erased += count - table.num_rows
        self.malformed += table.num_rows - table[MALFORMED].null_count
        if self._waiting_rows >= GROUP_ROWS:
            self._flush(self._waiting_rows - self._waiting_rows % GROUP_ROWS)

    def _flush(self, count: int) -> None:
        import pyarrow as pa

        table = pa.concat_tables(self._waiting)
        for start in range(0, count, GROUP_ROWS):
            group = table.slice(start, min(GROUP_ROWS, count - start))
            self._writer.write_table(group.combine_chunks())
        self._waiting = [table.slice(count)]
        self._waiting_rows -= count

    def __exit__(self, *_: object) -> None:
        if self._waiting_rows:
            self._flush(self._waiting_rows)
        self._writer.close()


class RowBuffer:
    """Collects rows that are read one by one, and hands them on in bulk."""

    ROWS = 50_000

    def __init__(self, writer: RawWriter) -> None:
        self.writer = writer
        self._rows: list[list[str | None]] = []

    def __enter__(self) -> RowBuffer:
        return self

    def add(self, cells: list[str | None], malformed: str | None) -> None:
        """Add a row: the cells of the writer's columns, and why it is malformed."""
        self._rows.append([*cells, malformed])
        if len(self._rows) == self.ROWS:
            self.flush()

    def flush(self) -> None:
        """Hand on what has been collected."""
        import pyarrow as pa

        if self._rows:
            *values, malformed = (pa.array(c, pa.string()) for c in zip(*self._rows, strict=True))
            self.writer.write(values, malformed)
            self._rows = []

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.flush()
