"""What was told on a day: of which days' answers the labels are.

A label says whom it is about by the id of an answer, and not when that was given. Each day of
labels is therefore looked up once, newest answers first, and a record keeps the days that were
found, each with a digest of its labels. So a label that comes a year late restates the day of its
answer, once, and no other; and a day is judged from the files that have labels of it, not from a
year of them.

The ids of a day that was judged lie beside its record, as 64 bits of their MD5 each: to look a
label up takes eight bytes an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.drift.sides import connected, parquet
from mlops_assets.lib.performance import records
from mlops_assets.lib.records import prediction_log
from mlops_assets.lib.storage.root import Storage

if TYPE_CHECKING:
    import duckdb

STAGE, RECORD = "labels", "record.json"
ID = "md5_number_lower(prediction_id)"
PROBE = "select count(*), count(prediction_id), count(label), count(time) from {file}"


def write(store: Storage, use_case: str, record: Mapping[str, Any]) -> None:
    """Keep the record of a day of labels, which names itself as ``day``."""
    store.write_json(f"{use_case}/{STAGE}/{record['day']}/{RECORD}", record)


def read(store: Storage, use_case: str, day: str) -> dict[str, Any] | None:
    """The record of a day of labels, or None where it was not looked at.

    It holds ``day``, ``input`` (digest of its files), ``labels`` (answers that were told of),
    ``repeated`` and ``contradictory`` (of these, told more than once, alike or not), ``unknown``
    (of these, not in the prediction log), ``days`` (by the day of the answers ``labels`` and
    ``digest``) and ``unread`` (why files cannot be read, by name).
    """
    return store.read_json(f"{use_case}/{STAGE}/{day}/{RECORD}")


def every(store: Storage, use_case: str) -> dict[str, dict[str, Any]]:
    """The records by day, the oldest first."""
    days = store.list(f"{use_case}/{STAGE}")
    return {day: record for day in days if (record := read(store, use_case, day))}


def inputs(served: Mapping[str, str], told: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """A digest of what is known of each day of answers: the answers, and the labels of them.

    Args:
        served: Digest of the files of each day.
        told: The records of the days of labels.
    """
    labels: dict[str, dict[str, str]] = {}
    for day, record in told.items():
        for answered, found in record["days"].items():
            labels.setdefault(answered, {})[day] = found["digest"]
    return {day: digest_of([digest, labels.get(day, {})]) for day, digest in served.items()}


def files(store: Storage, use_case: str, answered: str) -> list[str]:
    """Keys of the days of labels that may tell of the answers of a day.

    Besides those whose record names it: days that have no record of what they hold now, and those
    with labels of unknown answers, which may have come to the log since.
    """
    known, now = every(store, use_case), prediction_log.state(store, use_case, "feedback")
    found = []
    for day, key in prediction_log.days(store, use_case, "feedback").items():
        record = known.get(day.isoformat())
        if day.isoformat() >= answered and (
            record is None
            or record["input"] != now.get(day.isoformat())
            or record["unknown"]
            or answered in record["days"]
        ):
            found.append(key)
    return found


def look_up(store: Storage, use_case: str, day: str, digest: str) -> dict[str, Any]:
    """Look up the labels of a day.

    Args:
        store: The storage root.
        use_case: Its name.
        day: On which they were told, YYYY-MM-DD.
        digest: Of its files, as they were before anything is read.

    Returns:
        The record.
    """
    folder = store.local(f"{use_case}/feedback/day={day}")
    with connected() as database:
        readable, unread = prediction_log.of_each_file(database, folder, PROBE)
        relation = parquet(*readable) if readable else EMPTY
        database.execute(
            f"""create temp table told as
            select {ID} as id, count(*) as times, count(distinct label) as kinds,
                max(struct_pack(time := time, label := label)) as last
            from {relation} where prediction_id is not null group by prediction_id"""
        )
        labels, repeated, contradictory = _one(
            database,
            "select count(*), count(*) filter (times > 1 and kinds = 1), "
            "count(*) filter (kinds > 1) from told",
        )
        days = dict(_found(database, store, use_case, day))
        (unknown,) = _one(database, "select count(*) from told")
    return {
        "day": day,
        "input": digest,
        "labels": labels,
        "repeated": repeated,
        "contradictory": contradictory,
        "unknown": unknown,
        "days": days,
        "unread": unread,
    }


EMPTY = "(select null::varchar as prediction_id, null::timestamp as time, null::varchar as label)"


def _found(
    database: duckdb.DuckDBPyConnection, store: Storage, use_case: str, day: str
) -> list[tuple[str, dict[str, Any]]]:
    """Take the labels of each day of answers out of the table, newest day first."""
    found = []
    for answered, key in reversed(prediction_log.days(store, use_case, "served").items()):
        if answered.isoformat() > day:
            continue
        if _one(database, "select count(*) from told") == (0,):
            break
        ids = _ids(database, store, use_case, answered.isoformat(), key)
        if ids is None:
            continue
        labels, digest = _one(
            database,
            "select count(*), bit_xor(md5_number_lower(concat(id, ' ', last.time, ' ', "
            f"last.label))) from told where id in (select id from {ids})",
        )
        if labels:
            database.execute(f"delete from told where id in (select id from {ids})")
            found.append((answered.isoformat(), {"labels": labels, "digest": f"{digest:016x}"}))
    return found


def _ids(
    database: duckdb.DuckDBPyConnection, store: Storage, use_case: str, day: str, key: str
) -> str | None:
    """A relation of the ids of a day's answers, or None where none can be read."""
    kept = f"{records.folder(use_case, day)}/{records.ANSWERED}"
    if store.exists(kept):
        return parquet(store.local(kept))
    readable, _ = prediction_log.of_each_file(
        database, store.local(key), "select count(prediction_id) from {file}"
    )
    return f"(select {ID} as id from {parquet(*readable)})" if readable else None


def keep_ids(database: duckdb.DuckDBPyConnection, relation: str, file: Path) -> None:
    """Write the ids of a day's answers to where ``look_up`` finds them."""
    quoted = str(file).replace("'", "''")
    database.execute(
        f"copy (select distinct {ID} as id from {relation} order by id) to '{quoted}' "
        "(format parquet)"
    )


def _one(database: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    found = database.execute(query).fetchone()
    assert found is not None
    return found
