"""The prediction log of the serving app: where its files lie, by the day of what they hold.

``docs/prediction-log.md`` has their columns, and what the app promises about them.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.parquet import literal
from mlops_assets.lib.storage.root import PARTIAL_PREFIX, Storage

if TYPE_CHECKING:
    import duckdb

Kind = Literal["served", "feedback"]
KINDS: tuple[Kind, ...] = ("served", "feedback")
# Files named in one sentence.
NAMED = 5
_DAY = re.compile(r"day=(\d{4}-\d\d-\d\d)")


def days(store: Storage, use_case: str, kind: Kind) -> dict[date, str]:
    """The key of the folder of each day, the oldest first."""
    found = {}
    for name in store.list(f"{use_case}/{kind}"):
        if (day := _day(name)) is not None:
            found[day] = f"{use_case}/{kind}/{name}"
    return found


def _day(folder: str) -> date | None:
    """The day that a folder is named after; None where it is none, such as February 30."""
    match = _DAY.fullmatch(folder)
    with suppress(ValueError):
        return date.fromisoformat(match[1]) if match else None
    return None


def files(store: Storage, use_case: str, kind: Kind) -> dict[str, date]:
    """The UTC day of what each file holds, by its key."""
    found = {}
    for each in store.files(f"{use_case}/{kind}"):
        folder, name = each.key.split("/")[-2:]
        day = _day(folder)
        if day is not None and name.endswith(".parquet") and not name.startswith(PARTIAL_PREFIX):
            found[each.key] = day
    return found


def state(store: Storage, use_case: str, kind: Kind) -> dict[str, str]:
    """A digest of the files of each day (YYYY-MM-DD): another one if one has come."""
    known = files(store, use_case, kind)
    found: dict[str, list[list[str]]] = {}
    for each in store.files(f"{use_case}/{kind}"):
        if each.key in known:
            found.setdefault(known[each.key].isoformat(), []).append([each.key, each.stamp])
    return {day: digest_of(sorted(keys)) for day, keys in sorted(found.items())}


def over(store: Storage, use_case: str, kind: Kind, since: date, now: datetime) -> dict[str, str]:
    """The ``state`` of the days that are over, from a first one on.

    Args:
        store: The storage root.
        use_case: Its name.
        kind: Which files.
        since: The first day.
        now: With a time zone.
    """
    today = now.astimezone(UTC).date()
    found = state(store, use_case, kind)
    return {
        day: digest for day, digest in found.items() if since <= date.fromisoformat(day) < today
    }


def of_each_file(
    database: duckdb.DuckDBPyConnection, folder: Path, query: str
) -> tuple[dict[Path, list[tuple[Any, ...]]], dict[str, str]]:
    """What a query finds in each file of a day. One that cannot be read is left out and named.

    Args:
        database: Runs it.
        folder: Of the day, on this machine.
        query: With ``{file}`` in the place of the relation. It has to read what the caller is going
            to, so that a broken file is found here.

    Returns:
        The rows of the query by file, and why others cannot be read by their name.
    """
    found, unread = {}, {}
    for path in sorted(folder.glob("[!.]*.parquet")):
        quoted = literal(path).replace("'", "''")
        try:
            rows = database.execute(query.format(file=f"read_parquet('{quoted}')")).fetchall()
        except Exception as error:  # DuckDB has as many kinds as there are ways to be broken
            unread[path.name] = str(error).splitlines()[0]
        else:
            found[path] = rows
    return found, unread


def said_of(unread: dict[str, str]) -> list[str]:
    """A sentence about files that cannot be read, if there are any."""
    if not unread:
        return []
    named = ", ".join(f"{name} ({why})" for name, why in [*unread.items()][:NAMED])
    return [f"{len(unread)} files cannot be read: {named}"]
