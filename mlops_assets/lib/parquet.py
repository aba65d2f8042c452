"""Parquet files: named to DuckDB, and written piece by piece."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


def literal(path: Path) -> str:
    """A path as DuckDB's readers take it: brackets and stars in it stand for themselves."""
    return glob.escape(str(path))


class FrameWriter:
    """Appends frames to one Parquet file; the first frame gives the schema."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer: Any = None

    def __enter__(self) -> FrameWriter:
        return self

    def write(self, frame: pl.DataFrame) -> None:
        import pyarrow.parquet as pq

        table = frame.to_arrow()
        if self.writer is None:
            self.writer = pq.ParquetWriter(self.path, table.schema, compression="zstd")
        self.writer.write_table(table)

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()
