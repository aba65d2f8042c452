"""Makes one Parquet file of one segment, in DuckDB: pyarrow would triple what serving installs."""

from pathlib import Path
from typing import Final

import duckdb

from serving.prediction_log.streams import Stream, literal, quoted, struct_literal

# A segment is read as a stream; one row group of it is held at a time.
_SETTINGS: Final = "SET threads = 1; SET memory_limit = '512MB'; SET temp_directory = ''"
_FORMAT: Final = "(FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"


class DamagedError(ValueError):
    """A segment that cannot be read; the message does not repeat what is in it."""


def roll_up(stream: Stream, segment: Path, target: Path) -> None:
    """Write the records of a segment as Parquet; the same segment gives the same bytes.

    Args:
        stream: What the segment holds.
        segment: Its path.
        target: The path of the file, which is replaced if it is there.

    Raises:
        DamagedError: A record is not what the stream says.
        OSError: The disk does not give or take it.
    """
    columns = ", ".join(f"{made} AS {quoted(name)}" for name, made in stream.columns.items())
    # The first line is the head, which has no id. Keys that are not asked for are skipped.
    query = (
        f"SELECT {columns} FROM read_ndjson({literal(str(segment))}, "
        f"columns = {struct_literal(stream.line_types)}) WHERE id IS NOT NULL"
    )
    # One for each segment: between two of them there may be hours, and its memory is not small.
    with duckdb.connect(":memory:") as database:
        database.execute(_SETTINGS)
        try:
            database.execute(f"COPY ({query}) TO {literal(str(target))} {_FORMAT}")
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise OSError(str(error).splitlines()[0]) from None
        except duckdb.Error as error:
            # Its own message may quote a value.
            raise DamagedError(f"{segment}: {type(error).__name__}") from None
