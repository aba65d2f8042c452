"""Reading CSV: every line becomes a row, and a line that does not fit is kept with the reason.

Two ways give the same rows: a careful one (``csv_records``), and a quick one for blocks of lines
whose meaning is beyond doubt (``csv_blocks``).
"""

from __future__ import annotations

from itertools import chain

from mlops_assets.lib.reading.csv_blocks import plain_block
from mlops_assets.lib.reading.csv_records import Records
from mlops_assets.lib.reading.dialect import Dialect, cells, says_something
from mlops_assets.lib.reading.landed import Landed
from mlops_assets.lib.reading.raw_table import RawWriter, RowBuffer


def read(landed: Landed, dialect: Dialect, writer: RawWriter) -> None:
    """Read every row under the header.

    Args:
        landed: A delimited text file.
        dialect: As ``detect`` has found it.
        writer: For the columns of the header.

    Raises:
        UnreadableError: If a cell is longer than a cell can be.
    """
    source = Records(landed, dialect)
    rest = source.after_header()
    width = len(dialect.columns)
    with RowBuffer(writer) as buffer:
        for block in chain([rest] if rest else [], source.blocks):
            plain = plain_block(block, dialect.delimiter, width)
            if plain is not None:
                buffer.flush()
                plain.write(writer, source.line)
                source.line += len(plain.ends)
                continue
            for line, record in source.records(block):
                if says_something(record):
                    buffer.add(*cells(record, width, line, writer.privacy))
