"""The training set: the frozen union of accepted batches, with a split that never moves a row.

The side of a row follows from a hash of its inputs and a salt: rows with equal inputs share a side,
whichever batch they come from, and more data never moves a row from test to train.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.contract import Contract
from mlops_assets.lib.spec import Split

if TYPE_CHECKING:
    import duckdb

ROWS = "rows.parquet"
INPUTS = "inputs.parquet"
KEYS = ("row_id", "batch", "side", "target")


@dataclass(frozen=True)
class Source:
    """The files of one accepted batch."""

    key: str
    features: Path
    validated: Path


@dataclass(frozen=True)
class Summary:
    """What a training set holds, and what would make it unfit.

    Attributes:
        train_positives: Rows of the positive class on the training side.
        repeated: Rows left out because an earlier batch holds the same row.
        straddling: Distinct inputs that stand on both sides; must be 0.
    """

    train: int
    test: int
    train_positives: int
    test_positives: int
    repeated: int
    straddling: int
    features: list[str]


def assemble(sources: list[Source], contract: Contract, split: Split, folder: Path) -> Summary:
    """Write the rows of a training set.

    Args:
        sources: Accepted batches, first landed first: a repeated row counts for the first.
        contract: Names the inputs and the outcome.
        split: Fraction and salt of the test side.
        folder: Receives ``rows.parquet`` (``row_id``, ``batch``, ``side``, ``target`` as 0 or 1,
            then the features) and ``inputs.parquet`` (``row_id`` and the contract's columns), both
            in the order of the content's hash.

    Returns:
        The counts.

    Raises:
        ValueError: If there is no batch, if a batch's features do not have the columns of the first
            batch, or if a feature has the name of a column of the training set.
    """
    import duckdb

    if not sources:
        raise ValueError("a training set needs at least one batch")

    inputs = [column.name for column in contract.inputs]
    database = duckdb.connect()
    features = _common_features(database, sources)
    # A feature may have the name of its input (age): prefixes keep them apart.
    selected = ", ".join(
        [
            "f.row_id",
            f'v."{contract.target.column}" as outcome',
            *(f'f."{name}" as "f:{name}"' for name in features),
            *(f'v."{name}" as "i:{name}"' for name in inputs),
        ]
    )
    packed = ", ".join(f'"{name}" := v."{name}"' for name in inputs)
    batch = f"""
        select ?::integer as batch_order, ? as batch, {selected},
               sha256(concat(?, '|', to_json(struct_pack({packed})))) as input_hash
        from read_parquet(?) f join read_parquet(?) v using (row_id)
        """
    parameters: list[Any] = []
    for order, source in enumerate(sources):
        files = (literal(source.features), literal(source.validated))
        parameters += [order, source.key, split.salt, *files]
    every_row = " union all ".join([batch] * len(sources))
    database.execute(f"create table every_row as {every_row}", parameters)
    database.execute(
        """
        create table rows as
        select *,
               case when ('0x' || left(input_hash, 12))::bigint / 281474976710656.0 < ?
                    then 'test' else 'train' end as side,
               (outcome::varchar = ?)::tinyint as target
        from every_row
        qualify row_number() over (
            partition by input_hash, outcome, case when ? then row_id end
            order by batch_order, row_id
        ) = 1
        """,
        [split.test_fraction, str(contract.target.positive), contract.duplicates == "keep"],
    )
    columns = [f'"f:{name}" as "{name}"' for name in features]
    for name, content in (
        (ROWS, ", ".join([*KEYS, *columns])),
        (INPUTS, ", ".join(["row_id", *(f'"i:{name}" as "{name}"' for name in inputs)])),
    ):
        path = str(folder / name).replace("'", "''")
        database.execute(
            f"""
            copy (select {content} from rows order by input_hash, target, row_id)
            to '{path}' (format parquet, compression zstd)
            """
        )
    counts = database.execute(
        """
        select count(*) filter (side = 'train'), count(*) filter (side = 'test'),
               count(*) filter (side = 'train' and target = 1),
               count(*) filter (side = 'test' and target = 1),
               (select count(*) from every_row) - count(*)
        from rows
        """
    ).fetchone()
    assert counts is not None
    grouped = ", ".join(f'i."{name}"' for name in inputs)
    straddling = database.execute(
        f"""
        select count(*) from (
            select 1 from read_parquet(?) r join read_parquet(?) i using (row_id)
            group by {grouped} having count(distinct r.side) > 1
        )
        """,
        [literal(folder / ROWS), literal(folder / INPUTS)],
    ).fetchone()
    assert straddling is not None
    train, test, train_positives, test_positives, repeated = counts
    return Summary(train, test, train_positives, test_positives, repeated, straddling[0], features)


def literal(path: Path) -> str:
    """A path as DuckDB's readers take it: brackets and stars in it stand for themselves."""
    return glob.escape(str(path))


def _common_features(database: duckdb.DuckDBPyConnection, sources: list[Source]) -> list[str]:
    common: list[str] = []
    for source in sources:
        query = "select column_name from (describe select * from read_parquet(?))"
        names = [name for (name,) in database.execute(query, [literal(source.features)]).fetchall()]
        if "row_id" not in names:
            raise ValueError(f"batch {source.key}: its features have no row_id")
        names.remove("row_id")
        taken = sorted({name.lower() for name in names} & set(KEYS))
        if taken:
            raise ValueError(
                f"batch {source.key}: a feature cannot be called {', '.join(taken)}: "
                "the training set has a column of that name"
            )
        common = common or names
        if names != common:
            raise ValueError(f"batch {source.key}: its features are {names}, not {common}")
    return common
