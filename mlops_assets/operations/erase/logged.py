"""Taking somebody out of the prediction log: what was answered about them, and the labels of that.

A label, and perhaps a shadow's score, is known by the id of the prediction alone. These go before
the rows that say whose prediction it was: what a kill leaves tells what else there is.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, TypeVar

from mlops_assets.lib.records import prediction_log
from mlops_assets.lib.records.prediction_log import KINDS, Kind
from mlops_assets.operations.erase.case import Case
from serving.storage.bucket import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTION, ENTITY = "prediction_id", "entity_id"
# A store answers several requests in the time of one.
THREADS = 8
FILES_AT_ONCE = 1024
# A server may be at work on a file under a temporary name for so long.
YOUNG_SECONDS = 600.0
# The clock of the server that was told a label may be behind that of the one that answered.
SKEW = timedelta(days=1)

Outcome = TypeVar("Outcome")


@dataclass
class Logged:
    """What the prediction log has of somebody.

    Attributes:
        ids: Of their predictions.
        rows: How many rows go, by the key of the file; in the order in which they have to.
        days: The UTC day of these files.
        unread: Keys of files that are not whole, or no such file.
    """

    ids: frozenset[str] = frozenset()
    rows: dict[str, int] = field(default_factory=dict)
    days: dict[str, date] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)

    def by_day(self, kind: Kind) -> dict[date, int]:
        """How many rows of a kind go, by day."""
        counts: Counter[date] = Counter()
        for key, rows in self.rows.items():
            if key.split("/")[1] == kind:
                counts[self.days[key]] += rows
        return dict(sorted(counts.items()))


def look_into_log(case: Case) -> Logged:
    """Look through everything that the serving app has brought to the storage."""
    served, labels = (prediction_log.files(case.store, case.spec.name, kind) for kind in KINDS)
    ids: set[str] = set()
    named, unread = set(), set()
    for key, theirs in _each(served, lambda key: _ids(case, key)):
        if theirs is None:
            unread.add(key)
        elif theirs:
            named.add(key)
            ids |= theirs
    if not ids:
        return Logged(unread=unread)
    first = min(served[key] for key in named) - SKEW
    days = {key: day for key, day in {**labels, **served}.items() if day >= first}
    wanted, rows = _array(ids), {}
    for key, count in _each(days.keys() - unread, lambda key: _count(case, key, wanted)):
        if count is None:
            unread.add(key)
        elif count:
            rows[key] = count
    # Those that name the entity last.
    ordered = sorted(rows, key=lambda key: (key in named, key))
    return Logged(frozenset(ids), {key: rows[key] for key in ordered}, days, unread)


def remove_from_log(case: Case, found: Logged) -> Iterator[str]:
    """Remove it.

    Yields:
        A sentence for each day, and for what a person has to know.
    """
    for kind in KINDS:
        _remove_half_written(case, kind)
    for key in found.rows:
        _rewrite(case, key, found)
    for day, rows in found.by_day("served").items():
        yield f"prediction log of {day}: {rows} rows of this entity removed"
    for day, rows in found.by_day("feedback").items():
        yield f"feedback of {day}: {rows} rows about these predictions removed"
    if found.unread:
        yield f"cannot be read, so not looked through: {', '.join(sorted(found.unread))}"
    yield (
        "predictions in a server's memory or spool cannot be reached: run the command again after "
        "a minute (log_roll_seconds is 30 by default) to find those that were on their way"
    )


def _ids(case: Case, key: str) -> set[str]:
    """The ids of the predictions in a file that name the entity."""
    import pyarrow.compute as pc

    ids: set[str] = set()
    for batch in _batches(case, key, [PREDICTION, ENTITY]):
        # Trimmed, as the contract reads it: it is logged as the client gave it.
        theirs = case.them.are_theirs(pc.utf8_trim_whitespace(batch[ENTITY]))
        ids.update(batch[PREDICTION].filter(theirs).to_pylist())
    return ids


def _count(case: Case, key: str, wanted: pa.Array) -> int:
    """How many rows of a file are about these predictions."""
    import pyarrow.compute as pc

    batches = _batches(case, key, [PREDICTION])
    return sum(pc.is_in(batch[PREDICTION], wanted).true_count for batch in batches)


def _rewrite(case: Case, key: str, found: Logged) -> None:
    """Write a file again without these predictions, under its name; it goes if no other is left."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = _array(found.ids)
    with case.store.open(key) as content, pq.ParquetFile(content) as file:
        if file.metadata.num_rows > found.rows[key]:
            with (
                case.store.writing(key) as partial,
                pq.ParquetWriter(partial, file.schema_arrow, compression="zstd") as writer,
            ):
                for batch in file.iter_batches():
                    writer.write(batch.filter(pc.invert(pc.is_in(batch[PREDICTION], wanted))))
            return
    case.store.remove(key)


def _remove_half_written(case: Case, kind: Kind) -> None:
    """Remove what killed servers have left; their segments become files under a name."""
    for key in case.store.leftovers(f"{case.spec.name}/{kind}"):
        with suppress(FileNotFoundError):  # a server has finished it
            if time.time() - case.store.changed(key) > YOUNG_SECONDS:
                case.store.remove(key)


def _array(ids: Collection[str]) -> pa.Array:
    import pyarrow as pa

    return pa.array(sorted(ids), pa.string())


def _batches(case: Case, key: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with case.store.open(key) as content, pq.ParquetFile(content) as file:
        yield from file.iter_batches(columns=columns)


def _each(
    keys: Collection[str], read: Callable[[str], Outcome]
) -> Iterator[tuple[str, Outcome | None]]:
    """What is read of each file, or None of one that cannot be read."""
    import pyarrow as pa

    def outcome(key: str) -> Outcome | None:
        try:
            return read(key)
        except StoreError:
            raise
        except (pa.ArrowInvalid, OSError, KeyError):
            return None

    ordered = sorted(keys)
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(ordered), FILES_AT_ONCE):
            part = ordered[start : start + FILES_AT_ONCE]
            yield from zip(part, pool.map(outcome, part), strict=True)
