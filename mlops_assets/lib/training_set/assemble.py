"""The training set: the frozen union of accepted batches, with a split that can be explained.

By default the side of a row follows from a hash of what it is about (its entity, its key, or else
all its inputs) and a salt: more data never move a row from test to train. A split by time tests on
the newest rows in its place. ``docs/training.md`` says which to take.

Only narrow columns are gathered in a table: hashes, side, outcome. What a model reads goes from the
batches' files to the training set's in one sort, which spills to disk: memory stays bounded.
"""

from __future__ import annotations

import glob
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.spec.split import Split
from mlops_assets.lib.training.folds import DAY, Ties

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    from numpy.typing import NDArray

ROWS = "rows.parquet"
INPUTS = "inputs.parquet"
KEYS = ("row_id", "batch", "side", "target")
# There where folds need them: a number for what is never on two sides, and the event time.
GROUP, TIME = "group", "event_time"
RESERVED = frozenset({*KEYS, GROUP, TIME})
# Of DuckDB's own; the process takes some hundred MB on top.
MEMORY = "1GB"
READ_ROWS = 1 << 16
# A local time is read as UTC, and clocks differ.
CLOCK_TOLERANCE = timedelta(days=1)


@dataclass(frozen=True)
class Source:
    """The files of one accepted batch.

    Attributes:
        landed: When it landed, UTC, without a time zone; no event of it is later.
    """

    key: str
    features: Path
    validated: Path
    landed: datetime | None = None


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
        landed = _gather(database, sources, contract, split)
        left_out = landed - _keep_one_of_each(database, contract)
        cutoff, in_gap, of_test_entities = _draw_sides(database, contract, split)
        tied = _tied(contract, split)
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


def literal(path: Path) -> str:
    """A path as DuckDB's readers take it: brackets and stars in it stand for themselves."""
    return glob.escape(str(path))


def unit(contract: Contract, split: Split) -> list[str]:
    """The columns whose values decide the side of a row by their hash."""
    entity = [] if contract.entity is None else [contract.entity]
    every_input = [column.name for column in contract.inputs]
    return split.by or entity or contract.key or every_input


def _tied(contract: Contract, split: Split) -> list[str]:
    """The columns of the training set that say what binds rows to each other."""
    if split.kind == "time":
        separate = contract.entity is not None and split.entity == "separate"
        return [GROUP, TIME] if separate else [TIME]
    return [GROUP] if split.by or contract.entity is not None else []


def _gather(
    database: duckdb.DuckDBPyConnection, sources: list[Source], contract: Contract, split: Split
) -> int:
    """Make the table ``every_row`` of all that decides about a row; give the number of rows."""

    def packed(names: list[str]) -> str:
        fields = ", ".join(f'"{name}" := v."{name}"' for name in names)
        return f"to_json(struct_pack({fields}))"

    inputs = [column.name for column in contract.inputs]
    whole = [column.name for column in contract.identifiers] + inputs
    values = ", ".join(f'v."{name}"' for name in inputs)
    entity = f'hash(v."{contract.entity}")' if contract.entity else "null::ubigint"
    time = f'v."{contract.event_time}"::timestamp' if contract.event_time else "null::timestamp"
    database.execute(
        """
        create table every_row (
            batch_order integer, number bigint, row_id varchar, outcome varchar, target tinyint,
            input_hash ubigint, unit_hash bigint, identity hugeint, by_value ubigint,
            entity ubigint, time timestamp, late boolean
        )
        """
    )
    for order, source in enumerate(sources):
        latest = None if source.landed is None else source.landed + CLOCK_TOLERANCE
        database.execute(
            f"""
            insert into every_row
            select ?, number, row_id, outcome, (outcome = ?)::tinyint,
                   ('0x' || left(input_hash, 16))::ubigint, ('0x' || left(unit_hash, 12))::bigint,
                   identity::hugeint, by_value, entity, time, coalesce(time > ?, false)
            from (
                select v.file_row_number as number, v.row_id,
                       v."{contract.target.column}"::varchar as outcome,
                       sha256(concat(?, '|', {packed(inputs)})) as input_hash,
                       sha256(concat(?, '|', {packed(unit(contract, split))})) as unit_hash,
                       md5_number({packed(contract.key or whole)}) // 2 as identity,
                       hash({values}) as by_value, {entity} as entity, {time} as time
                from read_parquet(?, file_row_number = true) v
                semi join read_parquet(?) f on f.row_id = v.row_id
            )
            """,
            [
                order,
                str(contract.target.positive),
                latest,
                split.salt,
                split.salt,
                literal(source.validated),
                literal(source.features),
            ],
        )
    return _number(database, "select count(*) from every_row")


def _keep_one_of_each(database: duckdb.DuckDBPyConnection, contract: Contract) -> int:
    """Make the table ``kept`` of the rows that count; give their number."""
    if contract.key:
        one = "partition by identity order by batch_order desc, number desc"
    else:
        one = "partition by identity, outcome order by batch_order, row_id"
    every = contract.duplicates == "keep" and not contract.key
    database.execute(
        f"""
        create table kept as
        select row_id, batch_order, target, input_hash, unit_hash, by_value, entity, time, late
        from every_row {"" if every else f"qualify row_number() over ({one}) = 1"}
        """
    )
    database.execute("drop table every_row")
    return _number(database, "select count(*) from kept")


def _draw_sides(
    database: duckdb.DuckDBPyConnection, contract: Contract, split: Split
) -> tuple[datetime | None, int, int]:
    """Add the column ``test`` to ``kept``; leave out what a split by time has no place for.

    Returns:
        The first moment of the test side, the rows in the gap, and those of the test side's
        entities; nothing and zeros for a split by hash.
    """
    database.execute("alter table kept add column test boolean")
    if split.kind == "hash":
        database.execute(
            "update kept set test = unit_hash / 281474976710656.0 < ?", [split.test_fraction]
        )
        return None, 0, 0
    rows = _number(database, "select count(*) from kept")
    first = int(rows * (1 - split.test_fraction))
    found = database.execute(
        "select time from kept order by time limit 1 offset ?", [first]
    ).fetchone()
    if found is None:
        return None, 0, 0
    (cutoff,) = found
    database.execute("update kept set test = time >= ?", [cutoff])
    database.execute(
        "delete from kept where not test and time >= ?::timestamp - to_microseconds(?)",
        [cutoff, round(split.gap_days * DAY)],
    )
    after_gap = _number(database, "select count(*) from kept")
    if contract.entity is not None and split.entity == "separate":
        database.execute(
            "delete from kept where not test and entity in (select entity from kept where test)"
        )
    left = _number(database, "select count(*) from kept")
    return cutoff, rows - after_gap, after_gap - left


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
               count(*) filter (late) as late, max(time) filter (not test) as latest_train
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


def _number(database: duckdb.DuckDBPyConnection, query: str) -> int:
    found = database.execute(query).fetchone()
    assert found is not None
    return int(found[0])


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


@dataclass(frozen=True)
class Rows:
    """The rows of a training set as models take them, those of the training side first.

    Each part is a view: nothing is copied to tell the sides apart.

    Attributes:
        features: float32, shape ``[n, f]``, NaN for a missing value.
        target: 0 or 1, shape ``[n]``.
        train: How many are on the training side.
        place: Of each row of the file in these arrays, shape ``[n]``.
        ties: Of the rows on the training side.
    """

    features: NDArray[np.float32]
    target: NDArray[np.float64]
    train: int
    place: NDArray[np.int64]
    ties: Ties


def read_rows(folder: Path, features: list[str], split: Split) -> Rows:
    """Read the rows of a training set by columns, a slice of them at a time.

    Args:
        folder: Of the training set.
        features: Names, in the order of the model's input.
        split: What the training set was made with.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    file = pq.ParquetFile(folder / ROWS)
    found = set(file.schema_arrow.names) - set(features)
    narrow = file.read(columns=["side", "target", *({GROUP, TIME} & found)])
    test = np.asarray(pc.equal(narrow["side"], "test"))
    train = int((~test).sum())
    place = np.empty(len(test), dtype=np.int64)
    place[~test], place[test] = np.arange(train), np.arange(train, len(test))

    table = np.empty((len(test), len(features)), dtype=np.float32)
    first = 0
    for chunk in file.iter_batches(READ_ROWS, columns=features):
        rows = place[first : first + chunk.num_rows]
        for column, name in enumerate(features):
            values = chunk[name].cast(pa.float32(), safe=False)
            table[rows, column] = values.to_numpy(zero_copy_only=False)
        first += chunk.num_rows
    target = np.empty(len(test))
    target[place] = narrow["target"].to_numpy()
    group = narrow[GROUP].to_numpy()[~test] if GROUP in found else None
    moments = narrow[TIME].cast(pa.timestamp("us")).cast(pa.int64()) if TIME in found else None
    time = None if moments is None else moments.to_numpy()[~test]
    return Rows(table, target, train, place, Ties(group, time, round(split.gap_days * DAY)))
