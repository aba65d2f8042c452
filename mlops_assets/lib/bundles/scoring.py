"""Batch scores: valid rows through a bundle, by the code of the serving app, so by its numbers.

The input is cut where its Parquet is (row groups). Each part is written under its number, whole or
not at all, in a folder named by what it is made of: whoever is killed goes on after the parts that
are there.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.digests import digest_of, file_digest

if TYPE_CHECKING:
    import pyarrow as pa

    from mlops_assets.lib.storage.root import Storage
    from serving.bundle.loaded import Bundle

# Rows that are in memory as features, in each thread.
SLICE_ROWS = 50_000
MOST_THREADS = 8


@dataclass(frozen=True)
class Scores:
    """The scores of one batch by one bundle.

    Attributes:
        digest: Of all that follows but ``found``.
        rows: How many rows were scored.
        positives: How many of them reach the threshold.
        parts: Digest of each file, in the order of the rows.
        found: Parts that an earlier run had finished.
    """

    digest: str
    rows: int
    positives: int
    parts: dict[str, str]
    found: int


def missing_columns(bundle: Bundle, rows: Path) -> list[str]:
    """The columns that a bundle reads and a Parquet file does not have."""
    import pyarrow.parquet as pq

    there = set(pq.read_schema(rows).names)
    return [name for name in bundle.contract.duckdb_types if name not in there]


def score(bundle: Bundle, version: str, rows: Path, store: Storage, folder: str) -> Scores:
    """Score every row of a Parquet file.

    Args:
        bundle: Loaded.
        version: Its number, written beside each score.
        rows: Valid rows: ``row_id`` and the columns of the bundle's contract.
        store: The storage root.
        folder: Key of the folder that receives ``part-000000.parquet`` and so on (``row_id``,
            ``probability``, ``label``, ``version``, ``bundle``), each with its record. It must be
            for these rows and this bundle alone, since parts that are there are kept.

    Returns:
        The counts and the digests of the parts.

    Raises:
        serving.bundle.features.FeatureError: If the feature SQL cannot compute a row.
    """
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(rows)
    groups = [n for n in range(metadata.num_row_groups) if metadata.row_group(n).num_rows]

    def part(group: int) -> tuple[dict[str, Any], bool]:
        name = f"{folder}/part-{group:06d}"
        record = store.read_json(f"{name}.json")
        if record is not None:
            return record, True
        with store.writing(f"{name}.parquet") as partial:
            positives = _write_part(bundle, version, rows, group, partial)
            record = {
                "name": f"part-{group:06d}.parquet",
                "digest": file_digest(partial),
                "rows": metadata.row_group(group).num_rows,
                "positives": positives,
            }
        # Last: a part counts once its record is there.
        store.write_json(f"{name}.json", record)
        return record, False

    # DuckDB and ONNX Runtime let go of the interpreter: one part a thread keeps every core at work.
    pool = ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, MOST_THREADS))
    try:
        done = list(pool.map(part, groups))
    finally:
        pool.shutdown(cancel_futures=True)
    facts: dict[str, Any] = {
        "rows": sum(record["rows"] for record, _ in done),
        "positives": sum(record["positives"] for record, _ in done),
        "parts": {record["name"]: record["digest"] for record, _ in done},
    }
    return Scores(digest_of(facts), **facts, found=sum(found for _, found in done))


def _write_part(bundle: Bundle, version: str, rows: Path, group: int, path: Path) -> int:
    """Score one row group.

    Returns:
        How many rows reach the threshold.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = ["row_id", *bundle.contract.duckdb_types]
    batches = pq.ParquetFile(rows).iter_batches(SLICE_ROWS, row_groups=[group], columns=columns)
    scored = pa.concat_tables(_scored(bundle, version, batch) for batch in batches)
    pq.write_table(scored, path, compression="zstd")
    threshold = bundle.manifest.threshold
    return int(pc.sum(pc.greater_equal(scored["probability"], threshold)).as_py())


def _scored(bundle: Bundle, version: str, batch: pa.RecordBatch) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    probability = bundle.predict_table(pa.Table.from_batches([batch]))
    classes = bundle.manifest.classes
    values = pa.array([classes.negative.value, classes.positive.value])
    positive = pa.array((probability >= bundle.manifest.threshold).astype(np.int8))
    return pa.table(
        {
            "row_id": batch.column("row_id"),
            "probability": probability,
            "label": values.take(positive),
            "version": pa.repeat(version, len(batch)),
            "bundle": pa.repeat(bundle.digest, len(batch)),
        }
    )
