"""A day of the prediction log as windows: the champion's answers, a file for each version.

A file of the log holds one bundle in one role, so each version keeps the types of its own columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.lib.drift.sides import connected, parquet
from mlops_assets.lib.records.prediction_log import of_each_file

if TYPE_CHECKING:
    import duckdb

INPUT, FEATURE = "input__", "feature__"


@dataclass(frozen=True)
class Answers:
    """What one version answered on a day.

    Attributes:
        rows: How many answers.
        file: Parquet of them, one row an answer.
    """

    version: str
    bundle: str
    rows: int
    file: Path


@dataclass(frozen=True)
class Day:
    """A day of the log.

    Attributes:
        answers: By version, the one with the most answers first.
        unread: Files that cannot be read, and why.
    """

    answers: list[Answers]
    unread: dict[str, str]


def read_day(folder: Path, scratch: Path) -> Day:
    """Gather the champion's answers of a day. A file that cannot be read is left out and named.

    Args:
        folder: With the Parquet files of the day.
        scratch: Receives a file for each version.
    """
    by_bundle: dict[tuple[str, str], list[Path]] = {}
    champions = "select distinct digest, version from {file} where role = 'champion'"
    with connected() as database:
        found, unread = of_each_file(database, folder, champions)
        for path, bundles in found.items():
            for bundle, version in bundles:
                by_bundle.setdefault((bundle, version), []).append(path)
        answers = []
        for number, ((bundle, version), paths) in enumerate(sorted(by_bundle.items())):
            file = scratch / f"{number}.parquet"
            try:
                rows = _gather(database, paths, bundle, file)
            except Exception:  # a page that nobody has looked at yet: which file is it in?
                unread |= _broken(database, paths, bundle, file)
                readable = [path for path in paths if path.name not in unread]
                if len(readable) == len(paths):
                    raise
                rows = _gather(database, readable, bundle, file) if readable else 0
            if rows:
                answers.append(Answers(version, bundle, rows, file))
    answers.sort(key=lambda found: -found.rows)
    return Day(answers, unread)


def _gather(database: duckdb.DuckDBPyConnection, paths: list[Path], bundle: str, file: Path) -> int:
    """Write the champion's answers of a bundle into one file; one that lies in two counts once."""
    answered = f"{parquet(*paths)} where role = 'champion' and digest = ?"
    ids = f"select count(*) = count(distinct prediction_id) from {answered}"
    row = database.execute(ids, [bundle]).fetchone()
    once = "" if row and row[0] else "distinct on (prediction_id)"
    quoted = str(file).replace("'", "''")
    copied = database.execute(
        f"copy (select {once} * from {answered}) to '{quoted}' (format parquet)", [bundle]
    ).fetchone()
    return int(copied[0]) if copied else 0


def _broken(
    database: duckdb.DuckDBPyConnection, paths: list[Path], bundle: str, file: Path
) -> dict[str, str]:
    """Which files cannot be read in full, and why."""
    found = {}
    for path in paths:
        try:
            _gather(database, [path], bundle, file)
        except Exception as error:  # DuckDB has as many kinds as there are ways to be broken
            found[path.name] = str(error).splitlines()[0]
    return found
