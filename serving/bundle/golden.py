"""Replays golden rows: the proof that this process computes what training computed.

The rows come with the bundle. They pass the request's contract, the feature SQL and the model on
this machine's versions of everything; a difference refuses the bundle before it answers anyone.
"""

import glob
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import duckdb

from serving.bundle.contract import Contract, Row, RowError
from serving.bundle.features import FeatureError, FeatureRunner
from serving.bundle.manifest import BundleError
from serving.bundle.model import Model

FEATURE_PREFIX: Final = "feature__"
EXPECTED: Final = "expected_probability"
FEATURE_TOLERANCE: Final = 1e-6
PROBABILITY_TOLERANCE: Final = 1e-5


def replay(
    path: Path,
    contract: Contract,
    features: Sequence[str],
    runner: FeatureRunner,
    model: Model,
) -> list[Row]:
    """Check that every golden row gives the features and the probability it was made with.

    Args:
        path: `golden.parquet`.
        contract: The bundle's contract.
        features: The features in the model's order.
        runner: The bundle's feature SQL.
        model: The bundle's model.

    Returns:
        The rows, as the contract reads them.

    Raises:
        BundleError: With the row, the feature and both values of the first difference.
    """
    records = _read(path, ["row_id", *contract.duckdb_types, *_columns(features), EXPECTED])
    rows = [_validated(path, contract, record) for record in records]
    try:
        found = runner.run(rows)
    except FeatureError as error:
        raise BundleError(f"{path}: the feature SQL fails on the golden rows: {error}") from None
    for record, values in zip(records, found, strict=True):
        for name, value in zip(features, values.tolist(), strict=True):
            expected = record[f"{FEATURE_PREFIX}{name}"]
            if not _same(value, expected):
                where = f"{path}: row {record['row_id']!r}: feature {name!r}"
                raise BundleError(f"{where}: expected {expected!r}, computed {value!r}")
    for record, value in zip(records, model.probabilities(found).tolist(), strict=True):
        expected = record[EXPECTED]
        if expected is None or not abs(value - expected) <= PROBABILITY_TOLERANCE:
            where = f"{path}: row {record['row_id']!r}: probability"
            raise BundleError(f"{where}: expected {expected!r}, computed {value!r}")
    return rows


def _columns(features: Sequence[str]) -> list[str]:
    return [f"{FEATURE_PREFIX}{name}" for name in features]


def _read(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    # A connection of its own: the one that runs the feature SQL can read no file.
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        try:
            result = connection.execute("SELECT * FROM read_parquet(?)", [glob.escape(str(path))])
            names = [column[0] for column in result.description or ()]
            records = [dict(zip(names, record, strict=True)) for record in result.fetchall()]
        except duckdb.Error as error:
            raise BundleError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    if missing := [name for name in columns if name not in names]:
        raise BundleError(f"{path}: missing columns {', '.join(missing)}")
    if not records:
        raise BundleError(f"{path}: has no rows, so nothing shows that the bundle works")
    return records


def _validated(path: Path, contract: Contract, record: dict[str, Any]) -> Row:
    values = {name: record[name] for name in contract.duckdb_types}
    for name, value in values.items():
        if isinstance(value, datetime):
            values[name] = value.isoformat()
    try:
        return contract.validate_row(values)
    except RowError as error:
        where = f"{path}: row {record['row_id']!r}"
        raise BundleError(f"{where} breaks the contract: {error}") from None


def _same(value: float, expected: float | None) -> bool:
    if expected is None or math.isnan(expected):
        return math.isnan(value)
    return abs(value - expected) <= FEATURE_TOLERANCE * max(1.0, abs(expected))
