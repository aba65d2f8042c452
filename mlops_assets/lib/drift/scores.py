"""The scores of some rows of a batch by a version: enough to see whether they have moved."""

from __future__ import annotations

from pathlib import Path

from mlops_assets.lib.bundles.scoring import missing_columns
from mlops_assets.lib.drift.sides import connected, identifier, parquet

# A distribution of so many is known within 0.006, whatever the batch holds.
MOST_ROWS = 50_000
SLICE_ROWS = 10_000


def write_scores(folder: Path, digest: str, use_case: str, rows: Path, scratch: Path) -> None:
    """Score the rows of a batch, of a large one those with the smallest hashes of ``row_id``.

    Args:
        folder: Of the bundle.
        digest: Of the bundle.
        use_case: That it is for.
        rows: Parquet of the batch's valid rows.
        scratch: Receives ``scores.parquet`` with the column ``probability``.

    Raises:
        serving.bundle.manifest.BundleError: If the bundle cannot be loaded, or reads a column that
            the batch does not have.
        serving.bundle.features.FeatureError: If its SQL cannot compute a row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from serving.bundle.loaded import Bundle
    from serving.bundle.manifest import BundleError

    bundle = Bundle.load(folder, digest, use_case)
    if missing := missing_columns(bundle, rows):
        raise BundleError(f"the version reads {', '.join(missing)}, which the rows do not have")
    columns = ", ".join(identifier(name) for name in ("row_id", *bundle.contract.duckdb_types))
    sample = scratch / "sample.parquet"
    with connected() as database:
        database.execute(
            f"copy (select {columns} from {parquet(rows)} order by hash(row_id), row_id "
            f"limit {MOST_ROWS}) to '{str(sample).replace(chr(39), chr(39) * 2)}' (format parquet)"
        )
    slices = pq.ParquetFile(sample).iter_batches(SLICE_ROWS)
    found = [bundle.predict_table(pa.Table.from_batches([batch])) for batch in slices]
    probability = pa.chunked_array(found, type=pa.float64())
    pq.write_table(pa.table({"probability": probability}), scratch / "scores.parquet")
