"""Reading Parquet: every value becomes the text that a CSV file would have for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.personal_data.privacy import Privacy
from mlops_assets.lib.reading.landed import Landed, UnreadableError
from mlops_assets.lib.reading.raw_table import SPACES, RawWriter, checked_header

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 20_000


def read(landed: Landed, target: Path, privacy: Privacy) -> RawWriter:
    """Write every row of a Parquet file as text.

    Times become UTC in ISO 8601, nested values JSON; a row without any value is none.

    Args:
        landed: A Parquet file.
        target: Where the Parquet of text is written.
        privacy: What is written.

    Returns:
        The writer, closed.

    Raises:
        UnreadableError: If the file is damaged, has more than the limits allow, or a column whose
            values are no text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(landed.path) as file:
            columns = checked_header(landed.name, file.schema_arrow.names, privacy)
            out = 0
            with RawWriter(target, columns, privacy) as writer:
                for batch in file.iter_batches(batch_size=BATCH_ROWS):
                    cells = [
                        _cells(landed, name, values)
                        for name, values in zip(columns, batch.columns, strict=True)
                    ]
                    out += sum(column.nbytes for column in cells)
                    if out > landed.limits.max_bytes:
                        raise UnreadableError(
                            f"{landed.name} has more than {landed.limits.max_bytes} bytes as text "
                            "(reading.max_bytes)"
                        )
                    writer.write(_without_blank_rows(cells))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # Arrow's words may hold values; its first line says what it could not do.
        raise UnreadableError(
            f"{landed.name} is a damaged or truncated Parquet file ({type(error).__name__})"
        ) from None
    return writer


def _cells(landed: Landed, name: str, values: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_dictionary(kind):
        return _cells(landed, name, values.dictionary_decode())
    unread = UnreadableError(
        f"{landed.name}: column {name!r} is of type {kind}, which is not read: write it as text"
    )
    if pa.types.is_duration(kind) or pa.types.is_interval(kind):
        raise unread  # a length of time has no usual text
    try:
        if pa.types.is_nested(kind):
            nested = [None if v is None else _json(v) for v in values.to_pylist()]
            return pa.array(nested, pa.string())
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        if pa.types.is_timestamp(kind):
            # Microseconds are what the platform keeps of a time.
            values = values.cast(pa.timestamp("us", zone and "UTC"), safe=False)
            values = values.cast(pa.timestamp("us"))
        text = values.cast(pa.string())
    except pa.ArrowNotImplementedError:
        raise unread from None
    except pa.ArrowInvalid:
        raise UnreadableError(
            f"{landed.name}: column {name!r} is of type {kind}, and its bytes are not UTF-8 text"
        ) from None
    if zone is not None:
        text = pc.binary_join_element_wise(text, "Z", "")
    text = pc.utf8_trim(text, SPACES)
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _without_blank_rows(cells: list[pa.Array]) -> list[pa.Array]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not min(column.null_count for column in cells):
        return cells
    table = pa.table(cells, names=[str(number) for number in range(len(cells))])
    filled = pc.is_valid(table.column(0))
    for column in table.columns[1:]:
        filled = pc.or_(filled, pc.is_valid(column))
    return [column.combine_chunks() for column in table.filter(filled).columns]
