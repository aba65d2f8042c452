"""Which rows count, and on which side of the split each of them is.

By default the side of a row follows from a hash of what it is about (its entity, its key, or else
all its inputs) and a salt: more data never move a row from test to train. A split by time tests on
the newest rows in its place. ``docs/training.md`` says which to take.

Only narrow columns are gathered in a table: hashes, side, outcome. So memory stays bounded.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.parquet import literal
from mlops_assets.lib.spec.split import Split
from mlops_assets.lib.training.folds import DAY
from mlops_assets.lib.training_set.files import GROUP, TIME, Source

if TYPE_CHECKING:
    import duckdb

# A local time is read as UTC, and clocks differ.
CLOCK_TOLERANCE = timedelta(days=1)


def unit(contract: Contract, split: Split) -> list[str]:
    """The columns whose values decide the side of a row by their hash."""
    entity = [] if contract.entity is None else [contract.entity]
    every_input = [column.name for column in contract.inputs]
    return split.by or entity or contract.key or every_input


def ties_of(contract: Contract, split: Split) -> list[str]:
    """The columns of the training set that say what binds rows to each other."""
    if split.kind == "time":
        separate = contract.entity is not None and split.entity == "separate"
        return [GROUP, TIME] if separate else [TIME]
    return [GROUP] if split.by or contract.entity is not None else []


def gather(
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


def keep_one_of_each(database: duckdb.DuckDBPyConnection, contract: Contract) -> int:
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


def draw_sides(
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


def _number(database: duckdb.DuckDBPyConnection, query: str) -> int:
    found = database.execute(query).fetchone()
    assert found is not None
    return int(found[0])
