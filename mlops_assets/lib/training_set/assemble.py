"""Assembling a training set: the frozen union of accepted batches, as two Parquet files.

What a model reads goes from the batches' files to the training set's in one sort, which spills to
disk: memory stays bounded.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.parquet import literal
from mlops_assets.lib.spec.split import Split
from mlops_assets.lib.training_set.files import GROUP, INPUTS, RESERVED, ROWS, TIME, Source
from mlops_assets.lib.training_set.sides import draw_sides, gather, keep_one_of_each, ties_of

if TYPE_CHECKING:
    import duckdb

# Of DuckDB's own; the process takes some hundred MB on top.
MEMORY = "1GB"


@dataclass(frozen=True)
class Summary:
    """What a training set holds, and what would make it unfit.

    Attributes:
        train_positives: Rows of the positive class on the training side.
        repeated: Rows left out because an earlier batch holds the same row.
        replaced: Rows left out because a later row has the same key.
        straddling: Distinct inputs that stand on both sides.
        equal_inputs: Rows of the test side whose inputs stand on the training side, too.
        straddling_entities: Entities that stand on both sides.
        late: Rows whose event time is later than the landing of their batch.
        first_event: The earliest event time, where the contract has one.
        last_event: The latest.
        cutoff: The first moment of the test side of a split by time.
        latest_train: The last moment of the training side of a split by time.
        in_gap: Rows left out because they lie in the gap before the cutoff.
        of_test_entities: Rows left out of training because their entity is on the test side.
        tied: Columns that say what binds rows to each other: ``group``, ``event_time``.
        features: Their names, in order.
    """

    train: int
    test: int
    train_positives: int
    test_positives: int
    repeated: int
    replaced: int
    straddling: int
    equal_inputs: int
    straddling_entities: int
    late: int
    first_event: datetime | None
    last_event: datetime | None
    cutoff: datetime | None
    latest_train: datetime | None
    in_gap: int
    of_test_entities: int
    tied: list[str]
    features: list[str]


def assemble(sources: list[Source], contract: Contract, split: Split, folder: Path) -> Summary:
    """Write the rows of a training set.

    Args:
        sources: Accepted batches, first landed first: a repeated row counts for the first, and of
            rows with the same key the last is kept.
        contract: Names the inputs, the outcome and what identifies a row.
        split: Which rows are held out.
        folder: Receives ``rows.parquet`` (``row_id``, ``batch``, ``side``, ``target`` as 0 or 1,
            ``group`` and ``event_time`` where the split has them, then the features) and
            ``inputs.parquet`` (``row_id`` and the contract's inputs), both in the order of the
            hash of the inputs.

    Returns:
        The counts.

    Raises:
        ValueError: If there is no batch, if a batch's features do not have the columns of the first
            batch, or if a feature has the name of a column of the training set.
    """
    import duckdb

    if not sources:
        raise ValueError("a training set needs at least one batch")
    folder = folder.resolve()
    with (
        tempfile.TemporaryDirectory(prefix=".spill-", dir=folder) as spill,
        duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": spill}) as database,
    ):
        database.execute("set enable_progress_bar = false")
        features = _common_features(database, sources)
        landed = gather(database, sources, contract, split)
        left_out = landed - keep_one_of_each(database, contract)
        cutoff, in_gap, of_test_entities = draw_sides(database, contract, split)
        tied = ties_of(contract, split)
        _write(database, sources, contract, features, tied, folder)
        return Summary(
            **_counts(database),
            repeated=0 if contract.key else left_out,
            replaced=left_out if contract.key else 0,
            cutoff=cutoff,
            in_gap=in_gap,
            of_test_entities=of_test_entities,
            tied=tied,
            features=features,
        )


def _write(
    database: duckdb.DuckDBPyConnection,
    sources: list[Source],
    contract: Contract,
    features: list[str],
    tied: list[str],
    folder: Path,
) -> None:
    """Write both files, in the order of the hash of the inputs."""
    database.execute("create table batches (batch_order integer, batch varchar)")
    keys = [[order, source.key] for order, source in enumerate(sources)]
    database.executemany("insert into batches values (?, ?)", keys)
    # A hash of 48 bits: two groups in one do no harm but to share a fold.
    ties = {GROUP: f'k.unit_hash as "{GROUP}"', TIME: f'k.time as "{TIME}"'}
    rows = [
        "k.row_id",
        "b.batch",
        "case when k.test then 'test' else 'train' end as side",
        "k.target",
        *(ties[name] for name in tied),
        *(f'v."{name}"' for name in features),
    ]
    inputs = ["k.row_id", *(f'v."{column.name}"' for column in contract.inputs)]
    for name, content, files in (
        (ROWS, rows, [literal(source.features) for source in sources]),
        (INPUTS, inputs, [literal(source.validated) for source in sources]),
    ):
        path = str(folder / name).replace("'", "''")
        database.execute(
            f"""
            copy (
                select {", ".join(content)}
                from read_parquet(?, union_by_name = true) v
                join kept k on k.row_id = v.row_id join batches b using (batch_order)
                order by k.input_hash, k.target, k.row_id
            ) to '{path}' (format parquet, compression zstd)
            """,
            [files],
        )


def _counts(database: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    sides = database.execute(
        """
        select count(*) filter (not test) as train, count(*) filter (test) as test,
               count(*) filter (not test and target = 1) as train_positives,
               count(*) filter (test and target = 1) as test_positives,
               count(*) filter (late) as late, min(time) as first_event,
               max(time) as last_event, max(time) filter (not test) as latest_train
        from kept
        """
    )
    assert sides.description is not None
    names = [column[0] for column in sides.description]
    counted = dict(zip(names, sides.fetchone() or (), strict=True))
    # By value, and not by the text whose hash made the sides: 0.0 and -0.0 are equal.
    both = """
        select count(*), coalesce(sum(tests), 0)::bigint from (
            select count(*) filter (test) as tests from kept
            where {what} is not null group by {what} having bool_or(test) and not bool_and(test)
        )
        """
    straddling, equal = database.execute(both.format(what="by_value")).fetchone() or (0, 0)
    entities, _ = database.execute(both.format(what="entity")).fetchone() or (0, 0)
    return counted | {
        "straddling": straddling,
        "equal_inputs": equal,
        "straddling_entities": entities,
    }


def _common_features(database: duckdb.DuckDBPyConnection, sources: list[Source]) -> list[str]:
    common: list[str] = []
    for source in sources:
        query = "select column_name from (describe select * from read_parquet(?))"
        names = [name for (name,) in database.execute(query, [literal(source.features)]).fetchall()]
        if "row_id" not in names:
            raise ValueError(f"batch {source.key}: its features have no row_id")
        names.remove("row_id")
        taken = sorted({name.lower() for name in names} & RESERVED)
        if taken:
            raise ValueError(
                f"batch {source.key}: a feature cannot be called {', '.join(taken)}: "
                "the training set has a column of that name"
            )
        common = common or names
        if names != common:
            raise ValueError(f"batch {source.key}: its features are {names}, not {common}")
    return common
