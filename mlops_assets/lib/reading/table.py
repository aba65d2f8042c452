"""Reading a landed file into a Parquet file of text, without losing a line.

Every value stays the text that landed; types are the contract's business. A line that does not have
the header's number of fields is kept with the reason and becomes a quarantined row.
"""

from dataclasses import dataclass
from pathlib import Path

from mlops_assets.lib.personal_data.privacy import Privacy
from mlops_assets.lib.reading import delimited, json_lines, parquet_text
from mlops_assets.lib.reading.dialect import detect
from mlops_assets.lib.reading.landed import Landed, Reading
from mlops_assets.lib.reading.raw_table import MALFORMED, ROW, RawWriter

EVERYTHING = Privacy()
USUAL = Reading()


@dataclass(frozen=True)
class Table:
    """What a landed file held.

    Attributes:
        format: ``csv``, ``jsonl`` or ``parquet``.
        compression: ``gzip``, ``zstd`` or None.
        encoding: Of its text; empty for Parquet.
        delimiter: Of its fields; empty where no character delimits them.
        columns: Those that were written.
        dropped: Those that the contract drops.
        hashed: Those of which a digest was written.
        unknown: How many were left out since the contract does not know them.
        rows: Its rows, malformed ones included.
        erased: Rows of erased entities, which are left out.
        malformed: How many of them are malformed.
    """

    format: str
    compression: str | None
    encoding: str
    delimiter: str
    columns: list[str]
    dropped: list[str]
    hashed: list[str]
    unknown: int
    rows: int
    erased: int
    malformed: int


def read_table(
    path: Path, target: Path, limits: Reading = USUAL, privacy: Privacy = EVERYTHING
) -> Table:
    """Write a landed file as Parquet: its columns as text, the row's number, and what is broken.

    Args:
        path: CSV, JSON Lines or Parquet, as its content says; the text ones may be compressed.
        target: Where the Parquet is written: ``_row`` (1-based), the file's columns (VARCHAR,
            empty cells as NULL) and ``_malformed`` (NULL for a line that is well formed).
        limits: How much is read.
        privacy: What is written of it.

    Raises:
        UnreadableError: If the file is not a table, or holds more than the limits allow.
    """
    landed = Landed(path, limits)
    encoding = delimiter = ""
    if landed.format == "csv":
        dialect = detect(landed, privacy)
        encoding, delimiter = dialect.encoding, dialect.delimiter
        with RawWriter(target, dialect.columns, privacy) as writer:
            delimited.read(landed, dialect, writer)
    elif landed.format == "jsonl":
        encoding = landed.encoding()
        writer = json_lines.read(landed, encoding, target, privacy)
    else:
        writer = parquet_text.read(landed, target, privacy)
    return Table(
        format=landed.format,
        compression=landed.compression,
        encoding=encoding,
        delimiter=delimiter,
        columns=writer.kept,
        dropped=sorted(privacy.dropped & set(writer.columns)),
        hashed=sorted(privacy.hashed & set(writer.columns)),
        unknown=len(set(writer.columns) - privacy.dropped - set(writer.kept)),
        rows=writer.rows,
        erased=writer.erased,
        malformed=writer.malformed,
    )


def restrict(raw: Path, target: Path, privacy: Privacy) -> RawWriter:
    """Write a raw Parquet again with less in it: without personal data, or somebody's rows.

    Args:
        raw: As ``read_table`` has written it.
        target: Where the other is written.
        privacy: What is written of it; its ``hashed`` are those that are not hashed yet.

    Returns:
        What has written it: its ``kept`` columns, its ``rows`` under the numbers that they had, and
        how many were ``erased``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(raw) as file:
        columns = [name for name in file.schema_arrow.names if name not in (ROW, MALFORMED)]
        with RawWriter(target, columns, privacy) as writer:
            for batch in file.iter_batches():
                said = [privacy.without_text(text) for text in batch[MALFORMED].to_pylist()]
                values = [batch[name] for name in columns]
                writer.write(values, pa.array(said, pa.string()), batch[ROW])
        return writer
