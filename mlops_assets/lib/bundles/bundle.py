"""Writing a bundle: all that serving loads, with digests, and no pickle.

The digest of a bundle is the digest of its manifest without its provenance (times and run ids), so
that the same data and spec give the same digest again.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlops_assets.lib.bundles.reference import profile
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.parquet import literal
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.training_set.files import INPUTS, ROWS
from serving.bundle.manifest import MANIFEST, BundleError, content_digest, verify

GOLDEN_ROWS = 64
BACKGROUND_ROWS = 64
LIBRARIES = ("duckdb", "numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx", "xgboost")


@dataclass(frozen=True)
class Parts:
    """What a bundle is made of.

    Attributes:
        training_set: Folder with the rows and inputs of the training set.
        candidate: Folder of the winner: ``model.onnx`` and ``predictions.parquet``.
        features: Names in the order of the model's input.
        lineage: Digests of what it was made from; part of the bundle's digest.
        provenance: Times and run ids; not part of it.
    """

    use_case: str
    contract: Contract
    features_sql: str
    features: list[str]
    threshold: float
    training_set: Path
    candidate: Path
    lineage: Mapping[str, Any]
    provenance: Mapping[str, Any]


def write(parts: Parts, folder: Path) -> dict[str, Any]:
    """Write a bundle into an empty folder.

    Returns:
        The manifest.
    """
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes((parts.candidate / "model.onnx").read_bytes())
    (folder / "features.sql").write_text(parts.features_sql, encoding="utf-8")
    _write_json(folder / "contract.json", parts.contract.request_schema(parts.use_case))
    _write_golden(parts, folder / "golden.parquet")
    _write_json(folder / "reference.json", _reference(parts, folder))
    target = parts.contract.target
    manifest: dict[str, Any] = {
        "schema_version": 1,
        "use_case": parts.use_case,
        "features": parts.features,
        "threshold": parts.threshold,
        "classes": {
            "negative": {"value": target.negative, "label": target.negative_label},
            "positive": {"value": target.positive, "label": target.positive_label},
        },
        "files": {
            path.name: {"sha256": file_digest(path), "bytes": path.stat().st_size}
            for path in sorted(folder.iterdir())
        },
        "lineage": dict(parts.lineage),
        "versions": versions(),
        "provenance": dict(parts.provenance),
    }
    _write_json(folder / MANIFEST, manifest)
    return manifest


def versions() -> dict[str, str]:
    """What computes here: Python and the libraries that a model depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def golden_rows(
    folder: Path, columns: list[str], most: int | None = None
) -> list[tuple[dict[str, Any], float]]:
    """Read the golden rows of a bundle.

    Args:
        folder: Of the bundle.
        columns: The contract's columns.
        most: How many to read; all without it.

    Returns:
        Request and the probability that training computed for it.
    """
    import polars as pl

    names = [*columns, "expected_probability"]
    rows = pl.read_parquet(folder / "golden.parquet", columns=names, n_rows=most, glob=False)
    return [(row, row.pop("expected_probability")) for row in rows.to_dicts()]


def verify_stored(store: Storage, key: str, digest: str) -> dict[str, Any]:
    """Check a bundle as it lies in the storage now.

    Returns:
        Its manifest.

    Raises:
        BundleError: If it is gone, or is not what the digest names.
    """
    try:
        return verify(store.local(key), digest)
    except FileNotFoundError as error:
        raise BundleError(str(error)) from None


def digest(manifest: Mapping[str, Any]) -> str:
    """The digest that names a bundle."""
    return content_digest(manifest)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _reference(parts: Parts, folder: Path) -> dict[str, Any]:
    import duckdb

    scores = folder / "scores.parquet"
    duckdb.connect().execute(
        f"""
        copy (select row_id, probability from read_parquet(?) where side = 'train')
        to '{_quoted(scores)}' (format parquet)
        """,
        [literal(parts.candidate / "predictions.parquet")],
    )
    try:
        found = profile(parts.contract, parts.training_set / INPUTS, scores)
    finally:
        scores.unlink()
    return found | {"background": _background(parts)}


def _background(parts: Parts) -> list[tuple[float | None, ...]]:
    """Features of some rows that were trained on: the usual rows that an answer is compared to."""
    import duckdb

    # The model reads a missing value as NaN, which JSON has no word for.
    values = ", ".join(f"nullif(\"{name}\"::float, 'nan'::float)" for name in parts.features)
    return (
        duckdb.connect()
        .execute(
            f"""
            select {values} from read_parquet(?) where side = 'train'
            order by sha256(row_id), row_id limit {BACKGROUND_ROWS}
            """,
            [literal(parts.training_set / ROWS)],
        )
        .fetchall()
    )


def _write_golden(parts: Parts, path: Path) -> None:
    """Keep rows that differ: the extremes of the score, the most gaps, and some by chance."""
    import duckdb

    inputs = ", ".join(f'i."{column.name}"' for column in parts.contract.inputs)
    gaps = " + ".join(f'(i."{column.name}" is null)::int' for column in parts.contract.inputs)
    features = ", ".join(f'r."{name}"::float as "feature__{name}"' for name in parts.features)
    duckdb.connect().execute(
        f"""
        copy (
            select r.row_id, {inputs}, {features}, p.probability as expected_probability
            from read_parquet(?) r
            join read_parquet(?) i using (row_id)
            join read_parquet(?) p using (row_id)
            qualify least(
                row_number() over (order by p.probability, r.row_id),
                row_number() over (order by p.probability desc, r.row_id),
                row_number() over (order by {gaps} desc, r.row_id),
                row_number() over (order by sha256(r.row_id))
            ) <= {GOLDEN_ROWS // 4}
            order by r.row_id
        ) to '{_quoted(path)}' (format parquet)
        """,
        [
            literal(parts.training_set / ROWS),
            literal(parts.training_set / INPUTS),
            literal(parts.candidate / "predictions.parquet"),
        ],
    )


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
